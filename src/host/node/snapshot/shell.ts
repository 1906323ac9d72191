import { MachineError } from "../../../vm/error.ts";
import type { Machine } from "../../../vm/machine.ts";

export interface CommandResult {
	readonly code: number;
	readonly output: string;
}

let counter = 0;

/**
 * Has a shell that waits on the machine's first serial port run a command line. There is no way to tell what else may be waiting
 * there: a machine whose console shows something else just gets typed at.
 * @throws MachineError `timeout`, `exited`
 */
export async function runInShell(machine: Machine, command: string, timeout: string | number = "60s"): Promise<CommandResult> {
	if (/[\r\n]/.test(command)) throw new MachineError("config", "a command for a console has one line");
	const mark = `bsnj${counter++}x`;
	// The terminal echoes what is typed, quotes and all; what the shell prints has none.
	machine.console.write(`echo ${mark}'b'; ${command}; echo ${mark}'e'$?\r`);
	const found = await machine.waitFor({ console: new RegExp(`${mark}b\\r*\\n[^]*?${mark}e\\d+\\r*\\n`), timeout });
	const body = found.slice(found.indexOf("\n") + 1, found.lastIndexOf(`${mark}e`)).replaceAll("\r", "");
	return { code: Number(/e(\d+)\s*$/.exec(found)?.[1]), output: body };
}
