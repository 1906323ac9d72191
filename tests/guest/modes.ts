/**
 * Boots an image's self-check in each of the engine's modes: `node tests/guest/modes.ts --image default`. Time is counted in
 * instructions (but for `kept` and `again`), so that a slow mode fails no check of the guest's clocks, and chance comes from a seed: a run repeats exactly. The
 * modes count a block's instructions at different moments, so that times differ by microseconds between them, but little else may.
 * Ends with 1 where a self-check fails; shows where outputs part, times aside.
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { scratchDisk } from "../../src/cli/scratch-disk.ts";
import { NodeHost } from "../../src/host/node/host.ts";
import { tuneWebAssembly } from "../../src/host/node/wasm-tuning.ts";
import type { MachineOptions } from "../../src/vm/config.ts";
import { assembleMachine } from "../../src/vm/create.ts";
import { bootFiles, imageOrReason } from "./images.ts";

const MODES: Readonly<Record<string, Pick<MachineOptions, "engine" | "translateAfter" | "time">>> = {
	normal: { engine: "translate" },
	/** What earlier runs have translated is taken over, which no repeatable run does; the first of two may still have to learn. */
	kept: { engine: "translate", time: "host" },
	again: { engine: "translate", time: "host" },
	eager: { engine: "translate", translateAfter: 1 },
	interpret: { engine: "interpret" },
};

const { values: options } = parseArgs({
	options: {
		image: { type: "string", default: "default" },
		modes: { type: "string", default: Object.keys(MODES).join(",") },
		memory: { type: "string", default: "128M" },
		cpus: { type: "string", default: "1" },
		append: { type: "string", default: "panic=-1 basenji.check" },
		until: { type: "string" },
		json: { type: "boolean", default: false },
	},
});

/** A host whose chance and wall clock are the same every time. */
class RepeatableHost extends NodeHost {
	#state = 1;

	override wallMs(): number {
		return Date.UTC(2026, 0, 1);
	}

	override random(into: Uint8Array): void {
		for (let at = 0; at < into.length; at++) {
			this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
			into[at] = this.#state >>> 24;
		}
	}
}

interface Run {
	readonly mode: string;
	readonly output: string;
	readonly reason: string;
	readonly code: number;
	readonly instructions: number;
	readonly seconds: number;
	readonly regions: number;
	/** Taken over from earlier runs. */
	readonly recalled: number;
}

async function run(mode: string): Promise<Run> {
	const image = await imageOrReason(options.image);
	if (typeof image === "string") throw new Error(image);
	const files = bootFiles(image, options.append);
	const kernel = await readFile(files.kernel);
	const initrd = await readFile(files.initrd);
	await using machine = assembleMachine(
		{
			time: "instructions",
			...MODES[mode],
			...{ kernel, initrd, append: files.append, memory: options.memory, cpus: Number(options.cpus), disks: [{ disk: scratchDisk() }] },
			...{ debugExit: true, onReset: "stop" },
		},
		new RepeatableHost(),
	);
	if (options.until !== undefined) machine.console.expect(options.until, () => void machine.stop());
	await machine.start();
	const { reason, code, error } = await machine.finished();
	if (error !== undefined) console.error(`${mode}:`, error);
	const { guestInstructions, wallSeconds, engineStats } = machine.stats;
	return {
		...{ mode, output: machine.console.text, reason, code, instructions: guestInstructions },
		...{ seconds: wallSeconds, regions: engineStats.translatedRegions ?? 0, recalled: engineStats.recalledRegions ?? 0 },
	};
}

const COMPLAINTS = /check: FAIL|Call Trace|BUG:|Oops|unstable|soft lockup/;

/** Lines without the kernel's time stamps, and without what measures time. */
function linesOf({ output }: Run): string[] {
	return output
		.split("\n")
		.map((line) => line.replace(/^\[ *\d+\.\d+\] /, ""))
		.filter((line) => !/bogomips|clocksource|sched_clock|jiffies|usec|msec|took|raid6|MHz|cycles|random:/i.test(line));
}

/** Lines that only one of two runs printed: background work finishes now before, now behind other work. */
function partings(a: Run, b: Run): string[] {
	const only = (one: Run, other: Run): string[] => {
		const known = new Set(linesOf(other));
		return linesOf(one).filter((line) => !known.has(line));
	};
	return [
		...only(a, b).map((line) => `only ${a.mode}: ${line.trimEnd()}`),
		...only(b, a).map((line) => `only ${b.mode}: ${line.trimEnd()}`),
	];
}

tuneWebAssembly();
const modes = options.modes.split(",");
for (const mode of modes) if (!(mode in MODES)) throw new RangeError(`no mode called ${mode}: ${Object.keys(MODES).join(", ")}`);
const runs: Run[] = [];
for (const mode of modes) {
	const one = await run(mode);
	runs.push(one);
	const { output, ...figures } = one;
	if (!options.json) console.log(`${JSON.stringify(figures)} ${/basenji-check: \w+/.exec(output)?.[0] ?? ""}`);
}
const [first, ...others] = runs as [Run, ...Run[]];
const findings = others.flatMap((other) => partings(first, other));
const failed = runs.filter(({ output, reason, code }) => {
	const isDone = options.until === undefined ? reason === "power-off" && code === 0 && output.includes("basenji-check: PASS") : true;
	return !isDone || COMPLAINTS.test(output);
});
if (options.json) console.log(JSON.stringify({ runs, findings, failed: failed.map(({ mode }) => mode) }, undefined, "\t"));
else {
	for (const finding of findings) console.log(finding);
	for (const { mode, output } of failed)
		console.log(
			`${mode} failed: ${
				output
					.split("\n")
					.filter((line) => COMPLAINTS.test(line))
					.join("; ") || output.slice(-300)
			}`,
		);
}
process.exit(failed.length > 0 ? 1 : 0);
