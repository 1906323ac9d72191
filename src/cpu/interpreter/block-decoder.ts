import { PAGE_BYTES } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { decode } from "../../x86/decode/decode.ts";
import type { CodeBits, DecodeResult } from "../../x86/decode/insn.ts";
import type { Mmu } from "../mmu/mmu.ts";
import type { CpuState } from "../state/cpu-state.ts";
import { codeBitsOf, MODE } from "../state/layout.ts";
import type { HandlerFactory } from "./handlers.ts";
import { Patterns } from "./patterns.ts";
import { DELTA_BITS, MAX_BLOCK_INSNS, REC, RECORD_BYTES, writeRecord } from "./record.ts";

const TWO_PAGES = new Uint8Array(32);

/** What decoding a block has come to. */
export interface DecodedBlock {
	readonly count: number;
	readonly lengthBytes: number;
	/** Number of the physical page on which its only instruction ends, if that is another, else -1. */
	readonly tailPage: number;
	/** It lies in RAM or ROM, where changes can be watched. */
	readonly isInMemory: boolean;
}

/** Decodes blocks by the decoder that knows everything, and teaches what that comes to (core/decode-block.ts does the rest). */
export class BlockDecoder {
	readonly #memory: GuestMemory;
	readonly #handlers: HandlerFactory;
	readonly patterns: Patterns;

	constructor(memory: GuestMemory, handlers: HandlerFactory) {
		this.#memory = memory;
		this.#handlers = handlers;
		this.patterns = new Patterns(memory);
	}

	/**
	 * Writes the records of the block at hi:lo, which lies at `phys`, behind its head; of the head the callee alone. undefined: the fetch faults.
	 * @param room bytes from here to the end of the code segment, or more
	 */
	decode(
		head: number,
		state: CpuState,
		mmu: Mmu,
		lo: number,
		hi: number,
		phys: number,
		modeKey: number,
		room: number,
	): DecodedBlock | undefined {
		const codeBits = codeBitsOf(modeKey);
		const within = phys % PAGE_BYTES;
		const page = this.#memory.pageAt(phys);
		const view = this.#memory.view;
		let next = head + RECORD_BYTES;
		let delta = 0;
		let count = 0;
		let tailPage = -1;
		const max = (modeKey & MODE.step) !== 0 ? 1 : MAX_BLOCK_INSNS;
		const write = (callee: number): void => {
			view.setInt32(next + REC.callee, callee, true);
			view.setUint16(next + REC.delta, delta | (count << DELTA_BITS), true);
			next += RECORD_BYTES;
		};
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
				tailPage = Math.floor(tail / PAGE_BYTES);
				decoded = this.#decodeAcross(phys, tail, codeBits, room);
				if (decoded.fault === "need-more-bytes") return raiseLimit(state);
			}
			if (decoded.fault !== undefined) {
				if (count > 0) break;
				write(decoded.fault === "ud" ? this.#handlers.undefinedOpcode : this.#handlers.tooLong);
				count = 1;
				delta = 1;
				break;
			}
			writeRecord(view, next, this.#handlers.slotFor(decoded, modeKey), decoded, delta, count);
			if (page.kind === "ram" && tailPage < 0)
				this.patterns.learn(this.#memory.bytes, page.hostOffset + within + delta, decoded, modeKey, next);
			next += RECORD_BYTES;
			delta += decoded.lengthBytes;
			count++;
			if (decoded.row.flow !== "none" || tailPage >= 0 || within + delta >= PAGE_BYTES) break;
		}
		this.#handlers.flush();
		view.setBigInt64(next + REC.imm, codeBits === 64 ? -1n : 0xffff_ffffn, true);
		write(this.#handlers.end);
		return { count, lengthBytes: delta, tailPage, isInMemory: page.kind === "ram" || page.kind === "rom" };
	}

	#decodeAcross(phys: number, tail: number, codeBits: CodeBits, room: number): DecodeResult {
		const head = PAGE_BYTES - (phys % PAGE_BYTES);
		for (let i = 0; i < 16; i++) {
			const addr = i < head ? phys + i : tail + (i - head);
			TWO_PAGES[i] = this.#memory.readPhys(addr, 1);
		}
		return decode(TWO_PAGES, 0, Math.min(16, room), codeBits);
	}
}

/** The fetch goes beyond the code segment: #GP(0). */
export function raiseLimit(state: CpuState): undefined {
	state.set("faultVector", 13);
	state.set("faultErrorCode", 0);
	return undefined;
}

/** High half of the linear address a page behind hi:lo. */
export function nextHigh(lo: number, hi: number): number {
	return lo >>> 0 >= 0xffff_f000 ? hi + 1 : hi;
}
