import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/units.ts";
import { GuestMemory } from "../../machine/memory.ts";
import { i32, laneOp, loadOp } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { CORE_HELPERS, EngineModule } from "../engine-module.ts";
import { at } from "../state/layout.ts";
import { comparisonOf } from "./pcmpstr.ts";
import { HANDLER_PARAMS } from "./registry.ts";

const helpers = Object.fromEntries(CORE_HELPERS.map((name) => [name, () => 0]));
const engine = new EngineModule(new GuestMemory(PAGE_BYTES).memory, helpers);
const view = new DataView(engine.memory.buffer);
const float = new DataView(new ArrayBuffer(8));

function bits(value: number): bigint {
	float.setFloat64(0, value);
	return float.getBigUint64(0);
}

function number(value: bigint): number {
	float.setBigUint64(0, value);
	return float.getFloat64(0);
}

/** One lane under an MXCSR: the result's pattern and the flags that stand afterwards. */
function lane(name: string, mxcsr: number, ...args: (bigint | number)[]): { result: bigint; flags: number; unmasked: number } {
	view.setInt32(at("mxcsr"), mxcsr, true);
	view.setInt32(at("arg3"), 0, true);
	const result = BigInt.asUintN(64, engine.coreFunction(name)(0, ...args) as bigint);
	engine.coreFunction("sseFinish")(0);
	return { result, flags: view.getInt32(at("mxcsr"), true) & 0x3f, unmasked: view.getInt32(at("arg2"), true) };
}

const IE = 1;
const DE = 2;
const ZE = 4;
const OE = 8;
const UE = 16;
const PE = 32;
const PLAIN = 0x1f80;
const FTZ = 0x9f80;
const DAZ = 0x1fc0;
const UP = 0x5f80;
const DOWN = 0x3f80;
const LEAST = 1n << 52n;
const GREATEST = 0x7fef_ffff_ffff_ffffn;
const INFINITY = 0x7ff0_0000_0000_0000n;
const INDEFINITE = 0xfff8_0000_0000_0000n;
const SIGN = 1n << 63n;

