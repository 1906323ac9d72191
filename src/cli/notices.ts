import type { Machine } from "../vm/machine.ts";

// What a run says on standard error while it goes on: one line each, and never so many that they fill a disk.

/** A guest that does nothing but reset itself does so a hundred times a second. */
const MAX_RESETS_SAID = 10;

export function sayResets(machine: Machine): void {
	let count = 0;
	machine.on("reset", ({ cause }) => {
		if (++count > MAX_RESETS_SAID) return;
		const what = cause === "triple-fault" ? "triple-faulted" : "asked for a reset";
		process.stderr.write(`basenji: the guest ${what}; it starts over${count === MAX_RESETS_SAID ? " (and so on)" : ""}\n`);
	});
}

/** A guest asks again and again: what has been said once is not repeated, and a disk that is broken all over is enough said of. */
const MAX_DEVICE_ERRORS = 10;

export function sayDeviceErrors(machine: Machine): void {
	const said = new Set<string>();
	machine.on("deviceError", ({ device, error }) => {
		const line = `basenji: ${device}: ${error instanceof Error ? error.message : String(error)}`.replaceAll("\n", " ");
		if (said.size >= MAX_DEVICE_ERRORS || said.has(line)) return;
		said.add(line);
		process.stderr.write(`${line}${said.size === MAX_DEVICE_ERRORS ? " (further errors are not shown)" : ""}\n`);
	});
}
