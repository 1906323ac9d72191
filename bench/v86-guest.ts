/** Runs a guest on v86, its first serial port on standard output: node bench/v86-guest.ts '{"kernel": …}'. */
import { writeSync } from "node:fs";
import { startV86, type V86Guest } from "./v86.ts";

const emulator = startV86(JSON.parse(process.argv[2] ?? "{}") as V86Guest);

const pending: number[] = [];
emulator.add_listener("serial0-output-byte", (byte: number) => {
	pending.push(byte);
	if (byte !== 10) return;
	writeSync(1, Uint8Array.from(pending));
	pending.length = 0;
});
