import { PAGE_BYTES } from "../../base/units.ts";
import { CODE_FLAG_PAGES, CODE_FLAGS, type GuestMemory } from "../../machine/memory.ts";
import type { Mmu } from "../mmu/mmu.ts";
import type { CpuState } from "../state/cpu-state.ts";
import { at, MODE } from "../state/layout.ts";
import { BlockDecoder, nextHigh, raiseLimit } from "./block-decoder.ts";
import { BlockStore } from "./block-store.ts";
import { CodeIndex } from "./code-index.ts";
import { DECODER, DECODER_FIELD, type DecoderWord } from "./decoded-area.ts";
import type { HandlerFactory } from "./handlers.ts";
import type { JumpCache } from "./jump-cache.ts";
import { type KeptPlace, KeptPlaces } from "./kept-places.ts";
import { OverwrittenPages } from "./overwritten-pages.ts";
import type { Patterns } from "./patterns.ts";
import { REC, RECORD_BYTES } from "./record.ts";
import { RecordArena } from "./record-arena.ts";
import { type BlockRegion, RegionPages } from "./region-pages.ts";

/** Such a block does not become hot. */
const NEVER_HOT = 0x7fff_ffff;

/** A block that the translator has to do with: a run of decoded instructions without a jump inside. */
export interface Block {
	/** Offset of its head record, which tells it from all others while it is not stale. */
	readonly record: number;
	/** Physical address of its first byte. */
	readonly phys: number;
	readonly modeKey: number;
	isStale: boolean;
	/** Translated code that starts here: more than one where the pages around it are mapped in more than one way. */
	readonly regions: BlockRegion[];
}

/** Told when code is thrown away, so that translations of it go too. */
export interface BlockListener {
	blockInvalidated(block: Block): void;
	/** Bytes within a page are about to change. Returns whether anything was made from them. */
	bytesChange(physAddr: number, bytes: number): boolean;
	allInvalidated(): void;
}

/** Runs of a block before it counts as hot, by who runs it; 0: never. */
export interface HotThresholds {
	readonly supervisor: number;
	readonly user: number;
}

/** Ways of mapping that a block is translated for. */
const MAX_VARIANTS = 4;

/**
 * Decoded code by physical address and mode, shared by the CPUs of a worker. Linear addresses come in only through each CPU's
 * jump cache. Generated code finds and decodes most of it for itself (core/find-code.ts); this does the rest, and forgets.
 */
export class BlockCache {
	readonly #memory: GuestMemory;
	readonly #handlers: HandlerFactory;
	readonly #blocks: BlockStore;
	readonly #decoder: BlockDecoder;
	/** Blocks that have become hot, by head record. */
	readonly #known = new Map<number, Block>();
	readonly #index: CodeIndex;
	readonly #regionPages: RegionPages;
	/** One flag per physical page: code from it has been decoded. Pages beyond the array are looked up. */
	readonly #isCode: Uint8Array;
	/** How many translations depend on a physical page. */
	readonly #pins = new Map<number, number>();
	readonly #records: RecordArena;
	/** Blocks of code that is in no memory: nothing finds them again. */
	readonly #loose = new Set<number>();
	readonly #overwritten = new OverwrittenPages();
	readonly #mmus: Mmu[] = [];
	readonly #jumps: JumpCache[] = [];
	#thresholds: HotThresholds = { supervisor: NEVER_HOT, user: NEVER_HOT };
	/** Runs of a block before it is looked for among what is kept; 0: that is not done. Blocks that it has been done for. */
	#firstLook = 0;
	readonly #lookedFor = new Set<number>();
	readonly #keptPlaces: KeptPlaces;
	listener: BlockListener | undefined;
	invalidatedCount = 0;

	constructor(memory: GuestMemory, handlers: HandlerFactory) {
		this.#memory = memory;
		this.#handlers = handlers;
		this.#blocks = new BlockStore(memory);
		this.#decoder = new BlockDecoder(memory, handlers);
		this.#index = new CodeIndex(memory, this.#blocks);
		this.#regionPages = new RegionPages(memory);
		this.#records = new RecordArena(
			memory,
			(block) => this.#stays(block),
			() => {
				for (const jumps of this.#jumps) jumps.flush();
			},
		);
		this.#keptPlaces = new KeptPlaces(memory);
		this.#isCode = memory.bytes.subarray(CODE_FLAGS, CODE_FLAGS + CODE_FLAG_PAGES);
		memory.onDmaWrite = (addr, count) => this.#deviceWrote(addr, count);
		this.#setWord("leadOn", handlers.end);
		this.setThresholds({ supervisor: 0, user: 0 });
	}

