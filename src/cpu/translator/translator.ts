import { PAGE_BYTES } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { i32 } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import type { EngineModule } from "../engine-module.ts";
import type { Block, BlockCache } from "../interpreter/block-cache.ts";
import { EXIT } from "../state/layout.ts";
import { emitRegion } from "./emit-region.ts";
import { buildGraph } from "./region-graph.ts";

/** A translated region and where its code came from. */
interface Region {
	readonly slot: number;
	readonly block: Block;
	readonly firstByte: number;
	readonly endByte: number;
	isDead: boolean;
}

/** A region that came out longer stays interpreted: engines take long over huge functions, and refuse them in the end. */
const MAX_REGION_BYTES = 256 * 1024;
/** Regions compiled together. */
const BATCH = 12;
/** Slices (of some 200 µs) that a hot block waits for company: a module costs 30 µs whatever is in it. */
const PATIENCE_TICKS = 4;

export interface TranslatorStats {
	regions: number;
	instructions: number;
	bytes: number;
	invalidated: number;
}

/** Turns hot blocks into regions of WebAssembly and puts them in the place of their blocks. */
export class Translator {
	readonly #engine: EngineModule;
	readonly #memory: GuestMemory;
	readonly #blocks: BlockCache;
	readonly #queue: Block[] = [];
	/** Slices since the queue was last emptied with something in it. */
	#ticks = 0;
	readonly #byPage = new Map<number, Region[]>();
	readonly #regions = new Map<Block, Region>();
	/** What stands in the slot of a region that is no more: back to the run loop, which finds the block again. */
	readonly #gone: unknown;
	readonly stats: TranslatorStats = { regions: 0, instructions: 0, bytes: 0, invalidated: 0 };
	/** Told which blocks (by head record) have code now, and in which slot: jump caches lead there from now on. */
	onInstalled: (slots: ReadonlyMap<number, number>) => void = () => {};

	constructor(engine: EngineModule, memory: GuestMemory, blocks: BlockCache) {
		this.#engine = engine;
		this.#memory = memory;
		this.#blocks = blocks;
		const slot = engine.reserveSlot();
		const module = engine.newModule();
		const f = new FunctionBuilder(HANDLER_PARAMS, "i32");
		f.return(i32(EXIT.lookup));
		f.unreachable();
		module.add(slot, f, "gone");
		module.instantiate();
		this.#gone = engine.table.get(slot);
		blocks.listener = {
			blockInvalidated: (block) => this.#drop(this.#regions.get(block)),
			allInvalidated: () => {
				for (const region of [...this.#regions.values()]) this.#drop(region);
				this.#queue.length = 0;
			},
		};
	}

	/** A block has run often. Returns true when code was installed. */
	heat(block: Block): boolean {
		if (this.#regions.has(block) || block.isStale) return false;
		this.#queue.push(block);
		if (this.#queue.length < BATCH) return false;
		this.compile();
		return true;
	}

	/** Called between slices: a block that is hot alone, a tight loop, must not wait for others for ever. */
	tick(): void {
		if (this.#queue.length === 0) return;
		this.#ticks++;
		if (this.#ticks >= PATIENCE_TICKS) this.compile();
	}

	/** Compiles and installs everything that is waiting. */
	compile(): void {
		this.#ticks = 0;
		const module = this.#engine.newModule();
		const regions: Region[] = [];
		for (const block of this.#queue) {
			if (block.isStale || this.#regions.has(block)) continue;
			const graph = buildGraph(this.#memory, this.#blocks, block.phys, block.modeKey);
			if (graph === undefined) continue;
			const code = emitRegion(graph, module);
			if (code.code.length > MAX_REGION_BYTES) continue;
			const slot = this.#engine.reserveSlot();
			module.add(slot, code, `region ${block.phys.toString(16)}`);
			const region: Region = { slot, block, firstByte: graph.firstByte, endByte: graph.endByte, isDead: false };
			regions.push(region);
			this.#regions.set(block, region);
			this.stats.regions++;
			this.stats.instructions += graph.insnCount;
		}
		this.#queue.length = 0;
		if (regions.length === 0) return;
		const bytes = module.bytes();
		this.stats.bytes += bytes.length;
		module.install(new WebAssembly.Module(bytes));
		for (const region of regions) {
			region.block.regionSlot = region.slot;
			const page = Math.floor(region.firstByte / PAGE_BYTES);
			const others = this.#byPage.get(page);
			if (others === undefined) this.#byPage.set(page, [region]);
			else others.push(region);
		}
		this.onInstalled(new Map(regions.map(({ block, slot }) => [block.record, slot])));
	}

	/** Bytes are about to change. Returns whether a region was made from them. */
	invalidate(physAddr: number, bytes: number): boolean {
		const regions = this.#byPage.get(Math.floor(physAddr / PAGE_BYTES));
		if (regions === undefined) return false;
		const hit = regions.filter((region) => region.firstByte < physAddr + bytes && physAddr < region.endByte);
		for (const region of hit) this.#drop(region);
		return hit.length > 0;
	}

	#drop(region: Region | undefined): void {
		if (region === undefined || region.isDead) return;
		region.isDead = true;
		this.stats.invalidated++;
		region.block.regionSlot = -1;
		this.#regions.delete(region.block);
		this.#engine.table.set(region.slot, this.#gone);
		const page = Math.floor(region.firstByte / PAGE_BYTES);
		const left = (this.#byPage.get(page) ?? []).filter((other) => other !== region);
		if (left.length > 0) this.#byPage.set(page, left);
		else this.#byPage.delete(page);
	}
}
