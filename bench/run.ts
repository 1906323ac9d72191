/**
 * The benches: `npm run bench`. Builds small guest programs, runs them in the same Linux guest on Basenji and on its peers, and prints
 * medians and ratios. Nothing is asserted: the host may be busy.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Engine, openEngines, type RunLimits, type Timings } from "./engines.ts";
import { type Bits, BOOT, BuildError, type Guest, PROGRAMS, prepareGuest } from "./guest.ts";
import { gather, renderTable } from "./table.ts";

const { values: options } = parseArgs({
	options: {
		runs: { type: "string", default: "5" },
		bits: { type: "string", default: "64,32" },
		engines: { type: "string", default: "native,qemu,v86,basenji" },
		programs: { type: "string", default: PROGRAMS.join(",") },
		timeout: { type: "string", default: "600" },
		clock: { type: "string", default: "wall" },
		json: { type: "boolean", default: false },
		help: { type: "boolean", default: false },
	},
});

if (options.help) {
	console.log(`npm run bench -- [options]
  --runs N          runs of each engine; the table shows medians (default 5)
  --bits LIST       of 64, 32
  --engines LIST    of native, qemu, v86, basenji, basenji:interpret, basenji:translate
  --programs LIST   of ${PROGRAMS.join(", ")}
  --timeout S       seconds for one guest (default 600)
  --clock wall|cpu  time as it passes, or processor time of the emulator, for a busy host
  --json            every run's seconds, in JSON on standard output`);
	process.exit(0);
}

const programs = options.programs.split(",").filter((name) => name !== "");
for (const name of programs) if (!PROGRAMS.includes(name)) fail(`no program called ${name}: ${PROGRAMS.join(", ")}`);
if (options.clock !== "wall" && options.clock !== "cpu") fail(`--clock is wall or cpu, not ${options.clock}`);
const sizes = options.bits
	.split(",")
	.map(Number)
	.filter((bits): bits is Bits => bits === 64 || bits === 32);
const limits: RunLimits = { timeoutMs: Number(options.timeout) * 1000, clock: options.clock as RunLimits["clock"] };

function fail(message: string): never {
	console.error(`bench: ${message}`);
	process.exit(125);
}

/** Runs go round the engines, so that a busy minute hits all of them. */
async function measure(engines: readonly Engine[], guests: ReadonlyMap<Bits, Guest>): Promise<Map<Engine, Timings[]>> {
	const runs = new Map<Engine, Timings[]>(engines.map((engine) => [engine, []]));
	for (let run = 1; run <= Number(options.runs); run++)
		for (const engine of engines) {
			const guest = guests.get(engine.bits);
			if (guest === undefined) continue;
			const startMs = performance.now();
			const timings = await engine.run(guest, limits);
			runs.get(engine)?.push(timings);
			const missing = [...programs, BOOT].filter((name) => !timings.has(name) && !(engine.name === "native" && !timings.has(BOOT)));
			const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
			console.error(
				`run ${run}/${options.runs}: ${engine.name} ${engine.bits}-bit, ${seconds} s${missing.length > 0 ? `; not finished: ${missing.join(", ")}` : ""}`,
			);
		}
	return runs;
}

const folder = mkdtempSync(join(tmpdir(), "basenji-bench-"));
try {
	const engines: Engine[] = [];
	for (const engine of openEngines(options.engines.split(","), sizes, folder))
		if (engine.missing === undefined) engines.push(engine);
		else console.error(`skipped: ${engine.name} ${engine.bits}-bit: ${engine.missing}`);
	const guests = new Map<Bits, Guest>();
	for (const bits of sizes) guests.set(bits, await prepareGuest(bits, programs, folder));
	const runs = await measure(engines, guests);
	const measured = engines.map((engine) => gather(engine, runs.get(engine) ?? []));
	if (options.json) console.log(JSON.stringify({ clock: limits.clock, runs: Number(options.runs), measured }, undefined, "\t"));
	else console.log(renderTable(measured, "Basenji", programs, BOOT));
} catch (error) {
	if (error instanceof BuildError || error instanceof RangeError) fail(error.message);
	throw error;
} finally {
	rmSync(folder, { recursive: true, force: true });
}