	attach(mmu: Mmu, jumps: JumpCache): void {
		this.#mmus.push(mmu);
		this.#jumps.push(jumps);
	}

	#setWord(field: DecoderWord, value: number): void {
		this.#memory.view.setInt32(DECODER + DECODER_FIELD[field], value, true);
	}

	#word(field: DecoderWord): number {
		return this.#memory.view.getInt32(DECODER + DECODER_FIELD[field], true);
	}

	setThresholds({ supervisor, user }: HotThresholds): void {
		this.#thresholds = { supervisor: supervisor === 0 ? NEVER_HOT : supervisor, user: user === 0 ? NEVER_HOT : user };
		this.#setWord("heat", this.hotAfter(0));
		this.#setWord("userHeat", this.hotAfter(MODE.user));
	}

	/**
	 * Blocks that begin at such places are hot for a first time after fewer runs than the thresholds say, to be looked for among what is kept.
	 * Before anything is decoded.
	 */
	expectKept(firstLook: number, places: Iterable<KeptPlace>): void {
		if (Math.min(this.hotAfter(0), this.hotAfter(MODE.user)) <= firstLook) return;
		this.#firstLook = firstLook;
		this.#setWord("firstLook", firstLook);
		for (const place of places) this.#keptPlaces.mark(place);
	}

	/** The block has not been looked for among what is kept, and may be there. */
	#isToBeLookedFor(record: number): boolean {
		return !this.#lookedFor.has(record) && this.#keptPlaces.mayHave(this.#blocks.physOf(record), this.#blocks.modeKeyOf(record));
	}

	/** Runs of a block in this mode before it counts as hot, which is never if blocks are not to be translated. */
	hotAfter(modeKey: number): number {
		return (modeKey & MODE.user) === 0 ? this.#thresholds.supervisor : this.#thresholds.user;
	}

	/** Whether a block is hot because it is to be looked for; that is done once. */
	takeFirstLook(record: number): boolean {
		if (!this.#isToBeLookedFor(record)) return false;
		this.#lookedFor.add(record);
		return true;
	}

	/** It was not to be had just now: it is to be looked for among what is kept once more. */
	lookAgain({ record }: Block): void {
		this.#lookedFor.delete(record);
		this.#blocks.setHeat(record, this.#firstLook);
	}

	/** There is nothing kept for the block: it is to become hot in the ordinary way. */
	leaveCold(record: number): void {
		this.#blocks.setHeat(record, this.hotAfter(this.#blocks.modeKeyOf(record)) - this.#firstLook);
	}

	/** Where the block's code stands, and in which mode it is. */
	placeOf(record: number): { readonly phys: number; readonly modeKey: number } {
		return { phys: this.#blocks.physOf(record), modeKey: this.#blocks.modeKeyOf(record) };
	}

	/** Decoded instructions, for --stats. */
	get decodedCount(): number {
		return this.#word("count") >>> 0;
	}

	/** What has been learnt of decoding. */
	get patterns(): Patterns {
		return this.#decoder.patterns;
	}

	hasCode(physPage: number): boolean {
		if (physPage < this.#isCode.length) return this.#isCode[physPage] === 1;
		return this.#blocks.isOnPage(physPage) || this.#pins.has(physPage);
	}

	/**
	 * The block at a CPU's rip, by its head record, decoded if need be, and put into its jump cache if that is given. 0: the fetch faults
	 * (recorded in the state).
	 */
	find(state: CpuState, mmu: Mmu, jumps?: JumpCache): number {
		const modeKey = state.get("modeKey");
		const i32 = state.i32;
		const ripLow = i32[at("rip") >> 2] as number;
		const ripHigh = i32[(at("rip") >> 2) + 1] as number;
		let lo = ripLow;
		let hi = ripHigh;
		// Bytes up to the end of the code segment: an instruction that crosses it faults.
		let room = Number.POSITIVE_INFINITY;
		if ((modeKey & MODE.codeMask) !== MODE.code64) {
			room = (state.get("segLimit", 1) >>> 0) - (ripLow >>> 0) + 1;
			if (room <= 0) {
				raiseLimit(state);
				return 0;
			}
			lo = (ripLow + (i32[at("segBase", 1) >> 2] as number)) | 0;
			hi = 0;
		}
		const phys = mmu.translateCode(lo, hi);
		if (phys < 0) return 0;
		const blocks = this.#blocks;
		let block = blocks.lookup(phys, modeKey);
		if (block !== 0 && blocks.tailPageOf(block) >= 0) {
			const tail = mmu.translateCode((lo + PAGE_BYTES) & -PAGE_BYTES, nextHigh(lo, hi));
			if (tail < 0) return 0;
			if (Math.floor(tail / PAGE_BYTES) !== blocks.tailPageOf(block)) {
				this.#discard(block);
				block = 0;
			}
		}
		if (block !== 0 && blocks.lengthOf(block) > room) {
			this.#discard(block);
			block = 0;
		}
		if (block === 0) {
			block = this.#decode(state, mmu, lo, hi, phys, modeKey, room);
			if (block === 0) return 0;
		}
		if (jumps === undefined) return block;
		const known = this.#known.get(block);
		const region = known?.regions.find((each) => this.#fits(each, mmu, lo, hi));
		if (region === undefined) {
			if (known !== undefined && known.regions.length > 0) this.#warm(known);
			jumps.enter(block);
		} else jumps.enter(region.slot);
		this.#index.enter(block);
		return block;
	}

	/** The pages that a region took code from are mapped as they were then. */
	#fits({ otherPages }: BlockRegion, mmu: Mmu, lo: number, hi: number): boolean {
		return otherPages.every(({ pageIndex, phys }) => mmu.probeCodePage(lo, hi, pageIndex) === phys);
	}

	/** None of the block's translations goes with the present mapping: it may become hot once more. */
	#warm(block: Block): void {
		const isHot = this.#blocks.heatOf(block.record) > this.hotAfter(block.modeKey);
		if (isHot && block.regions.length < MAX_VARIANTS) this.rewarm(block);
	}

	/** A block is hot: whoever translates it knows it by this, and it does not become hot again until `rewarm`. */
	heated(record: number): Block {
		this.#blocks.setHeat(record, NEVER_HOT);
		let block = this.#known.get(record);
		if (block === undefined) {
			block = { record, ...this.placeOf(record), isStale: false, regions: [] };
			this.#known.set(record, block);
		}
		return block;
	}

	/** The block is to become hot once more, after this part of the runs that it takes the first time. */
	rewarm({ record, modeKey }: Block, part = 1): void {
		this.#blocks.setHeat(record, Math.ceil(this.hotAfter(modeKey) * part));
	}

	/** How often the block at a physical address has been interpreted; as often as you like once it is hot, 0 if there is none. */
	runsAt(phys: number, modeKey: number): number {
		const block = this.#blocks.lookup(phys, modeKey);
		if (block === 0) return 0;
		const heat = this.#blocks.heatOf(block);
		const isTranslated = (this.#known.get(block)?.regions.length ?? 0) > 0;
		const runs = this.#isToBeLookedFor(block) ? this.#firstLook : this.hotAfter(modeKey);
		return heat > runs || isTranslated ? Number.POSITIVE_INFINITY : runs - heat;
	}

	/** The block decoded at a physical address, if it has ever been hot. */
	at(phys: number, modeKey: number): Block | undefined {
		return this.#known.get(this.#blocks.lookup(phys, modeKey));
	}

	/** Translations of the block have come or gone. */
	regionsChanged({ record, regions, isStale }: Block): void {
		if (!isStale) this.#regionPages.describe(record, regions[0]);
	}

	/** @param room bytes from here to the end of the code segment, or more */
	#decode(state: CpuState, mmu: Mmu, lo: number, hi: number, phys: number, modeKey: number, room: number): number {
		const head = this.#reserve();
		const decoded = this.#decoder.decode(head, state, mmu, lo, hi, phys, modeKey, room);
		if (decoded === undefined) return 0;
		const { count, lengthBytes, tailPage, isInMemory } = decoded;
		this.#setWord("count", this.#word("count") + count);
		const heat =
			(modeKey & MODE.step) !== 0 ? NEVER_HOT : this.#keptPlaces.mayHave(phys, modeKey) ? this.#firstLook : this.hotAfter(modeKey);
		this.#blocks.describe(head, phys, modeKey, count, lengthBytes, heat, tailPage);
		this.#records.take(count);
		if (!isInMemory) {
			this.#loose.add(head);
			return head;
		}
		this.#blocks.add(head);
		this.#watch(Math.floor(phys / PAGE_BYTES));
		if (tailPage >= 0) this.#watch(tailPage);
		return head;
	}

	/** Room for the longest block. */
	#reserve(): number {
		const found = this.#records.reserve();
		if (found !== undefined) return found;
		this.flush();
		return this.#reserve();
	}

	/** Asked when room is made: blocks that were translated stay, since that is where time goes; others are no more. */
	#stays(block: number): boolean {
		if (this.#blocks.isStale(block)) return false;
		if (this.#loose.delete(block)) {
			this.#lookedFor.delete(block);
			return false;
		}
		if ((this.#known.get(block)?.regions.length ?? 0) > 0) return true;
		this.#discard(block);
		return false;
	}

	#watch(physPage: number): void {
		if (physPage < this.#isCode.length) {
			if (this.#isCode[physPage] === 1) return;
			this.#isCode[physPage] = 1;
		}
		for (const mmu of this.#mmus) mmu.dropWriteTags(physPage);
	}

	#unwatch(physPage: number): void {
		if (this.#blocks.isOnPage(physPage) || this.#pins.has(physPage)) return;
		if (physPage < this.#isCode.length) this.#isCode[physPage] = 0;
	}

	/** Translated code depends on the page: writes to it are watched until `unpin`. */
	pin(physPage: number): void {
		this.#pins.set(physPage, (this.#pins.get(physPage) ?? 0) + 1);
		this.#watch(physPage);
	}

	unpin(physPage: number): void {
		const left = (this.#pins.get(physPage) ?? 1) - 1;
		if (left > 0) this.#pins.set(physPage, left);
		else this.#pins.delete(physPage);
		this.#unwatch(physPage);
	}

	/** Bytes within a page change: whatever was made from them is thrown away. Returns whether a translation was. */
	invalidate(physAddr: number, bytes: number): boolean {
		const page = Math.floor(physAddr / PAGE_BYTES);
		return this.#overwritten.isOverwritten(page) ? this.#forget(page * PAGE_BYTES, PAGE_BYTES) : this.#forget(physAddr, bytes);
	}

	#forget(physAddr: number, bytes: number): boolean {
		for (const block of this.#blocks.within(physAddr, physAddr + bytes)) this.#discard(block);
		return this.listener?.bytesChange(physAddr, bytes) ?? false;
	}

	#discard(block: number): void {
		this.invalidatedCount++;
		const blocks = this.#blocks;
		this.#index.drop(block);
		this.#lookedFor.delete(block);
		blocks.remove(block);
		blocks.markStale(block);
		// Whoever runs in it, or comes to it through a jump cache, finds this at the next record.
		const view = this.#memory.view;
		const count = blocks.countOf(block);
		for (let i = 1; i <= count; i++) view.setInt32(block + i * RECORD_BYTES + REC.callee, this.#handlers.stale, true);
		const known = this.#known.get(block);
		if (known !== undefined) {
			known.isStale = true;
			this.#known.delete(block);
			this.listener?.blockInvalidated(known);
		}
		this.#unwatch(Math.floor(blocks.physOf(block) / PAGE_BYTES));
		const tailPage = blocks.tailPageOf(block);
		if (tailPage >= 0) this.#unwatch(tailPage);
	}

	#deviceWrote(addr: number, count: number): void {
		for (let page = Math.floor(addr / PAGE_BYTES); page * PAGE_BYTES < addr + count; page++) {
			if (!this.hasCode(page)) continue;
			const first = Math.max(addr, page * PAGE_BYTES);
			this.#forget(first, Math.min(addr + count, (page + 1) * PAGE_BYTES) - first);
		}
	}

	/** Forgets all decoded code. Not while a block runs. */
	flush(): void {
		for (const known of this.#known.values()) known.isStale = true;
		this.#known.clear();
		this.#blocks.clear();
		this.#pins.clear();
		this.#isCode.fill(0);
		this.#index.clear();
		this.#records.clear();
		this.#loose.clear();
		this.#lookedFor.clear();
		this.#overwritten.clear();
		this.listener?.allInvalidated();
		for (const mmu of this.#mmus) mmu.flush(false);
	}
}