describe("one lane of SSE arithmetic", () => {
	it.each<[what: string, name: string, mxcsr: number, args: (bigint | number)[], result: bigint, flags: number]>([
		["an exact sum", "sseAdd64", PLAIN, [bits(1.5), bits(2), 0n], bits(3.5), 0],
		["an inexact one", "sseAdd64", PLAIN, [bits(0.1), bits(0.2), 0n], bits(0.1 + 0.2), PE],
		["1 + 2⁻⁶⁰ upwards", "sseAdd64", UP, [bits(1), bits(2 ** -60), 0n], bits(1) + 1n, PE],
		["x − x downwards", "sseAdd64", DOWN, [bits(3), bits(3), SIGN], SIGN, 0],
		["the first NaN, quieted", "sseAdd64", PLAIN, [0x7ff0_0000_0000_0001n, 0x7ff8_0000_0000_0002n, 0n], 0x7ff8_0000_0000_0001n, IE],
		["∞ − ∞", "sseAdd64", PLAIN, [INFINITY, INFINITY, SIGN], INDEFINITE, IE],
		["a denormal under DAZ", "sseAdd64", DAZ, [1n, bits(1), 0n], bits(1), 0],
		["an exact denormal sum", "sseAdd64", PLAIN, [1n, 1n, 0n], 2n, DE],
		["the same, flushed", "sseAdd64", FTZ, [1n, 1n, 0n], 0n, DE | UE | PE],
		["0 × ∞", "sseMul64", PLAIN, [0n, INFINITY], INDEFINITE, IE],
		["an exact tiny product", "sseMul64", PLAIN, [LEAST, bits(0.5)], LEAST >> 1n, 0],
		["tiny before and after rounding", "sseMul64", PLAIN, [bits(1 - 2 ** -53), LEAST], LEAST, UE | PE],
		["tiny only before rounding", "sseMul64", PLAIN, [bits(1 - 2 ** -53), LEAST + 1n], LEAST, PE],
		["overflow", "sseMul64", PLAIN, [GREATEST, GREATEST], INFINITY, OE | PE],
		["overflow downwards", "sseMul64", DOWN, [GREATEST, GREATEST], GREATEST, OE | PE],
		["a denormal by 0", "sseDiv64", PLAIN, [5n, 0n], INFINITY, ZE],
		["0 by 0", "sseDiv64", PLAIN, [0n, 0n], INDEFINITE, IE],
		["1 by 3 upwards", "sseDiv64", UP, [bits(1), bits(3)], bits(1 / 3) + 1n, PE],
		["an exact quotient", "sseDiv64", PLAIN, [bits(10), bits(4)], bits(2.5), 0],
		["an exact root", "sseSqrt64", PLAIN, [bits(2.25)], bits(1.5), 0],
		["the root of 2 upwards", "sseSqrt64", UP, [bits(2)], bits(Math.SQRT2), PE],
		["the root of −0", "sseSqrt64", PLAIN, [SIGN], SIGN, 0],
		["the root of −1", "sseSqrt64", PLAIN, [bits(-1)], INDEFINITE, IE],
		["MIN of a quiet NaN", "sseMinMax64", PLAIN, [INDEFINITE, bits(1), 0n], bits(1), IE],
		["MAX of both zeros", "sseMinMax64", PLAIN, [0n, SIGN, 1n], SIGN, 0],
		["2³¹ to a doubleword", "sseToInteger64", PLAIN, [bits(2 ** 31), 32, 3n], 0x8000_0000n, IE],
		["2.5 to a doubleword", "sseToInteger64", PLAIN, [bits(2.5), 32, 4n], 2n, PE],
		["−2⁶³ from an integer", "sseFromInteger64", PLAIN, [-(1n << 63n)], bits(-(2 ** 63)), 0],
		["2⁵³ + 1 from an integer", "sseFromInteger64", UP, [2n ** 53n + 1n], bits(2 ** 53 + 2), PE],
		["double to a tiny single", "sseNarrow", PLAIN, [bits(2 ** -150)], 0n, UE | PE],
	])("%s", (_what, name, mxcsr, args, result, flags) => {
		expect(lane(name, mxcsr, ...args)).toEqual({ result, flags, unmasked: 0 });
	});

	it("SDM §4.9.3: an unmasked fault before the computation hides what comes after", () => {
		const unmaskedZero = PLAIN & ~0x200;
		expect(lane("sseDiv64", unmaskedZero, bits(1), 0n)).toMatchObject({ flags: ZE, unmasked: ZE });
		expect(lane("sseMul64", PLAIN & ~0x400, GREATEST, bits(2))).toMatchObject({ flags: OE, unmasked: OE });
	});

	it("rounds to nearest by integers as the host does", () => {
		let seed = 12345;
		const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
		for (let i = 0; i < 3000; i++) {
			const [a, b] = [random(), random()].map((high) => {
				float.setUint32(0, (high & 0x800f_ffff) | ((1023 - 60 + (random() % 120)) << 20));
				float.setUint32(4, random());
				return float.getFloat64(0);
			}) as [number, number];
			// FTZ changes nothing here but keeps the functions from using the host's arithmetic.
			expect(number(lane("sseAdd64", FTZ, bits(a), bits(b), 0n).result)).toBe(a + b);
			expect(number(lane("sseMul64", FTZ, bits(a), bits(b)).result)).toBe(a * b);
			expect(number(lane("sseDiv64", FTZ, bits(a), bits(b)).result)).toBe(a / b);
			expect(number(lane("sseSqrt64", FTZ, bits(Math.abs(a))).result)).toBe(Math.sqrt(Math.abs(a)));
		}
	});
});

const A = 0x1_0000;
const B = A + 16;
const RESULT = B + 16;

/** Calls a core function on vectors given and returned as bytes, first byte first; an i32 result comes as four bytes. */
function vector(name: string, a: readonly number[], b?: readonly number[], ...words: number[]): number[] {
	const bytes = new Uint8Array(engine.memory.buffer);
	bytes.set(a, A);
	bytes.set(b ?? [], B);
	const module = engine.newModule();
	const { result, params } = engine.signatureOf(name);
	const f = new FunctionBuilder(HANDLER_PARAMS, "i32");
	const vectors = [loadOp("v128Load", f.param(0), A), loadOp("v128Load", f.param(0), B)].slice(0, b === undefined ? 1 : 2);
	const args = params[0] === "i64" ? vectors.map((v) => laneOp("i64x2ExtractLane", 0, v)) : vectors;
	const constants = words.map(i32);
	const value = f.callLet(module.index(name), result as "v128" | "i32", [...args, ...constants]);
	f.store(result === "v128" ? "v128Store" : "i32Store", f.param(0), value, RESULT);
	f.return(f.param(1));
	f.unreachable();
	const slot = engine.reserveSlot();
	module.add(slot, f, "under test");
	module.instantiate();
	(engine.table.get(slot) as (cpu: number, record: number) => number)(0, 0);
	return [...bytes.slice(RESULT, RESULT + (result === "v128" ? 16 : 4))];
}

