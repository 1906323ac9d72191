import { describe, expect, it } from "vitest";
import { ENGINE_BYTES, GuestMemory } from "../../machine/memory.ts";
import { decode } from "../../x86/decode/decode.ts";
import type { CodeBits, Insn } from "../../x86/decode/insn.ts";
import type { KeptCode } from "../kept-code.ts";
import { SoftwareEngine } from "../software-engine.ts";
import { at, MODE } from "../state/layout.ts";
import { BlockStore } from "./block-store.ts";
import { CODE_KEY_MARK, CODE_KEY_SHIFT } from "./code-index.ts";
import { PATTERNS, PATTERNS_BYTES } from "./decoded-area.ts";
import { KeptPlaces } from "./kept-places.ts";
import { Patterns } from "./patterns.ts";
import { HEAD, MAX_BLOCK_INSNS, RECORD_BYTES, writeRecord } from "./record.ts";

const TAUGHT = 0x10_0000;
const NEW = 0x12_0000;
const PAGE = 4096;
/** Where the test writes records for comparison: RAM that nothing else uses. */
const SCRATCH = ENGINE_BYTES + 0x18_0000;
const HLT = 0xf4;

/** An engine whose only CPU fetches code as it lies in memory, and its two ways to decode. */
class Decoding {
	readonly memory = new GuestMemory(2 << 20);
	readonly engine: SoftwareEngine;
	readonly blocks = new BlockStore(this.memory);
	readonly bits: CodeBits;
	readonly modeKey: number;
	readonly #cpu: number;
	readonly #state: { get(): number; i32: Int32Array };

