/**
 * The differential tester: `node tests/cpu/diff.ts --count 1000000 --seed 1 --modes 64,32,16 --engine interpret`.
 * Runs generated code on the host's processor and on an engine, and lists by instruction where they differ.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { BasenjiEngine } from "./basenji.ts";
import { blame, type Culprit } from "./blame.ts";
import { codeOffset, compare, type Difference, disassemble } from "./compare.ts";
import { runBeside } from "./engine.ts";
import { openEngine } from "./engines.ts";
import type { Mode, TestCase, TestResult } from "./format.ts";
import { type Generated, Generator } from "./generate.ts";
import { knownFailureOf } from "./known.ts";
import { CompileError, NativeEngine } from "./native.ts";
import { toRegression } from "./regression.ts";
import { shrink } from "./shrink.ts";

const { values: options } = parseArgs({
	options: {
		count: { type: "string", default: "1000000" },
		seed: { type: "string", default: "1" },
		modes: { type: "string", default: "64,32,16" },
		engine: { type: "string", default: "interpret" },
		only: { type: "string" },
		seconds: { type: "string" },
		length: { type: "string", default: "6" },
		batch: { type: "string", default: "10000" },
		show: { type: "string", default: "3" },
		json: { type: "boolean", default: false },
		keep: { type: "boolean", default: false },
		help: { type: "boolean", default: false },
	},
});

if (options.help) {
	console.log(`node tests/cpu/diff.ts [options]
  --count N       instructions to run, all modes together (default 1000000)
  --seed N        the same seed, modes and batch give the same cases
  --modes LIST    of 64, 32, 16
  --engine NAME   interpret, translate (at once), normal (when hot), qemu-user
  --only REGEX    only instructions whose name matches, for instance '^Shld_'
  --seconds N     begin no further batch after so long, and report
  --length N      at most N instructions in a sequence (default 6)
  --show N        shrink and print at most N differences per instruction (default 3)
  --keep          write those into tests/cpu/regressions/
  --json          a summary in JSON on standard output, nothing else`);
	process.exit(0);
}

interface Tally {
	count: number;
	readonly fields: Map<string, number>;
	readonly samples: Generated[];
	known: number;
}

const wantedInstructions = Number(options.count);
const batchSize = Number(options.batch);
const showCount = Number(options.show);
const modes = options.modes.split(",").map(Number) as Mode[];
const only = options.only === undefined ? undefined : new RegExp(options.only);
const say = (text: string): void => {
	if (!options.json) console.log(text);
};

const oracle = new NativeEngine();
const engine = openEngine(options.engine);
const tallies = new Map<string, Tally>();
const totals = { cases: 0, instructions: 0, reached: 0, mismatches: 0, known: 0, timeouts: 0, lost: 0, unstable: 0 };
/** Of the cases compared, those that ran translated (the others have no first instruction to translate, or are stepped). */
let translatedCases = 0;
const spent = { generateMs: 0, nativeMs: 0, engineMs: 0, compareMs: 0 };

interface Mismatch {
	readonly testCase: Generated;
	readonly differences: readonly Difference[];
}

function note(culprit: Culprit | undefined, { testCase }: Mismatch): void {
	if (culprit === undefined) {
		totals.unstable++;
		return;
	}
	const { name, prefix, differences } = culprit;
	const tally: Tally = tallies.get(name) ?? { count: 0, fields: new Map(), samples: [], known: 0 };
	tallies.set(name, tally);
	if (knownFailureOf(engine.name, prefix, differences) !== undefined) {
		tally.known++;
		totals.known++;
		return;
	}
	totals.mismatches++;
	tally.count++;
	const field = (differences[0] as Difference).where.replace(/^memory .*/, "memory").replace(/^(r[a-d]x|r[sb]p|r[sd]i|r\d+)$/, "gpr");
	tally.fields.set(field, (tally.fields.get(field) ?? 0) + 1);
	if (tally.samples.length < showCount) tally.samples.push(testCase);
}

/** How many of a case's instructions lie up to the place where it ended, the one that faulted included. */
function reachedOf(testCase: Generated, result: TestResult): number {
	const end = codeOffset(testCase, result.rip);
	let start = 0;
	let reached = 0;
	for (const { length } of testCase.instructions) {
		if (start <= end) reached++;
		start += length;
	}
	// Behind a case stands an INT3, which ends it one byte on. Anywhere else is a wild jump.
	return end <= start + 1 ? Math.max(reached, 1) : 1;
}

