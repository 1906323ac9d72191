import { PAGE_BYTES } from "../../base/units.ts";
import { CODE_FLAG_PAGES, CODE_FLAGS, CODE_INDEX, CODE_INDEX_BYTES, type GuestMemory } from "../../machine/memory.ts";
import { decode } from "../../x86/decode/decode.ts";
import type { CodeBits, DecodeResult, Insn } from "../../x86/decode/insn.ts";
import type { Mmu } from "../mmu/mmu.ts";
import type { CpuState } from "../state/cpu-state.ts";
import { at, MODE } from "../state/layout.ts";
import { CodeIndex } from "./code-index.ts";
import type { HandlerFactory } from "./handlers.ts";
import type { JumpCache } from "./jump-cache.ts";
import { REC, RECORD_BYTES, writeRecord } from "./record.ts";
import { RecordArena } from "./record-arena.ts";

/** Where decoded records live in the engine's area, behind the CPUs' blocks. */
export const RECORDS_FIRST = CODE_INDEX + CODE_INDEX_BYTES;
export const RECORDS_END = 64 * 1024 * 1024;

/** Longest run of instructions decoded as one block: a slice may end only between blocks. */
const MAX_BLOCK_INSNS = 32;
const CODE_BITS: readonly CodeBits[] = [16, 32, 64, 64];

/** A run of instructions without a jump inside, decoded. */
export interface Block {
	/** Physical address of its first byte, and bytes in all. */
	readonly phys: number;
	readonly lengthBytes: number;
	/** Physical page address of its tail when its (only) instruction crosses a page, else -1. */
	readonly tailPage: number;
	readonly modeKey: number;
	/** Offset of its head record. */
	readonly record: number;
	readonly count: number;
	isStale: boolean;
	/** Translated code that starts here: more than one where the pages around it are mapped in more than one way. */
	readonly regions: BlockRegion[];
}

/** Translated code as its block knows it. */
export interface BlockRegion {
	readonly slot: number;
	/** Pages besides the block's own that it took code from; it may run where they are mapped as they were then. */
	readonly otherPages: readonly OtherPage[];
}

export interface OtherPage {
	/** Of the linear page, counted from the block's. */
	readonly pageIndex: number;
	readonly phys: number;
}

/** Told when code is thrown away, so that translations of it go too. */
export interface BlockListener {
	blockInvalidated(block: Block): void;
	/** Bytes within a page are about to change. Returns whether anything was made from them. */
	bytesChange(physAddr: number, bytes: number): boolean;
	allInvalidated(): void;
}

/** Ways of mapping that a block is translated for. */
const MAX_VARIANTS = 4;

const TWO_PAGES = new Uint8Array(32);

/**
 * Decoded code by physical address and mode, shared by the CPUs of a worker. Linear addresses come in only through each CPU's
 * jump cache, which is a cache of `find`.
 */
export class BlockCache {
	readonly #memory: GuestMemory;
	readonly #handlers: HandlerFactory;
	readonly #blocks = new Map<number, Block>();
	readonly #byPage = new Map<number, Block[]>();
	readonly #index: CodeIndex;
	/** One flag per physical page: code from it has been decoded. Pages beyond the array are looked up. */
	readonly #isCode: Uint8Array;
	/** How many translations depend on a physical page. */
	readonly #pins = new Map<number, number>();
	readonly #records = new RecordArena(RECORDS_FIRST, RECORDS_END, (blocks) => this.#evict(blocks));
	readonly #mmus: Mmu[] = [];
	listener: BlockListener | undefined;
	/** Runs of a block before it counts as hot; 0: never. */
	hotThreshold = 0;
	/** Decoded instructions, for --stats. */
	decodedCount = 0;
	invalidatedCount = 0;

	constructor(memory: GuestMemory, handlers: HandlerFactory) {
		this.#memory = memory;
		this.#handlers = handlers;
		this.#index = new CodeIndex(memory);
		this.#isCode = memory.bytes.subarray(CODE_FLAGS, CODE_FLAGS + CODE_FLAG_PAGES);
		memory.onDmaWrite = (addr, count) => this.#deviceWrote(addr, count);
	}

