/**
 * The benches: `npm run bench`. Builds guests, runs each on Basenji and on its peers in turn, and prints medians, ratios, and what of the
 * engine's goals is met. Nothing is asserted: the host may be busy.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { judge, renderVerdicts } from "./acceptance.ts";
import { BuildError } from "./build-error.ts";
import { type Engine, type Observed, openEngines, type RunLimits } from "./engines.ts";
import { type Bits, BOOT, bootGuest, debianGuest, type Guest, LOGIN, PROGRAMS, programsGuest, SHELL_PROGRAMS, wideGuest } from "./guest.ts";
import { gather, renderTable } from "./table.ts";
import { WIDE, WIDE_PROGRAMS } from "./wide.ts";

const PARTS = ["programs", "boot", "wide", "debian"] as const;
type Part = (typeof PARTS)[number];

const { values: options } = parseArgs({
	options: {
		runs: { type: "string", default: "5" },
		parts: { type: "string" },
		bits: { type: "string" },
		engines: { type: "string" },
		programs: { type: "string" },
		timeout: { type: "string", default: "600" },
		clock: { type: "string", default: "wall" },
		json: { type: "boolean", default: false },
		help: { type: "boolean", default: false },
	},
});

if (options.help) {
	console.log(`npm run bench -- [options]
  --runs N          runs of each engine; the table shows medians (default 5)
  --parts LIST      of ${PARTS.join(", ")}: small programs; a guest that starts and powers off; a program with 50 MB of code;
                    a whole Debian up to its login (default all; programs, boot where the next three choose)
  --bits LIST       of 64, 32
  --engines LIST    of native, qemu, v86, basenji, basenji:interpret, basenji:translate
  --programs LIST   of ${PROGRAMS.join(", ")}
  --timeout S       seconds for one guest (default 600)
  --clock wall|cpu  time as it passes, or processor time of the emulator, for a busy host
  --json            every run's seconds, in JSON on standard output`);
	process.exit(0);
}

const listed = (text: string): string[] => text.split(",").filter((name) => name !== "");
const programs = listed(options.programs ?? PROGRAMS.join(","));
for (const name of programs) if (!PROGRAMS.includes(name)) fail(`no program called ${name}: ${PROGRAMS.join(", ")}`);
const isChosen = [options.bits, options.engines, options.programs].some((choice) => choice !== undefined);
const parts = listed(options.parts ?? (isChosen ? "programs,boot" : PARTS.join(",")));
for (const part of parts) if (!(PARTS as readonly string[]).includes(part)) fail(`no part called ${part}: ${PARTS.join(", ")}`);
if (options.clock !== "wall" && options.clock !== "cpu") fail(`--clock is wall or cpu, not ${options.clock}`);
const runCount = Number(options.runs);
if (!Number.isInteger(runCount) || runCount < 1) fail(`--runs is a whole number from 1, not ${options.runs}`);
const sizes = listed(options.bits ?? "64,32").map((text): Bits => {
	if (text !== "64" && text !== "32") fail(`--bits is of 64 and 32, not ${text}`);
	return text === "64" ? 64 : 32;
});
const limits: RunLimits = { timeoutMs: Number(options.timeout) * 1000, clock: options.clock as RunLimits["clock"] };

function fail(message: string): never {
	console.error(`bench: ${message}`);
	process.exit(125);
}

/** The large program and the whole Debian are 64-bit only. */
async function guestsOf(part: Part, folder: string): Promise<readonly Guest[]> {
	const make = (one: (bits: Bits) => Promise<Guest>): Promise<Guest[]> => Promise.all(sizes.map(one));
	const has64 = sizes.includes(64);
	switch (part) {
		case "programs":
			return make((bits) => programsGuest(bits, programs, folder));
		case "boot":
			return make((bits) => bootGuest(bits, folder));
		case "wide":
			return has64 ? [await wideGuest(64, folder)] : [];
		case "debian":
			return has64 ? [await debianGuest()] : [];
	}
}

/** What a guest is to time. */
function namesOf(part: Part, engine: Engine): readonly string[] {
	const own = engine.name === "native" ? programs.filter((name) => !SHELL_PROGRAMS.includes(name)) : programs;
	return { programs: own, boot: [BOOT], wide: [WIDE], debian: [LOGIN] }[part];
}

/** Runs go round the engines, so that a busy minute hits all of them. */
async function measure(engines: readonly Engine[], guests: ReadonlyMap<Part, readonly Guest[]>): Promise<Map<Engine, Observed[]>> {
	const runs = new Map<Engine, Observed[]>(engines.map((engine) => [engine, []]));
	for (let run = 1; run <= runCount; run++)
		for (const [part, sized] of guests)
			for (const guest of sized)
				for (const engine of engines) {
					const isPeer = engine.bits === guest.bits && !(engine.name === "native" && guest.native === undefined);
					if (!isPeer) continue;
					const startMs = performance.now();
					const observed = await engine.run(guest, limits);
					runs.get(engine)?.push(observed);
					const missing = namesOf(part, engine).filter((name) => !observed.timings.has(name));
					const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
					console.error(
						`run ${run}/${runCount}: ${part}, ${engine.name} ${engine.bits}-bit, ${seconds} s${missing.length > 0 ? `; not finished: ${missing.join(", ")}${observed.complaint === undefined ? "" : ` (${observed.complaint})`}` : ""}`,
					);
				}
	return runs;
}

const folder = mkdtempSync(join(tmpdir(), "basenji-bench-"));
try {
	const engines: Engine[] = [];
	for (const engine of openEngines(listed(options.engines ?? "native,qemu,v86,basenji"), sizes))
		if (engine.missing === undefined) engines.push(engine);
		else console.error(`skipped: ${engine.name} ${engine.bits}-bit: ${engine.missing}`);
	const guests = new Map<Part, readonly Guest[]>();
	for (const part of parts as Part[]) {
		try {
			guests.set(part, await guestsOf(part, folder));
		} catch (error) {
			// Whoever asked for this part by its name wants to know that it cannot be had.
			if (!(error instanceof BuildError) || options.parts !== undefined || part === "programs" || part === "boot") throw error;
			console.error(`skipped: ${part}: ${error.message}`);
		}
	}
	const runs = await measure(engines, guests);
	const measured = engines.map((engine) => gather(engine, runs.get(engine) ?? []));
	const verdicts = judge(measured, "Basenji", programs);
	if (options.json) console.log(JSON.stringify({ clock: limits.clock, runs: runCount, measured, verdicts }, undefined, "\t"));
	else {
		console.log(renderTable(measured, "Basenji", programs, [BOOT, LOGIN, ...WIDE_PROGRAMS, WIDE]));
		console.log(`\n${renderVerdicts(verdicts)}`);
	}
} catch (error) {
	if (error instanceof BuildError || error instanceof RangeError) fail(error.message);
	throw error;
} finally {
	rmSync(folder, { recursive: true, force: true });
}
