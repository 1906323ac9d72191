// JavaScript, since Node needs this to find what it understood of our TypeScript (cli/basenji.js).
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** @typedef {Readonly<Record<string, string | undefined>>} Environment */

/**
 * XDG Base Directory Specification 0.8, "Environment variables": a relative path in one of them is invalid and ignored.
 *
 * @param {Environment} env
 * @param {string} variable
 * @param {string} fallback
 */
function xdg(env, variable, fallback) {
	const value = env[variable];
	return value !== undefined && isAbsolute(value) ? value : join(env.HOME ?? homedir(), fallback);
}

/** Where images live: worth keeping, not worth backing up. */
export function dataDirectory(/** @type {Environment} */ env = process.env) {
	return join(xdg(env, "XDG_DATA_HOME", ".local/share"), "basenji");
}

/** What can be fetched or made again: package lists, our modules as Node understood them, generated code. */
export function cacheDirectory(/** @type {Environment} */ env = process.env) {
	return join(xdg(env, "XDG_CACHE_HOME", ".cache"), "basenji");
}
