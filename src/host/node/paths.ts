import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** XDG Base Directory Specification 0.8, "Environment variables": a relative path in one of them is invalid and ignored. */
function xdg(env: Environment, variable: string, fallback: string): string {
	const value = env[variable];
	return value !== undefined && isAbsolute(value) ? value : join(env.HOME ?? homedir(), fallback);
}

/** Where images live: worth keeping, not worth backing up. */
export function dataDirectory(env: Environment = process.env): string {
	return join(xdg(env, "XDG_DATA_HOME", ".local/share"), "basenji");
}

/** What can be fetched or made again: package lists, our modules as Node understood them, generated code. */
export function cacheDirectory(env: Environment = process.env): string {
	return join(xdg(env, "XDG_CACHE_HOME", ".cache"), "basenji");
}
