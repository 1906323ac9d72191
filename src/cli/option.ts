import { Option } from "commander";

/** Every flag has an environment variable: --debug-exit is BASENJI_DEBUG_EXIT. */
export function option(flags: string, description: string): Option {
	const made = new Option(flags, description);
	const name = made.long?.replace(/^--(no-)?/, "$1") ?? "";
	return made.env(`BASENJI_${name.replaceAll("-", "_").toUpperCase()}`);
}
