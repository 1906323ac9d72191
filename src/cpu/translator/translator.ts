import { PAGE_BYTES } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { i32 } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { FunctionCode } from "../../wasm/function-code.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import type { EngineModule, GeneratedModule } from "../engine-module.ts";
import type { Block, BlockCache } from "../interpreter/block-cache.ts";
import type { BlockRegion, OtherPage } from "../interpreter/region-pages.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { EXIT } from "../state/layout.ts";
import { emitRegion } from "./emit-region.ts";
import { codeOf, mayRecall, recallRegion } from "./recall-region.ts";
import { buildGraph, type CodeExtent, FIRST_LIMITS, type RegionGraph, SECOND_LIMITS } from "./region-graph.ts";
import { imageOf, innerOf } from "./region-image.ts";
import type { RegionLibrary } from "./region-library.ts";
import { type ExitSite, ExitSites } from "./region-sites.ts";
import { ShapeTable } from "./shapes.ts";

/** Where a block was met: the linear address hi:lo as this CPU sees memory. */
export interface Met {
	readonly mmu: Mmu;
	readonly lo: number;
	readonly hi: number;
}

type Tier = 1 | 2;

interface Wanted extends Met {
	readonly block: Block;
	/** "kept": what an earlier run has made of it. */
	readonly tier: Tier | "kept";
}

/** Code for a slot, and what it was made from. */
interface Made {
	readonly code: FunctionCode;
	readonly sites: ExitSites;
	readonly extents: readonly CodeExtent[];
	/** Physical addresses of its blocks but the first. */
	readonly inner: readonly number[];
}

/** Where code has been translated: a block, and the low half of the linear address where it was met. */
export interface InstalledRegion {
	readonly block: Block;
	readonly lo: number;
}

/** A translated region and where its code came from. */
interface Region extends BlockRegion, InstalledRegion {
	readonly tier: Tier;
	readonly sites: ExitSites;
	/** Slices that have ended in it: all, and as many as have lately, at the last of them. */
	samples: number;
	recentSamples: number;
	sampledAt: number;
	/** It is to be made again. */
	isWanted: boolean;
	readonly extents: readonly CodeExtent[];
	/** `placeOf` its entry, and of the other blocks in it. */
	readonly place: number;
	readonly inner: readonly number[];
}

/** A region that came out longer stays interpreted: engines take long over huge functions, and refuse them in the end. */
const MAX_REGION_BYTES = 256 * 1024;
/** Regions compiled together. */
const BATCH = 12;
/** Slices (of some 200 µs) that a hot block waits for company: a module costs a tenth of a millisecond whatever is in it. */
const PATIENCE_TICKS = 4;
/**
 * A region is made again with everything in reach when this many slices have ended in it lately, a good tenth of all, or this many in the
 * long run. What many short-lived regions share is left alone: the host's optimiser is slow, and busy enough with the first ones.
 */
const RECENT_FOR_SECOND = 8;
const SAMPLES_FOR_SECOND = 200;
/** Slices after which a sample counts half. */
const HALF_LIFE_SLICES = 64;

export interface TranslatorStats {
	regions: number;
	/** Of these, made again because time is spent in them. */
	secondRegions: number;
	instructions: number;
	bytes: number;
	invalidated: number;
	/** Too long, or unpredictable. */
	refused: number;
	/** Taken over from earlier runs; not among `regions`. */
	recalled: number;
}

/** Turns hot blocks into regions of WebAssembly and puts them in the place of their blocks. */
export class Translator {
	readonly #engine: EngineModule;
	readonly #memory: GuestMemory;
	readonly #blocks: BlockCache;
	/** Where translations outlive the machine, if anywhere. */
	readonly #library: RegionLibrary | undefined;
	readonly #shapes = new ShapeTable();
	readonly #queue: Wanted[] = [];
	/** Slices since the queue was last emptied with something in it, and all. */
	#ticks = 0;
	#slices = 0;
	readonly #byPage = new Map<number, Set<Region>>();
	readonly #bySlot = new Map<number, Region>();
	/** How many regions begin at a place (`placeOf`), and how many have a block there further in. */
	readonly #entries = new Map<number, number>();
	readonly #within = new Map<number, number>();
	/** Blocks (by head record) that were hot while a region around them was made, and are to show that they are entered otherwise too. */
	readonly #doubted = new Set<number>();
	/** By slot. A region that is dropped while it runs still leaves by its sites. */
	readonly #sites: ExitSites[] = [];
	/** What stands in the slot of a region that is no more: back to the run loop, which finds the block again. */
	readonly #gone: unknown;
	readonly stats: TranslatorStats = { regions: 0, secondRegions: 0, instructions: 0, bytes: 0, invalidated: 0, refused: 0, recalled: 0 };
	/** These have other code now: jump caches must look again. */
	onInstalled: (regions: readonly InstalledRegion[]) => void = () => {};

