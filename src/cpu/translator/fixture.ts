import { PAGE_BYTES } from "../../base/units.ts";
import { IoBus } from "../../machine/bus.ts";
import { SteppedClock } from "../../machine/clock.ts";
import { ENGINE_BYTES, GuestMemory } from "../../machine/memory.ts";
import type { BlockCache } from "../interpreter/block-cache.ts";
import { TestBoard } from "../mmu/fixture.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { SoftwareCpu } from "../software-cpu.ts";
import type { SoftwareEngine } from "../software-engine.ts";
import { ATTR, SEG, updateMode } from "../system/mode.ts";
import { setSegment } from "../system/segments.ts";
import { buildGraph, type RegionGraph, type RegionLimits, SECOND_LIMITS } from "./region-graph.ts";

const HLT = 0xf4;

const FLAT = ATTR.P | ATTR.S | ATTR.accessed | ATTR.writable | ATTR.G | ATTR.DB;

/** A processor in flat 32-bit protected mode without paging, about to run what stands at `rip`. */
export function flatProcessor(engine: SoftwareEngine, rip: number): SoftwareCpu {
	const environment = {
		index: 0,
		cpuCount: 1,
		io: new IoBus(),
		clock: new SteppedClock(),
		board: new TestBoard(),
		entropy: { next32: () => 1 },
		onPause: () => {},
	};
	const cpu = new SoftwareCpu(engine, environment);
	cpu.state.set64("cr0", 0x11n);
	for (let seg = 0; seg < 6; seg++) setSegment(cpu.context, seg, 8, 0, -1, seg === SEG.CS ? FLAT | ATTR.code : FLAT);
	cpu.state.setLow("rip", rip);
	cpu.state.setLow("gpr", 0x8000, 4);
	updateMode(cpu.context);
	return cpu;
}

/** Every page below 1 MiB lies where it is: the directory at 0x10000, one table behind it. @param hidden page that is not there */
export function enablePaging({ context }: SoftwareCpu, hidden?: number): void {
	const { state, memory, mmu } = context;
	const [directory, table] = [0x10000, 0x11000];
	const view = new DataView(memory.bytes.buffer, ENGINE_BYTES);
	view.setUint32(directory, table | 0x67, true);
	for (let page = 0; page < 256; page++) view.setUint32(table + 4 * page, page === hidden ? 0 : (page << 12) | 0x67, true);
	state.set64("cr0", 0x8000_0011n);
	state.set64("cr3", BigInt(directory));
	mmu.clear();
	updateMode(context);
}

/** Code for translating without running it: memory mapped as it lies, all of whose code counts as hot. */
export class CodeFixture {
	readonly #memory: GuestMemory;

	/** @param code what memory holds from physical address 0 on; behind it stand HLTs */
	constructor(code: Uint8Array) {
		this.#memory = new GuestMemory(Math.ceil((code.length + 16) / 65536) * 65536);
		this.#memory.bytes.fill(HLT, ENGINE_BYTES, ENGINE_BYTES + this.#memory.ramBytes);
		this.#memory.bytes.set(code, ENGINE_BYTES);
	}

	/** The region that starts at `phys`; undefined where there is no code. */
	graph(phys: number, modeKey: number, limits: RegionLimits = SECOND_LIMITS): RegionGraph | undefined {
		const block = { phys, modeKey };
		const cache = { hotAfter: () => 1, runsAt: () => Number.POSITIVE_INFINITY };
		const mmu = { probeCodePage: (lo: number, _hi: number, page: number) => lo - (lo % PAGE_BYTES) + page * PAGE_BYTES };
		return buildGraph(this.#memory, cache as unknown as BlockCache, mmu as unknown as Mmu, block as never, phys, 0, limits);
	}
}