	attach(mmu: Mmu): void {
		this.#mmus.push(mmu);
	}

	get blockCount(): number {
		return this.#blocks.size;
	}

	hasCode(physPage: number): boolean {
		return physPage < this.#isCode.length ? this.#isCode[physPage] === 1 : this.#byPage.has(physPage) || this.#pins.has(physPage);
	}

	/**
	 * The block at a CPU's rip, decoded if need be, and put into its jump cache if that is given. undefined: the fetch faults (recorded in the
	 * state).
	 */
	find(state: CpuState, mmu: Mmu, jumps?: JumpCache): Block | undefined {
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
			if (room <= 0) return raiseLimit(state);
			lo = (ripLow + (i32[at("segBase", 1) >> 2] as number)) | 0;
			hi = 0;
		}
		const phys = mmu.translateCode(lo, hi);
		if (phys < 0) return undefined;
		const key = phys * 64 + modeKey;
		let block = this.#blocks.get(key);
		if (block !== undefined && block.tailPage >= 0) {
			const tail = mmu.translateCode((lo + PAGE_BYTES) & -PAGE_BYTES, nextHigh(lo, hi));
			if (tail < 0) return undefined;
			if (tail !== block.tailPage) {
				this.#discard(block);
				block = undefined;
			}
		}
		if (block !== undefined && block.lengthBytes > room) {
			this.#discard(block);
			block = undefined;
		}
		if (block === undefined) {
			block = this.#decode(state, mmu, lo, hi, phys, modeKey, room);
			if (block === undefined) return undefined;
		}
		if (jumps === undefined) return block;
		const region = block.regions.find((each) => this.#fits(each, mmu, lo, hi));
		if (region === undefined) {
			if (block.regions.length > 0) this.#warm(block);
			jumps.enter(this.#handlers.head, block.record);
		} else jumps.enter(region.slot, block.record);
		this.#index.enter(block);
		return block;
	}

	/** The pages that a region took code from are mapped as they were then. */
	#fits({ otherPages }: BlockRegion, mmu: Mmu, lo: number, hi: number): boolean {
		return otherPages.every(({ pageIndex, phys }) => mmu.probeCodePage(lo, hi, pageIndex) === phys);
	}

