/** Runs the bench's guest and times its programs, in Node and in a page alike: what it needs is what both libraries have. */
import type { MachineStats } from "../../src/vm/machine.ts";
import type { MachineExit } from "../../src/vm/machine-face.ts";

/** As much of a machine as the bench uses. */
export interface MeasuredMachine {
	readonly stats: MachineStats | Promise<MachineStats>;
	on(name: "console", listener: (event: { readonly bytes: Uint8Array }) => void): () => void;
	start(): Promise<void>;
	finished(): Promise<MachineExit>;
}

export interface GuestReport {
	/** By program; "boot" is the whole life of a machine, from making it to its end. */
	readonly seconds: Readonly<Record<string, number>>;
	/** What the guest printed last. */
	readonly output: string;
	readonly exit: { readonly reason: string; readonly code: number };
	readonly stats: MachineStats;
}

const KEPT_CHARACTERS = 4096;

/** Times lines "BENCH name begin" to "BENCH name end", by this host's clock. `make` makes a machine that powers off by itself. */
export async function measureGuest(make: () => Promise<MeasuredMachine>): Promise<GuestReport> {
	const startMs = performance.now();
	const machine = await make();
	const begunMs = new Map<string, number>();
	const seconds: Record<string, number> = {};
	let line = "";
	let output = "";
	machine.on("console", ({ bytes }) => {
		const nowMs = performance.now();
		for (const byte of bytes) {
			const character = String.fromCharCode(byte);
			line += character;
			output += character;
			if (character !== "\n") continue;
			const [, name, what] = /BENCH (\S+) (begin|end)/.exec(line) ?? [];
			line = "";
			if (name === undefined) continue;
			if (what === "begin") begunMs.set(name, nowMs);
			else seconds[name] = (nowMs - (begunMs.get(name) ?? nowMs)) / 1000;
		}
		output = output.slice(-KEPT_CHARACTERS);
	});
	await machine.start();
	const { reason, code } = await machine.finished();
	seconds.boot = (performance.now() - startMs) / 1000;
	return { seconds, output, exit: { reason, code }, stats: await machine.stats };
}