	constructor(engine: EngineModule, memory: GuestMemory, blocks: BlockCache, library?: RegionLibrary) {
		this.#library = library;
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
			blockInvalidated: (block) => {
				this.#doubted.delete(block.record);
				for (const { slot } of [...block.regions]) this.#drop(this.#bySlot.get(slot) as Region);
			},
			bytesChange: (physAddr, bytes) => this.#invalidate(physAddr, bytes),
			allInvalidated: () => {
				for (const region of [...this.#bySlot.values()]) this.#drop(region);
				this.#queue.length = 0;
				this.#doubted.clear();
			},
		};
	}

	/** A block (by its head record) has run often, or as often as it takes to be looked for among what is kept. */
	heat(record: number, met: Met): void {
		if (!this.#blocks.takeFirstLook(record)) {
			this.#want({ block: this.#blocks.heated(record), ...met, tier: 1 });
			return;
		}
		const { phys, modeKey } = this.#blocks.placeOf(record);
		if (this.#library !== undefined && mayRecall(this.#library, this.#memory, phys, modeKey))
			this.#want({ block: this.#blocks.heated(record), ...met, tier: "kept" });
		else this.#blocks.leaveCold(record);
	}

	#want(wanted: Wanted): void {
		this.#queue.push(wanted);
		if (this.#queue.length >= BATCH) this.compile();
	}

	/** What the region in this slot has left for. */
	siteOf(slot: number, site: number): ExitSite {
		return (this.#sites[slot] as ExitSites).at(site);
	}

	/**
	 * A slice has ended in the region of this slot, whose entry is at hi:lo. That happens to a region as often as time is spent in it,
	 * which is the best reason to do it better.
	 */
	sample(slot: number, mmu: Mmu, lo: number, hi: number): void {
		const region = this.#bySlot.get(slot);
		if (region === undefined || region.tier === 2 || region.isWanted) return;
		region.samples++;
		region.recentSamples = region.recentSamples * 2 ** ((region.sampledAt - this.#slices) / HALF_LIFE_SLICES) + 1;
		region.sampledAt = this.#slices;
		if (region.samples < SAMPLES_FOR_SECOND && region.recentSamples < RECENT_FOR_SECOND) return;
		region.isWanted = true;
		this.#want({ block: region.block, mmu, lo, hi, tier: 2 });
	}

	/** Called between slices: a block that is hot alone, a tight loop, must not wait for others for ever. */
	tick(): void {
		this.#slices++;
		if (this.#queue.length === 0) return;
		this.#ticks++;
		if (this.#ticks >= PATIENCE_TICKS) this.compile();
	}

	/** Compiles and installs everything that is waiting. At once: what is hot waits long for other threads (docs/decisions/0012). */
	compile(): void {
		this.#ticks = 0;
		const module = this.#engine.newModule();
		const regions: Region[] = [];
		for (const wanted of this.#queue) {
			const region = this.#translate(wanted, module);
			if (region !== undefined) regions.push(region);
		}
		this.#queue.length = 0;
		if (regions.length === 0) return;
		this.stats.bytes += module.instantiate();
		for (const region of regions) this.#enter(region);
		this.onInstalled(regions);
		this.#library?.keepMuch();
	}

	#translate(wanted: Wanted, module: GeneratedModule): Region | undefined {
		const { block, mmu, lo, hi, tier } = wanted;
		if (block.isStale) return undefined;
		// Another process may be running by now: the block becomes hot again where it lives.
		if (mmu.probeCodePage(lo, hi, 0) !== block.phys - (block.phys % PAGE_BYTES)) {
			if (tier === "kept") this.#blocks.lookAgain(block);
			else this.#blocks.rewarm(block);
			return undefined;
		}
		if (tier === "kept") return this.#recall(wanted, module);
		const place = placeOf(block.phys, block.modeKey);
		if (tier === 1 && this.#within.has(place) && !this.#doubted.has(block.record)) {
			this.#doubted.add(block.record);
			this.#blocks.rewarm(block, 1 / 4);
			return undefined;
		}
		const isEntry = (phys: number) => tier === 1 && this.#entries.has(placeOf(phys, block.modeKey));
		const limits = tier === 1 ? FIRST_LIMITS : SECOND_LIMITS;
		const isWithin = (phys: number) => this.#within.has(placeOf(phys, block.modeKey));
		const graph = buildGraph(this.#memory, this.#blocks, mmu, block, lo, hi, limits, isEntry, isWithin);
		if (graph === undefined) return undefined;
		if (tier === 1 && isKnown(block, graph.extents)) return undefined;
		const slot = this.#engine.reserveSlot();
		const emitted = emitRegion(graph, module, this.#shapes, slot);
		if (emitted === undefined || emitted.code.length > MAX_REGION_BYTES) {
			this.stats.refused++;
			this.#engine.releaseSlot(slot);
			return undefined;
		}
		const code = emitted.code.freeze();
		this.stats.regions++;
		if (tier === 2) this.stats.secondRegions++;
		this.stats.instructions += graph.insnCount;
		this.#keep(graph, tier, code, emitted.sites, module);
		const inner = innerOf(graph).map((delta) => graph.code.physAt(delta));
		return this.#place(wanted, tier, slot, { code, sites: emitted.sites.freeze(), extents: graph.extents, inner }, module);
	}

	#keep(graph: RegionGraph, tier: Tier, code: FunctionCode, sites: ExitSites, module: GeneratedModule): void {
		const library = this.#library;
		if (library === undefined) return;
		const image = imageOf(graph, tier, code, sites, (callee) => library.nameId(module.nameOf(callee)));
		if (image !== undefined) library.add(image);
	}

	/** Takes over what an earlier run has made of the block, if its code is there. */
	#recall(wanted: Wanted, module: GeneratedModule): Region | undefined {
		const library = this.#library as RegionLibrary;
		const { block } = wanted;
		const recalled = recallRegion(library, this.#memory, { ...block, ...wanted });
		if (recalled === undefined || isKnown(block, recalled.window.extents)) {
			this.#blocks.rewarm(block);
			return undefined;
		}
		library.use(recalled.entry);
		this.stats.recalled++;
		const { image, window } = recalled;
		const slot = this.#engine.reserveSlot();
		const code = codeOf(library, recalled, slot, module);
		const inner = Array.from(image.inner, (delta) => window.physAt(delta));
		return this.#place(wanted, image.tier, slot, { code, sites: new ExitSites(image.sites), extents: window.extents, inner }, module);
	}

	/** Puts the code into the module; it will be in its slot when that is instantiated. */
	#place({ block, lo, hi }: Wanted, tier: Tier, slot: number, { code, sites, extents, inner }: Made, module: GeneratedModule): Region {
		module.add(slot, code, `region${tier} ${hex(lo, hi)}`);
		const unsampled = { samples: 0, recentSamples: 0, sampledAt: 0, isWanted: false };
		const place = placeOf(block.phys, block.modeKey);
		const places = inner.map((phys) => placeOf(phys, block.modeKey));
		count(this.#entries, place, 1);
		for (const each of places) count(this.#within, each, 1);
		return { slot, otherPages: otherPagesOf(extents), block, lo, tier, ...unsampled, sites, extents, place, inner: places };
	}

	/** The region's code is in its slot: it takes its block's place, until its bytes change. */
	#enter(region: Region): void {
		this.#bySlot.set(region.slot, region);
		this.#sites[region.slot] = region.sites;
		for (const { phys } of region.extents) {
			const page = Math.floor(phys / PAGE_BYTES);
			const others = this.#byPage.get(page);
			if (others === undefined) this.#byPage.set(page, new Set([region]));
			else others.add(region);
			this.#blocks.pin(page);
		}
		const { block, tier } = region;
		// The better one is found first.
		if (tier === 2) block.regions.unshift(region);
		else block.regions.push(region);
		this.#blocks.regionsChanged(block);
	}

	#invalidate(physAddr: number, bytes: number): boolean {
		const regions = this.#byPage.get(Math.floor(physAddr / PAGE_BYTES));
		if (regions === undefined) return false;
		const hit = [...regions].filter(({ extents }) =>
			extents.some(({ phys, firstByte, endByte }) => phys + firstByte < physAddr + bytes && physAddr < phys + endByte),
		);
		for (const region of hit) this.#drop(region);
		return hit.length > 0;
	}

	#drop(region: Region): void {
		this.stats.invalidated++;
		const { block } = region;
		block.regions.splice(block.regions.indexOf(region), 1);
		this.#blocks.regionsChanged(block);
		this.#bySlot.delete(region.slot);
		count(this.#entries, region.place, -1);
		for (const each of region.inner) count(this.#within, each, -1);
		this.#engine.table.set(region.slot, this.#gone);
		for (const { phys } of region.extents) {
			const page = Math.floor(phys / PAGE_BYTES);
			const regions = this.#byPage.get(page);
			regions?.delete(region);
			if (regions?.size === 0) this.#byPage.delete(page);
			this.#blocks.unpin(page);
		}
	}
}

/** A physical address and mode as one number. */
const placeOf = (phys: number, modeKey: number): number => phys * 64 + modeKey;

function count(counts: Map<number, number>, key: number, change: 1 | -1): void {
	const value = (counts.get(key) ?? 0) + change;
	if (value > 0) counts.set(key, value);
	else counts.delete(key);
}

const hex = (lo: number, hi: number): string => (BigInt.asUintN(32, BigInt(hi)) * 0x1_0000_0000n + BigInt(lo >>> 0)).toString(16);

const otherPagesOf = (extents: readonly CodeExtent[]): OtherPage[] =>
	extents.filter(({ pageIndex }) => pageIndex !== 0).map(({ pageIndex, phys }) => ({ pageIndex, phys }));

/** The block has a translation for when its pages are mapped like this. */
function isKnown(block: Block, extents: readonly CodeExtent[]): boolean {
	const pages = otherPagesOf(extents);
	return block.regions.some((known) => isSameMapping(known, pages));
}

function isSameMapping(known: BlockRegion, pages: readonly OtherPage[]): boolean {
	return (
		known.otherPages.length === pages.length &&
		known.otherPages.every(({ pageIndex, phys }) => pages.some((page) => page.pageIndex === pageIndex && page.phys === phys))
	);
}
