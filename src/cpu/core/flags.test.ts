import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GuestMemory } from "../../machine/memory.ts";
import { CORE_HELPERS, EngineModule } from "../engine-module.ts";
import { CpuState } from "../state/cpu-state.ts";
import { CC, FLAG, type FlagKind, materialiseFlags } from "../state/flags.ts";

const BASE = 65536;
const memory = new GuestMemory(1 << 20);
const engine = new EngineModule(memory.memory, Object.fromEntries(CORE_HELPERS.map((name) => [name, () => 0])));
const state = new CpuState(memory, 0, BASE);

const operand = fc.oneof(
	fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
	fc.constantFrom(0n, 1n, -1n, 127n, -128n, 0x7fffn, -0x8000n),
);
const source = fc.record({
	kind: fc.constantFrom(...(Object.keys(CC) as FlagKind[])),
	log2: fc.integer({ min: 0, max: 3 }),
	x: operand,
	y: operand,
	z: fc.boolean(),
});

/** Puts random inputs into the state as an instruction of that width would leave them. */
function place({ kind, log2, x, y, z }: { kind: FlagKind; log2: number; x: bigint; y: bigint; z: boolean }): number {
	const width = 8 << log2;
	const isImage = kind === "image";
	const narrowX = isImage ? x & 0x8d5n : BigInt.asIntN(width, x);
	const narrowY = kind === "bits" ? y & 0x811n : kind === "inc" || kind === "dec" ? y & 1n : BigInt.asIntN(width, y);
	const op = CC[kind] | (log2 << 4);
	state.set("ccOp", op);
	state.set64("ccX", narrowX);
	state.set64("ccY", narrowY);
	state.set64("ccZ", z ? 1n : 0n);
	return materialiseFlags(op, narrowX, narrowY, z ? 1n : 0n);
}

/** SDM Vol. 1 Appendix B: what each even condition asks of the flags. */
function holds(flags: number, cc: number): boolean {
	const [cf, pf, zf, sf, of] = [FLAG.CF, FLAG.PF, FLAG.ZF, FLAG.SF, FLAG.OF].map((bit) => (flags & bit) !== 0);
	return [of, cf, zf, cf || zf, sf, pf, sf !== of, zf || sf !== of][cc >> 1] as boolean;
}

describe("lazy flags", () => {
	it("are worked out in WebAssembly as by the plain definition", () => {
		const arithmeticFlags = engine.coreFunction("arithmeticFlags");
		fc.assert(
			fc.property(source, (inputs) => {
				const expected = place(inputs);
				expect(arithmeticFlags(BASE)).toBe(expected);
			}),
			{ numRuns: 3000 },
		);
	});

	it("answer every condition", () => {
		fc.assert(
			fc.property(source, fc.integer({ min: 0, max: 7 }), (inputs, pair) => {
				const flags = place(inputs);
				expect(engine.coreFunction(`condition${pair * 2}`)(BASE)).toBe(holds(flags, pair * 2) ? 1 : 0);
			}),
			{ numRuns: 3000 },
		);
	});
});

describe("wide integer functions", () => {
	const word = fc.oneof(
		fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
		fc.constantFrom(0n, 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n),
	);

	it("multiply to the high half", () => {
		fc.assert(
			fc.property(word, word, (a, b) => {
				expect(BigInt.asUintN(64, engine.coreFunction("mulHighU")(a, b) as bigint)).toBe((a * b) >> 64n);
				const signed = BigInt.asIntN(64, a) * BigInt.asIntN(64, b);
				expect(engine.coreFunction("mulHighS")(a, b)).toBe(BigInt.asIntN(64, signed >> 64n));
			}),
		);
	});

	it("divide 128 bits by 64, or say that the quotient does not fit", () => {
		fc.assert(
			fc.property(word, word, word, (low, high, by) => {
				fc.pre(by !== 0n);
				const dividend = (high << 64n) | low;
				const tooWide = engine.coreFunction("divide128U")(BASE, low, high, by);
				expect(tooWide).toBe(dividend / by >= 1n << 64n ? 1 : 0);
				if (tooWide === 0) expect([state.get64("arg0"), state.get64("arg1")]).toEqual([dividend / by, dividend % by]);
				const [signedDividend, signedBy] = [BigInt.asIntN(128, dividend), BigInt.asIntN(64, by)];
				const quotient = signedDividend / signedBy;
				const signedTooWide = engine.coreFunction("divide128S")(BASE, low, high, by);
				expect(signedTooWide).toBe(BigInt.asIntN(64, quotient) === quotient ? 0 : 1);
				if (signedTooWide === 0)
					expect([BigInt.asIntN(64, state.get64("arg0")), BigInt.asIntN(64, state.get64("arg1"))]).toEqual([
						quotient,
						signedDividend % signedBy,
					]);
			}),
			{ numRuns: 2000 },
		);
	});

	it("compute CRC-32C of the check string", () => {
		let crc = 0xffffffff | 0;
		for (const char of "123456789") crc = engine.coreFunction("crc32c")(crc, BigInt(char.charCodeAt(0)), 1) as number;
		expect(~crc >>> 0).toBe(0xe3069283);
	});
});