const hex = (text: string): number[] => (text.match(/../g) as string[]).map((byte) => Number.parseInt(byte, 16));
const text = (value: string): number[] => Array.from({ length: 16 }, (_, i) => (i < value.length ? value.charCodeAt(i) : 0));
const word = ([a, b, c, d]: number[]): number => (a as number) | ((b as number) << 8) | ((c as number) << 16) | ((d as number) << 24);

describe("AES", () => {
	const key = hex("000102030405060708090a0b0c0d0e0f");
	const plain = hex("00112233445566778899aabbccddeeff");
	const cipher = hex("69c4e0d86a7b0430d8cdb78070b4c55a");

	/** The eleven round keys of a 128-bit key (FIPS 197 §5.2). */
	function roundKeys(): number[][] {
		const keys = [key];
		let constant = 1;
		for (let round = 0; round < 10; round++) {
			const last = keys.at(-1) as number[];
			const next = vector("AESKEYGENASSIST", last, undefined, constant).slice(12, 16);
			const schedule: number[] = [];
			for (let i = 0; i < 16; i++) schedule.push((last[i] as number) ^ (i < 4 ? (next[i] as number) : (schedule[i - 4] as number)));
			keys.push(schedule);
			constant = (constant << 1) ^ (constant & 0x80 ? 0x11b : 0);
		}
		return keys;
	}

	const add = (a: readonly number[], b: readonly number[]): number[] => a.map((byte, i) => byte ^ (b[i] as number));

	it("FIPS 197 appendix C.1: enciphers", () => {
		const keys = roundKeys();
		let state = add(plain, keys[0] as number[]);
		for (let round = 1; round < 10; round++) state = vector("AESENC", state, keys[round] as number[]);
		expect(vector("AESENCLAST", state, keys[10] as number[])).toEqual(cipher);
	});

	it("FIPS 197 appendix C.1: deciphers", () => {
		const keys = roundKeys().reverse();
		let state = add(cipher, keys[0] as number[]);
		for (let round = 1; round < 10; round++) state = vector("AESDEC", state, vector("AESIMC", keys[round] as number[]));
		expect(vector("AESDECLAST", state, keys[10] as number[])).toEqual(plain);
	});
});

describe("carry-less multiplication", () => {
	it("multiplies as schoolbook does", () => {
		const a = hex("0fedcba987654321");
		const b = hex("ffffffff80000001");
		const integer = (bytes: number[]): bigint => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
		let expected = 0n;
		for (let i = 0n; i < 64n; i++) if ((integer(b) >> i) & 1n) expected ^= integer(a) << i;
		expect(integer(vector("clmul64", a, b))).toBe(expected);
	});
});

describe("string comparison", () => {
	const compare = (imm: number, a: string, b: string): number =>
		word(vector(comparisonOf(imm), text(a), text(b), a.length, b.length)) & 0xffff;

	it.each<[what: string, imm: number, a: string, b: string, result: number]>([
		["any of a set", 0x00, "aeiou", "hello", 0b10010],
		["in ranges", 0x04, "azAZ", "a1B-z", 0b10101],
		["half a range means nothing", 0x04, "azA", "aB", 0b01],
		["equal each, beyond both ends too", 0x08, "abc", "abd", 0xfffb],
		["a substring", 0x0c, "lo", "hello lo", 0b100_1000],
		["a substring that may go on beyond the end", 0x0c, "ab", "xxxxxxxxxxxxxxxa", 0x8000],
		["nothing in nothing", 0x0c, "", "", 0xffff],
	])("%s", (_what, imm, a, b, result) => {
		expect(compare(imm, a, b)).toBe(result);
	});

	it("counts up to the first 0", () => {
		expect(word(vector("pcmpstrLength", text("seven 7"), undefined, 0))).toBe(7);
		expect(word(vector("pcmpstrLength", hex("41004200430000000000000000000000"), undefined, 1))).toBe(3);
		expect(word(vector("pcmpstrLength", text("sixteen letters!"), undefined, 0))).toBe(16);
	});
});