function runBatch(generator: Generator): void {
	const clock = [performance.now()];
	const cases: Generated[] = [];
	for (let index = 0; index < batchSize && totals.instructions < wantedInstructions; index++) {
		const testCase = generator.next();
		cases.push(testCase);
		totals.instructions += testCase.instructions.length;
	}
	totals.cases += cases.length;
	clock.push(performance.now());
	const expected = oracle.run(cases);
	clock.push(performance.now());
	const translatedBefore = engine instanceof BasenjiEngine ? engine.translatedCount : 0;
	const actual = runBeside(engine, cases, expected);
	if (engine instanceof BasenjiEngine) translatedCases += engine.translatedCount - translatedBefore;
	clock.push(performance.now());
	const mismatches: Mismatch[] = [];
	for (let index = 0; index < cases.length; index++) {
		const testCase = cases[index]!;
		if (expected[index]!.status === "not-run") {
			totals.lost++;
			continue;
		}
		if (expected[index]!.status === "timeout") totals.timeouts++;
		totals.reached += reachedOf(testCase, expected[index]!);
		const differences = compare(testCase, expected[index]!, actual[index]!, engine.reportsFaults);
		if (differences.length > 0) mismatches.push({ testCase, differences });
	}
	const culprits = blame(
		mismatches.map(({ testCase }) => testCase),
		oracle,
		engine,
	);
	for (const [index, mismatch] of mismatches.entries()) note(culprits[index], mismatch);
	clock.push(performance.now());
	spent.generateMs += clock[1]! - clock[0]!;
	spent.nativeMs += clock[2]! - clock[1]!;
	spent.engineMs += clock[3]! - clock[2]!;
	spent.compareMs += clock[4]! - clock[3]!;
}

/** What of the initial state is not plain. */
function initialState(testCase: TestCase): string {
	const { gpr, rflags, fx, patches } = toRegression(testCase, oracle.run([testCase])[0]!, { engine: "", differences: [] });
	return JSON.stringify({ gpr, rflags, fx, patches }).replaceAll('"', "");
}

/** Prints a shrunk difference and, when asked, keeps it. */
function report(name: string, sample: Generated, serial: number): void {
	const small = shrink(sample, oracle, engine) ?? sample;
	const expected = oracle.run([small])[0]!;
	const actual = engine.run([small])[0]!;
	const differences = compare(small, expected, actual, engine.reportsFaults);
	say(`  ${small.instructions.map((bytes) => Buffer.from(bytes).toString("hex")).join(" ")}  ${disassemble(small).join("; ")}`);
	say(`      from ${initialState(small)}`);
	for (const { where, expected: native, actual: got } of differences.slice(0, 6))
		say(`      ${where}: native ${native}, ${engine.name} ${got}`);
	if (!options.keep) return;
	const folder = fileURLToPath(new URL("regressions/", import.meta.url));
	mkdirSync(folder, { recursive: true });
	const regression = toRegression(small, expected, { engine: engine.name, differences });
	writeFileSync(join(folder, `${name.replace(" ", "-")}-${serial}.json`), `${JSON.stringify(regression, undefined, "\t")}\n`);
}

const startMs = performance.now();
try {
	const generators = modes
		.filter((mode) => engine.supports(mode))
		.map((mode) => new Generator(Number(options.seed), mode, only, Number(options.length)));
	if (generators.length === 0) throw new RangeError(`${engine.name} runs none of the modes ${options.modes}`);
	let lastSaidMs = startMs;
	const endMs = options.seconds === undefined ? Number.POSITIVE_INFINITY : startMs + Number(options.seconds) * 1000;
	for (let turn = 0; totals.instructions < wantedInstructions && performance.now() < endMs; turn++) {
		runBatch(generators[turn % generators.length] as Generator);
		const nowMs = performance.now();
		if (nowMs - lastSaidMs < 5000) continue;
		lastSaidMs = nowMs;
		const rate = Math.round(totals.instructions / ((nowMs - startMs) / 1000));
		say(`${totals.instructions} instructions, ${rate}/s, ${totals.mismatches} differences (${totals.known} known)`);
	}
} catch (error) {
	if (!(error instanceof CompileError)) throw error;
	console.error(`skipped: no compiler for the native runner (${error.message.split("\n")[0]})`);
	process.exit(0);
}

const sorted = [...tallies].filter(([, tally]) => tally.count > 0).sort(([, a], [, b]) => b.count - a.count);
for (const [name, tally] of sorted) {
	const fields = [...tally.fields].map(([field, count]) => `${field} ${count}`).join(", ");
	say(`${name}: ${tally.count} (${fields})${tally.known > 0 ? `, ${tally.known} known` : ""}`);
	for (const [index, sample] of tally.samples.entries()) report(name, sample, index);
}
if (engine instanceof BasenjiEngine)
	for (const { count, stack } of engine.crashes.values()) say(`crashed ${count} times: ${stack.split("\n").slice(0, 6).join("\n")}`);
const seconds = (performance.now() - startMs) / 1000;
const summary = {
	engine: engine.name,
	seed: Number(options.seed),
	modes,
	...totals,
	...(engine instanceof BasenjiEngine && engine.name === "translate" ? { translatedCases } : {}),
	seconds: Math.round(seconds * 10) / 10,
	instructionsPerSecond: Math.round(totals.instructions / seconds),
	spentMs: Object.fromEntries(Object.entries(spent).map(([part, ms]) => [part, Math.round(ms)])),
	byInstruction: Object.fromEntries(
		sorted.map(([name, tally]) => [name, { count: tally.count, fields: Object.fromEntries(tally.fields) }]),
	),
};
if (options.json) console.log(JSON.stringify(summary, undefined, "\t"));
else console.log(JSON.stringify({ ...summary, byInstruction: undefined }));
process.exit(totals.mismatches > 0 ? 1 : 0);