	/** None of the block's translations goes with the present mapping: it may become hot once more. */
	#warm(block: Block): void {
		const heat = this.#memory.view.getInt32(block.record + REC.heat, true);
		if (heat > this.hotThreshold && block.regions.length < MAX_VARIANTS)
			this.#memory.view.setInt32(block.record + REC.heat, this.hotThreshold, true);
	}

	/** How often the block has been interpreted; as often as you like once it is hot. */
	runsOf(block: Block): number {
		const heat = this.#memory.view.getInt32(block.record + REC.heat, true);
		return heat > this.hotThreshold || block.regions.length > 0 ? Number.POSITIVE_INFINITY : this.hotThreshold - heat;
	}

	/** Translations of the block have come or gone. */
	regionsChanged(block: Block): void {
		this.#index.describe(block);
	}

	/** The block decoded at a physical address, if it is there. */
	at(phys: number, modeKey: number): Block | undefined {
		return this.#blocks.get(phys * 64 + modeKey);
	}

	/** @param room bytes from here to the end of the code segment, or more */
	#decode(state: CpuState, mmu: Mmu, lo: number, hi: number, phys: number, modeKey: number, room: number): Block | undefined {
		const codeBits = CODE_BITS[modeKey & MODE.codeMask] as CodeBits;
		const within = phys % PAGE_BYTES;
		const page = this.#memory.pageAt(phys);
		const view = this.#memory.view;
		const record = this.#reserve();
		let next = record + RECORD_BYTES;
		let delta = 0;
		let count = 0;
		let tailPage = -1;
		const max = (modeKey & MODE.step) !== 0 ? 1 : MAX_BLOCK_INSNS;
		while (count < max && delta < room) {
			let decoded: DecodeResult;
			const limit = Math.min(PAGE_BYTES - within - delta, room - delta);
			if (page.kind === "ram" || page.kind === "rom")
				decoded = decode(this.#memory.bytes, page.hostOffset + within + delta, limit, codeBits);
			else {
				if (count > 0) break;
				for (let i = 0; i < 16; i++) TWO_PAGES[i] = this.#memory.readPhys(phys + i, 1);
				decoded = decode(TWO_PAGES, 0, Math.min(16, limit), codeBits);
			}
			if (decoded.fault === "need-more-bytes") {
				if (count > 0) break;
				if (limit === room) return raiseLimit(state);
				const tail = mmu.translateCode((lo + PAGE_BYTES) & -PAGE_BYTES, nextHigh(lo, hi));
				if (tail < 0) return undefined;
				tailPage = tail;
				decoded = this.#decodeAcross(phys, tail, codeBits, room);
				if (decoded.fault === "need-more-bytes") return raiseLimit(state);
			}
			if (decoded.fault !== undefined) {
				if (count > 0) break;
				const callee = decoded.fault === "ud" ? this.#handlers.undefinedOpcode : this.#handlers.tooLong;
				view.setInt32(next + REC.callee, callee, true);
				view.setInt32(next + REC.delta, 0, true);
				view.setInt32(next + REC.position, 0, true);
				next += RECORD_BYTES;
				count = 1;
				delta = 1;
				break;
			}
			const insn: Insn = decoded;
			writeRecord(view, next, this.#handlers.slotFor(insn, modeKey), insn, delta, count);
			next += RECORD_BYTES;
			delta += insn.lengthBytes;
			count++;
			if (insn.row.flow !== "none" || tailPage >= 0 || within + delta >= PAGE_BYTES) break;
		}
		this.decodedCount += count;
		this.#handlers.flush();
		view.setInt32(record + REC.callee, this.#handlers.head, true);
		view.setInt32(record + REC.delta, 0, true);
		view.setInt32(record + REC.count, count, true);
		view.setInt32(record + REC.heat, this.hotThreshold === 0 || max === 1 ? 0x7fff_ffff : this.hotThreshold, true);
		view.setInt32(record + REC.region, 0, true);
		view.setInt32(record + REC.position, -1, true);
		view.setInt32(next + REC.callee, this.#handlers.end, true);
		view.setInt32(next + REC.delta, delta, true);
		view.setInt32(next + REC.position, count, true);
		const mask = codeBits === 64 ? -1n : 0xffff_ffffn;
		view.setBigInt64(next + REC.imm, mask, true);
		const block: Block = { phys, lengthBytes: delta, tailPage, modeKey, record, count, isStale: false, regions: [] };
		this.#records.take(block, next + RECORD_BYTES);
		if (page.kind !== "ram" && page.kind !== "rom") return block;
		this.#blocks.set(phys * 64 + modeKey, block);
		this.#enroll(Math.floor(phys / PAGE_BYTES), block);
		if (tailPage >= 0) this.#enroll(Math.floor(tailPage / PAGE_BYTES), block);

		return block;
	}

	/** Room for the longest block. */
	#reserve(): number {
		const found = this.#records.reserve(MAX_BLOCK_INSNS + 2);
		if (found !== undefined) return found;
		this.flush();
		return this.#reserve();
	}

	/** Makes room: blocks that were translated stay, since that is where time goes. */
	#evict(blocks: readonly Block[]): readonly Block[] {
		const kept = blocks.filter(({ isStale, regions }) => !isStale && regions.length > 0);
		for (const block of blocks) if (!block.isStale && block.regions.length === 0) this.#discard(block);
		for (const mmu of this.#mmus) mmu.flush(false);
		return kept;
	}

	#decodeAcross(phys: number, tail: number, codeBits: CodeBits, room: number): DecodeResult {
		const head = PAGE_BYTES - (phys % PAGE_BYTES);
		for (let i = 0; i < 16; i++) {
			const addr = i < head ? phys + i : tail + (i - head);
			TWO_PAGES[i] = this.#memory.readPhys(addr, 1);
		}
		return decode(TWO_PAGES, 0, Math.min(16, room), codeBits);
	}

	#enroll(physPage: number, block: Block): void {
		const blocks = this.#byPage.get(physPage);
		if (blocks !== undefined) {
			blocks.push(block);
			return;
		}
		this.#byPage.set(physPage, [block]);
		this.#watch(physPage);
	}

	#watch(physPage: number): void {
		if (physPage < this.#isCode.length) {
			if (this.#isCode[physPage] === 1) return;
			this.#isCode[physPage] = 1;
		}
		for (const mmu of this.#mmus) mmu.dropWriteTags(physPage);
	}

	#unwatch(physPage: number): void {
		if (this.#byPage.has(physPage) || this.#pins.has(physPage)) return;
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
		this.#invalidateBlocks(physAddr, bytes);
		return this.listener?.bytesChange(physAddr, bytes) ?? false;
	}

	#invalidateBlocks(physAddr: number, bytes: number): void {
		const physPage = Math.floor(physAddr / PAGE_BYTES);
		const blocks = this.#byPage.get(physPage);
		if (blocks === undefined) return;
		const end = physAddr + bytes;
		const hit = blocks.filter((block) => {
			const isTail = block.tailPage >= 0 && Math.floor(block.tailPage / PAGE_BYTES) === physPage;
			const first = isTail ? block.tailPage : block.phys;
			const length = isTail ? block.lengthBytes - (PAGE_BYTES - (block.phys % PAGE_BYTES)) : block.lengthBytes;
			return first < end && physAddr < first + length;
		});
		for (const block of hit) this.#discard(block);
	}

	#discard(block: Block): void {
		this.invalidatedCount++;
		block.isStale = true;
		this.#blocks.delete(block.phys * 64 + block.modeKey);
		this.#index.drop(block);
		this.#leave(Math.floor(block.phys / PAGE_BYTES), block);
		if (block.tailPage >= 0) this.#leave(Math.floor(block.tailPage / PAGE_BYTES), block);
		// Whoever runs in it, or comes to it through a jump cache, finds this at the next record.
		const view = this.#memory.view;
		for (let i = 0; i <= block.count; i++) view.setInt32(block.record + i * RECORD_BYTES + REC.callee, this.#handlers.stale, true);
		this.listener?.blockInvalidated(block);
	}

	#leave(physPage: number, block: Block): void {
		const blocks = this.#byPage.get(physPage);
		if (blocks === undefined) return;
		const left = blocks.filter((other) => other !== block);
		if (left.length > 0) {
			this.#byPage.set(physPage, left);
			return;
		}
		this.#byPage.delete(physPage);
		this.#unwatch(physPage);
	}

	#deviceWrote(addr: number, count: number): void {
		for (let page = Math.floor(addr / PAGE_BYTES); page * PAGE_BYTES < addr + count; page++) {
			if (!this.hasCode(page)) continue;
			const first = Math.max(addr, page * PAGE_BYTES);
			this.invalidate(first, Math.min(addr + count, (page + 1) * PAGE_BYTES) - first);
		}
	}

	/** Forgets all decoded code. Not while a block runs. */
	flush(): void {
		this.#blocks.clear();
		this.#byPage.clear();
		this.#pins.clear();
		this.#isCode.fill(0);
		this.#index.clear();
		this.#records.clear();
		this.listener?.allInvalidated();
		for (const mmu of this.#mmus) mmu.flush(false);
	}
}

/** The fetch goes beyond the code segment: #GP(0). */
function raiseLimit(state: CpuState): undefined {
	state.set("faultVector", 13);
	state.set("faultErrorCode", 0);
	return undefined;
}

function nextHigh(lo: number, hi: number): number {
	return lo >>> 0 >= 0xffff_f000 ? hi + 1 : hi;
}