	constructor(bits: 32 | 64, kept?: KeptCode, isUser = false) {
		this.engine = new SoftwareEngine(this.memory, { hotThreshold: 1000, kept });
		this.bits = bits;
		this.modeKey = MODE.flat | MODE.stack32 | (bits === 64 ? MODE.code64 : MODE.code32) | (isUser ? MODE.user : 0);
		this.#cpu = this.engine.blockOf(0);
		this.memory.view.setUint32(this.#cpu + at("lowRamEnd"), this.memory.lowRamBytes, true);
		this.#state = { get: () => this.modeKey, i32: new Int32Array(this.memory.memory.buffer, this.#cpu, 2048) };
		this.engine.blocks.attach({ dropWriteTags: () => {}, flush: () => {} } as never, { flush: () => {}, enter: () => {} } as never);
	}

	put(phys: number, bytes: Uint8Array): void {
		this.memory.bytes.set(bytes, ENGINE_BYTES + phys);
	}

	/** Decodes by TypeScript, unless the block is there. */
	find(phys: number): number {
		this.#state.i32[at("rip") >> 2] = phys;
		const state = { ...this.#state, get: (name: string) => (name === "modeKey" ? this.modeKey : -1), set: () => {} };
		return this.engine.blocks.find(state as never, { translateCode: (lo: number) => lo } as never);
	}

	#key(phys: number): bigint {
		return BigInt(phys) | (BigInt(this.modeKey | CODE_KEY_MARK) << BigInt(CODE_KEY_SHIFT));
	}

	/** Decodes by generated code; 0: it leaves that to TypeScript. */
	decodeBlock(phys: number): number {
		return Number(this.engine.module.coreFunction("decodeBlock")(this.#cpu, BigInt(phys), this.modeKey, this.#key(phys)));
	}

	lookUp(phys: number): number {
		return Number(this.engine.module.coreFunction("lookUpBlock")(BigInt(phys), this.modeKey, this.#key(phys)));
	}

	decode(bytes: Uint8Array): Insn | undefined {
		const decoded = decode(bytes, 0, bytes.length, this.bits);
		return decoded.fault === undefined ? decoded : undefined;
	}

	record(offset: number): Uint8Array {
		return this.memory.bytes.slice(offset, offset + RECORD_BYTES);
	}

	/** What the record of an instruction is to be. */
	expected(insn: Insn, delta: number, position: number): Uint8Array {
		this.memory.bytes.fill(0, SCRATCH, SCRATCH + RECORD_BYTES);
		const callee = this.engine.handlers.slotFor(insn, this.modeKey);
		this.engine.handlers.flush();
		writeRecord(this.memory.view, SCRATCH, callee, insn, delta, position);
		return this.record(SCRATCH);
	}
}

/** Bytes that look random. */
function random(seed: number): () => number {
	let state = seed;
	return () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state >>> 24;
	};
}

describe.each([64, 32] as const)("decoding %i-bit code in WebAssembly", (bits) => {
	it("comes to the same records as the decoder in TypeScript", () => {
		const decoding = new Decoding(bits);
		const dice = random(bits);
		// The first code on a page has to be announced.
		decoding.put(NEW, Uint8Array.of(HLT));
		decoding.find(NEW);
		let decodedThere = 0;
		for (let round = 0; round < 6000; round++) {
			const bytes = Uint8Array.from({ length: 16 }, dice);
			// Half of them with what most instructions begin with.
			if (round % 2 === 0)
				bytes[0] = [0x48, 0x8b, 0x0f, 0x89, 0x66, 0x83, 0xc7, 0x41, 0x4c, 0xe8, 0x74, 0x81, 0xf3, 0x8d][dice() % 14] as number;
			const insn = decoding.decode(bytes);
			if (insn === undefined) continue;
			const place = TAUGHT + (round % 0x100) * PAGE + 64;
			const code = Uint8Array.of(...bytes.subarray(0, insn.lengthBytes), HLT);
			decoding.engine.blocks.invalidate(place, 32);
			decoding.put(place, code);
			decoding.find(place);

			const at = NEW + 16;
			for (let n = insn.lengthBytes - insn.dispBytes - insn.immBytes; n < insn.lengthBytes; n++) code[n] = dice();
			decoding.engine.blocks.invalidate(at, 32);
			decoding.put(at, code);
			const varied = decoding.decode(code);
			const block = decoding.decodeBlock(at);
			if (block === 0 || varied === undefined) continue;
			decodedThere++;
			expect(decoding.record(block + RECORD_BYTES), `${insn.mnemonic} ${[...code].map((byte) => byte.toString(16)).join(" ")}`).toEqual(
				decoding.expected(varied, 0, 0),
			);
			expect(decoding.lookUp(at)).toBe(block);
			expect(decoding.blocks.lengthOf(block)).toBe(varied.lengthBytes + (varied.row.flow === "none" ? 1 : 0));
		}
		expect(decodedThere).toBeGreaterThan(2500);
	});

	it.each([false, true])("has blocks become hot when their mode says so (user: %s)", (isUser) => {
		const decoding = new Decoding(bits, undefined, isUser);
		decoding.engine.blocks.setThresholds({ supervisor: 700, user: 300 });
		const runs = isUser ? 300 : 700;
		decoding.put(NEW, Uint8Array.of(0x90, HLT));
		expect(decoding.blocks.heatOf(decoding.find(NEW))).toBe(runs);
		decoding.put(NEW + 64, Uint8Array.of(0x90, HLT));
		expect(decoding.blocks.heatOf(decoding.decodeBlock(NEW + 64))).toBe(runs);
	});

	it("has blocks become hot sooner that may have been translated by an earlier run", () => {
		const decoding = new Decoding(bits);
		const { blocks } = decoding.engine;
		blocks.setThresholds({ supervisor: 700, user: 300 });
		const { modeKey } = decoding;
		blocks.expectKept(
			16,
			[0x40, 0x80].map((offset) => ({ offset, modeKey, firstByte: 0x90 })),
		);
		for (const offset of [0x40, 0x80, 0xc0]) decoding.put(NEW + offset, Uint8Array.of(0x90, HLT));
		expect(decoding.blocks.heatOf(decoding.find(NEW + 0x40))).toBe(16);
		expect(decoding.blocks.heatOf(decoding.decodeBlock(NEW + 0x80))).toBe(16);
		expect(decoding.blocks.heatOf(decoding.decodeBlock(NEW + 0xc0)), "another place").toBe(700);
		decoding.put(NEW + PAGE + 0x40, Uint8Array.of(HLT));
		expect(decoding.blocks.heatOf(decoding.find(NEW + PAGE + 0x40)), "another first byte").toBe(700);
	});

	it("ends blocks where TypeScript ends them", () => {
		const decoding = new Decoding(bits);
		decoding.put(TAUGHT, Uint8Array.of(0x90, 0x01, 0xc8, 0x83, 0xc0, 0x05, HLT));
		decoding.find(TAUGHT);
		decoding.put(NEW, Uint8Array.of(HLT));
		decoding.find(NEW);
		// Longer than a block may be, then up to the page's end, then beyond it.
		decoding.put(NEW + 64, new Uint8Array(40).fill(0x90));
		expect(decoding.blocks.countOf(decoding.decodeBlock(NEW + 64))).toBe(MAX_BLOCK_INSNS);
		decoding.put(NEW + PAGE - 4, Uint8Array.of(0x90, 0x90, 0x01, 0xc8));
		const last = decoding.decodeBlock(NEW + PAGE - 4);
		expect([decoding.blocks.countOf(last), decoding.blocks.lengthOf(last)]).toEqual([3, 4]);
		decoding.put(NEW + 2048, Uint8Array.of(0x90, 0x0f));
		expect(decoding.decodeBlock(NEW + 2048), "an instruction that has not been met").toBe(0);
		decoding.put(NEW + PAGE - 1, Uint8Array.of(0x83));
		expect(decoding.decodeBlock(NEW + PAGE - 1), "an instruction over two pages").toBe(0);
		expect(decoding.decodeBlock(NEW + 0x4000), "a page without code so far").toBe(0);
	});

	it("forgets a block whose bytes change, and what runs in it finds that out", () => {
		const decoding = new Decoding(bits);
		const { blocks, handlers } = decoding.engine;
		const { view } = decoding.memory;
		decoding.put(TAUGHT, Uint8Array.of(0x90, 0x90, HLT));
		const block = decoding.find(TAUGHT);
		expect(decoding.lookUp(TAUGHT)).toBe(block);
		expect(blocks.hasCode(TAUGHT / PAGE)).toBe(true);
		blocks.invalidate(TAUGHT + 2, 1);
		expect(decoding.lookUp(TAUGHT)).toBe(0);
		expect(blocks.hasCode(TAUGHT / PAGE)).toBe(false);
		expect(view.getInt32(block + HEAD.isStale, true)).toBe(1);
		expect(view.getInt32(block + RECORD_BYTES, true)).toBe(handlers.stale);
	});

	it("forgets all blocks of a page that is stored to again and again", () => {
		const decoding = new Decoding(bits);
		const { blocks } = decoding.engine;
		const page = TAUGHT / PAGE;
		/** Stores that it takes to forget a block that none of them hits. */
		const stores = (): number => {
			decoding.put(TAUGHT, Uint8Array.of(0x90, HLT));
			decoding.find(TAUGHT);
			let count = 0;
			for (; blocks.hasCode(page); count++) blocks.invalidate(TAUGHT + 2048 + count, 1);
			expect(decoding.lookUp(TAUGHT)).toBe(0);
			return count;
		};
		expect([stores(), stores(), stores()]).toEqual([64, 128, 256]);
	});
});

interface Begun {
	readonly decoding: Decoding;
	readonly blocks: readonly number[];
	readonly madeCount: number;
}

it("begins with what was learnt before", () => {
	const files = new Map<string, Uint8Array>();
	const kept: KeptCode = { read: (name) => files.get(name), write: (name, [bytes]) => void files.set(name, bytes as Uint8Array) };
	// ADD, OR, … with an 8-bit immediate, of a register and of memory.
	const code = [0xc0, 0x40].map((modrm) =>
		Uint8Array.from([0, 1, 2, 3, 4, 5, 6, 7].flatMap((digit) => [0x83, modrm | (digit << 3), ...(modrm === 0x40 ? [8] : []), 5])),
	);
	const place = (n: number): number => NEW + 256 * (n + 1);
	const begin = (): Begun => {
		const decoding = new Decoding(64, kept);
		// The first code on a page has to be announced.
		decoding.put(NEW, Uint8Array.of(HLT));
		decoding.find(NEW);
		for (const [n, bytes] of code.entries()) decoding.put(place(n), Uint8Array.of(...bytes, HLT));
		const blocks = code.map((_, n) => decoding.decodeBlock(place(n)) || decoding.find(place(n)));
		const { madeCount } = decoding.engine.handlers;
		decoding.engine.dispose();
		return { decoding, blocks, madeCount };
	};
	const first = begin();
	const second = begin();
	expect([first.madeCount, second.madeCount]).toEqual([17, 0]);
	for (const [n, block] of first.blocks.entries())
		for (let i = 1; i <= 9; i++) {
			const record = second.decoding.record((second.blocks[n] as number) + i * RECORD_BYTES);
			expect(record).toEqual(first.decoding.record(block + i * RECORD_BYTES));
			expect(second.decoding.engine.module.table.get(new DataView(record.buffer).getInt32(0, true))).toBeTypeOf("function");
		}
});

it("gives up what other guests needed where that leaves no room", () => {
	const memory = new GuestMemory(PAGE);
	const patterns = new Patterns(memory);
	const nearlyFull = PATTERNS + PATTERNS_BYTES - PAGE;
	patterns.load(new Uint8Array(Int32Array.of(nearlyFull).buffer));
	const kept = new KeptPlaces(memory);
	const place = { offset: 0x40, modeKey: MODE.code64, firstByte: 0 };
	kept.mark(place);
	const nop = Uint8Array.of(0x90, ...new Array(14).fill(0));
	patterns.learn(nop, 0, decode(nop, 0, nop.length, 64) as Insn, MODE.flat | MODE.stack32 | MODE.code64, ENGINE_BYTES);
	expect(patterns.usedBytes).toBeGreaterThan(0);
	expect(patterns.usedBytes).toBeLessThan(PAGE);
	expect(kept.mayHave(place.offset, place.modeKey), "which is no part of what was learnt").toBe(true);
});

it("makes room for new blocks in the place of old ones", () => {
	const decoding = new Decoding(64);
	const { blocks } = decoding.engine;
	const places = 0x1_0000;
	decoding.memory.bytes.fill(0x90, ENGINE_BYTES + TAUGHT, ENGINE_BYTES + TAUGHT + places);
	// A block at every byte: all together take twice as much as there is room for.
	for (let at = TAUGHT; at < TAUGHT + places; at++) expect(decoding.find(at)).toBeGreaterThan(0);
	expect(decoding.lookUp(TAUGHT), "the oldest").toBe(0);
	expect(decoding.lookUp(TAUGHT + places - PAGE), "a young one").toBeGreaterThan(0);
	expect(blocks.invalidatedCount).toBeGreaterThan(places / 4);
	expect(blocks.hasCode(TAUGHT / PAGE), "a page whose blocks have all gone").toBe(false);
});
