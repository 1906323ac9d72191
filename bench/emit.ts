/**
 * What translating costs the thread that does it: `node bench/emit.ts`. The functions of a program (the bench's own, as the compiler here
 * makes it, or any ELF file with symbols) are translated as if all of them were hot. The first pass is what short runs pay, with our own
 * code not yet compiled; the best of the later ones is what a long run comes to.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PerformanceObserver } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { SoftwareEngine } from "../src/cpu/software-engine.ts";
import { MODE } from "../src/cpu/state/layout.ts";
import { emitRegion } from "../src/cpu/translator/emit-region.ts";
import { CodeFixture } from "../src/cpu/translator/fixture.ts";
import { FIRST_LIMITS } from "../src/cpu/translator/region-graph.ts";
import { ShapeTable } from "../src/cpu/translator/shapes.ts";
import { GuestMemory } from "../src/machine/memory.ts";
import { type ElfCode, readElf } from "./elf.ts";
import { compilePrograms } from "./guest.ts";

const { values: options } = parseArgs({
	options: {
		elf: { type: "string" },
		passes: { type: "string", default: "6" },
		json: { type: "boolean", default: false },
		help: { type: "boolean", default: false },
	},
});

if (options.help) {
	console.log(`node bench/emit.ts [options]
  --elf FILE    a 64-bit program with symbols (default: the bench's own, compiled here)
  --passes N    passes over it, each with a translator that knows nothing yet (default 6)
  --json        every pass, in JSON on standard output`);
	process.exit(0);
}

const MODE_KEY = MODE.code64 | MODE.stack32 | MODE.flat | MODE.user;
/** As the translator does it. */
const REGIONS_IN_MODULE = 12;
const PAGE_MASK = 4095;

interface Pass {
	readonly instructions: number;
	readonly regions: number;
	readonly bytesPerInsn: number;
	/** Microseconds of the thread's processor time an instruction: gathering code, emitting it, assembling and compiling modules. */
	readonly graphUs: number;
	readonly emitUs: number;
	readonly compileUs: number;
	readonly gcMs: number;
}

const code = readElf(readFileSync(options.elf ?? ownProgram()));
let gcMs = 0;
new PerformanceObserver((list) => {
	for (const entry of list.getEntries()) gcMs += entry.duration;
}).observe({ entryTypes: ["gc"] });
const passes: Pass[] = [];
for (let n = 0; n < Number(options.passes); n++) {
	passes.push(await pass(code));
	if (!options.json) console.log(line(n === 0 ? "first" : `${n + 1}th`, passes[n] as Pass));
}
if (options.json) console.log(JSON.stringify(passes));
else
	console.log(
		line(
			"best",
			passes.reduce((a, b) => (b.emitUs < a.emitUs ? b : a)),
		),
	);
process.exit(0);

function ownProgram(): string {
	const folder = mkdtempSync(join(tmpdir(), "basenji-emit-"));
	process.on("exit", () => rmSync(folder, { recursive: true }));
	return compilePrograms(64, folder);
}

function line(name: string, { instructions, regions, bytesPerInsn, graphUs, emitUs, compileUs, gcMs }: Pass): string {
	const us = (value: number) => `${value.toFixed(2)} µs`;
	return `${name.padEnd(6)} ${instructions} instructions in ${regions} regions: gather ${us(graphUs)}, emit ${us(emitUs)}, compile ${us(
		compileUs,
	)} and ${bytesPerInsn.toFixed(1)} bytes each; garbage collection ${gcMs.toFixed(0)} ms`;
}

async function pass({ address, bytes, functions }: ElfCode): Promise<Pass> {
	// Pages keep their borders.
	const skew = address & PAGE_MASK;
	const placed = new Uint8Array(skew + bytes.length);
	placed.set(bytes, skew);
	const fixture = new CodeFixture(placed);
	const engine = new SoftwareEngine(new GuestMemory(1 << 20)).module;
	const shapes = new ShapeTable();
	const slot = engine.reserveSlot();
	let [instructions, regions, size, graphMs, emitMs, compileMs] = [0, 0, 0, 0, 0, 0];
	gcMs = 0;
	for (let first = 0; first < functions.length; first += REGIONS_IN_MODULE) {
		const some = functions.slice(first, first + REGIONS_IN_MODULE);
		const started = cpuMs();
		const graphs = some.map((at) => fixture.graph(at - address + skew, MODE_KEY, FIRST_LIMITS)).filter((graph) => graph !== undefined);
		const gathered = cpuMs();
		const module = engine.newModule();
		for (const graph of graphs) {
			const emitted = emitRegion(graph, module, shapes, slot);
			if (emitted === undefined) continue;
			size += emitted.code.length;
			module.add(slot, emitted.code, "region");
			instructions += graph.insnCount;
			regions++;
		}
		const emitted = cpuMs();
		module.instantiate();
		graphMs += gathered - started;
		emitMs += emitted - gathered;
		compileMs += cpuMs() - emitted;
	}
	// The observer is told later.
	await new Promise((resolve) => setTimeout(resolve, 20));
	const each = 1000 / instructions;
	return {
		instructions,
		regions,
		bytesPerInsn: size / instructions,
		graphUs: graphMs * each,
		emitUs: emitMs * each,
		compileUs: compileMs * each,
		gcMs,
	};
}

function cpuMs(): number {
	const { user, system } = process.threadCpuUsage();
	return (user + system) / 1000;
}
