import type { GuestMemory } from "../../machine/memory.ts";
import type { Insn } from "../../x86/decode/insn.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { MODE } from "../state/layout.ts";
import { DECODER, DECODER_FIELD, PATTERNS, PATTERNS_BYTES } from "./decoded-area.ts";
import { isFarAddress, memoryOperand, REC, RECORD_BYTES } from "./record.ts";

/** A node: for each value of a byte, a word. Other words are offsets: of the next byte's node, or negative, of a pattern. */
const NODE_BYTES = 1024;
const UNKNOWN = 0;
/** To be decoded in TypeScript every time. */
export const NEVER = 1;

/** A pattern: the record as it is but for offsets and variable fields, and what these are. */
export const PATTERN = {
	record: 0,
	/** u8 each. */
	lengthBytes: RECORD_BYTES,
	/** The displacement's bytes: 0, 1 or 4. */
	dispBytes: RECORD_BYTES + 1,
	/** How the immediate's bytes read: IMMEDIATE. */
	immediate: RECORD_BYTES + 2,
	/** PATTERN_FLAG bits. */
	flags: RECORD_BYTES + 3,
} as const;
const PATTERN_BYTES = RECORD_BYTES + 16;

export const IMMEDIATE = { none: 0, signed8: 1, unsigned8: 2, signed16: 3, unsigned16: 4, signed32: 5, all64: 6 } as const;
export const PATTERN_FLAG = {
	/** The block ends with it. */
	ends: 1,
	/** The displacement counts from the next instruction, as the immediate does in a relative branch. */
	ripRelative: 2,
	relative: 4,
} as const;

/** Number of a tree of patterns: what of a mode the same bytes may have other handlers for. */
export const patternMode = (modeKey: number): number => modeKey & PATTERN_MODES;
const PATTERN_MODES = MODE.codeMask | MODE.stack32 | MODE.flat;
const ROOTS = DECODER + DECODER_FIELD.roots;
/** Beyond this, the longest of instructions may not find room. */
const ROOM_FOR_ONE = PATTERNS + PATTERNS_BYTES - 16 * NODE_BYTES;

/**
 * What has been learnt of decoding: trees over an instruction's bytes up to its displacement and immediate, whose leaves are its record.
 * The decoder decodes each kind of instruction once; generated code (core/decode-block.ts) does the others by what that came to.
 */
export class Patterns {
	readonly #i32: Int32Array;
	readonly #bytes: Uint8Array;
	readonly #view: DataView;
	#next = PATTERNS;
	/** Some of it another one learnt. */
	#isLoaded = false;

	constructor({ bytes, view, engineWords }: GuestMemory) {
		this.#i32 = engineWords;
		this.#bytes = bytes;
		this.#view = view;
	}

	/** Bytes that trees and patterns take. */
	get usedBytes(): number {
		return this.#next - PATTERNS;
	}

	/**
	 * All that has been learnt, for `load`; a pattern names its handler by its slot. Most of it is zeros: words are written by runs, each behind how many
	 * zeros are skipped and how many words follow.
	 */
	save(): Uint8Array {
		const from = ROOTS >> 2;
		const end = this.#next >> 2;
		const words: number[] = [this.#next];
		for (let word = from; word < end; ) {
			const skipped = word;
			while (word < end && this.#i32[word] === 0) word++;
			const first = word;
			while (word < end && this.#i32[word] !== 0) word++;
			words.push(first - skipped, word - first, ...this.#i32.subarray(first, word));
		}
		return new Uint8Array(Int32Array.from(words).buffer);
	}

	/** Knows what another one knew, who itself has learnt nothing yet. */
	load(saved: Uint8Array): void {
		const words = new Int32Array(new Uint8Array(saved).buffer);
		this.#next = words[0] as number;
		this.#isLoaded = true;
		let to = ROOTS >> 2;
		for (let at = 1; at < words.length; ) {
			to += words[at] as number;
			const count = words[at + 1] as number;
			this.#i32.set(words.subarray(at + 2, at + 2 + count), to);
			to += count;
			at += 2 + count;
		}
	}

	/** What other guests needed has left this one too little room: what it needs itself is soon learnt once more. */
	#beginAnew(): void {
		this.#i32.fill(UNKNOWN, ROOTS >> 2, this.#next >> 2);
		this.#next = PATTERNS;
		this.#isLoaded = false;
	}

	/** Learns from an instruction whose bytes are at `at` of `code`, and for which `record` has been written. */
	learn(code: Uint8Array, at: number, insn: Insn, modeKey: number, record: number): void {
		if (this.#isLoaded && this.#next > ROOM_FOR_ONE) this.#beginAnew();
		const { lengthBytes, dispBytes, immBytes } = insn;
		const mem = memoryOperand(insn);
		if (mem !== undefined && isFarAddress(mem)) return;
		const specialise = meaningOf(insn)?.specialise;
		// Its handler is made for the value of its immediate, which then tells instructions apart.
		const isOwn = specialise === "imm" || specialise === "all";
		const isPlain = (dispBytes === 0 || dispBytes === 1 || dispBytes === 4) && specialise !== undefined;
		const immediate = isOwn ? IMMEDIATE.none : immediateOf(insn);
		const isNever = !isPlain || immediate === undefined || (isOwn && (dispBytes > 0 || immBytes > 1));
		const telling = lengthBytes - dispBytes - immBytes + (isOwn && !isNever ? immBytes : 0);
		const entry = this.#entry(code, at, telling, modeKey);
		if (entry === undefined || this.#i32[entry] !== UNKNOWN) return;
		if (isNever) {
			this.#i32[entry] = NEVER;
			return;
		}
		const pattern = this.#allocate(PATTERN_BYTES);
		if (pattern === undefined) return;
		const view = this.#view;
		this.#bytes.copyWithin(pattern, record, record + RECORD_BYTES);
		view.setInt32(pattern + REC.delta, 0, true);
		if (dispBytes > 0) view.setInt32(pattern + REC.disp, 0, true);
		if (immediate !== IMMEDIATE.none) view.setBigInt64(pattern + REC.imm, 0n, true);
		this.#bytes[pattern + PATTERN.lengthBytes] = lengthBytes;
		this.#bytes[pattern + PATTERN.dispBytes] = dispBytes;
		this.#bytes[pattern + PATTERN.immediate] = immediate;
		const { flow } = insn.row;
		const isRelative = insn.operands.some(({ kind }) => kind === "rel");
		this.#bytes[pattern + PATTERN.flags] =
			(flow === "none" ? 0 : PATTERN_FLAG.ends) |
			(mem?.ripRelative === true ? PATTERN_FLAG.ripRelative : 0) |
			(isRelative ? PATTERN_FLAG.relative : 0);
		this.#i32[entry] = -pattern;
	}

	/** Word number of the entry that so many bytes lead to; nodes on the way are made. undefined: no room, or a shorter pattern is there. */
	#entry(code: Uint8Array, at: number, count: number, modeKey: number): number | undefined {
		const i32 = this.#i32;
		let entry = (ROOTS >> 2) + patternMode(modeKey);
		for (let n = 0; n < count; n++) {
			if (i32[entry] === UNKNOWN) {
				const node = this.#allocate(NODE_BYTES);
				if (node === undefined) return undefined;
				i32[entry] = node;
			}
			const node = i32[entry] as number;
			if (node <= NEVER) return undefined;
			entry = (node >> 2) + (code[at + n] as number);
		}
		return entry;
	}

	#allocate(bytes: number): number | undefined {
		const offset = this.#next;
		if (offset + bytes > PATTERNS + PATTERNS_BYTES) return undefined;
		this.#next += bytes;
		return offset;
	}
}

/** How the immediate of an instruction reads, or the distance of a relative branch; undefined: in a way that patterns do not know. */
function immediateOf({ operands, immBytes, row }: Insn): number | undefined {
	if (immBytes === 0) return IMMEDIATE.none;
	const places = operands.map(({ kind }, n) => (kind === "imm" || kind === "imm64" || kind === "rel" ? n : -1)).filter((n) => n >= 0);
	const [place] = places;
	if (place === undefined || places.length > 1) return undefined;
	const isUnsigned = row.operands[place] === "Ib" || row.operands[place] === "Iw";
	switch (immBytes) {
		case 1:
			return isUnsigned ? IMMEDIATE.unsigned8 : IMMEDIATE.signed8;
		case 2:
			return isUnsigned ? IMMEDIATE.unsigned16 : IMMEDIATE.signed16;
		case 4:
			return IMMEDIATE.signed32;
		default:
			return immBytes === 8 ? IMMEDIATE.all64 : undefined;
	}
}
