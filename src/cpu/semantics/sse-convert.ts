/** Conversions: SDM Vol. 1 §5.5.1.6, §5.6.1.6, §5.6.2. */
import { type Expr, i32, i64, laneOp, op } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import { BY_MXCSR, TRUNCATE } from "../core/sse-convert.ts";
import { MXCSR } from "../core/sse-format.ts";
import type { Ops } from "../emit/ops.ts";
import { define } from "./registry.ts";
import { differs, exactly, FORMS, fastOr, Numbers, numbersOf, PRECISION_KNOWN, place } from "./sse-guard.ts";
import { low64, pick, readMmxVector, ZERO } from "./sse-operands.ts";
import { enterMmx, guardMmx, guardSse } from "./x87-state.ts";

const DOUBLES = new Numbers("f64x2");
const DOUBLE = new Numbers("f64");
const SINGLES = new Numbers("f32x4");
const SINGLE = new Numbers("f32");

/** Precision faults are masked, and PE stands already. */
const PRECISION_SILENT = { mask: 0x1000 | MXCSR.PE, value: 0x1000 | MXCSR.PE };
const ROUNDING = { mask: 0x6000, value: 0 };

/**
 * Numbers rounded as a conversion to integers wants it; branches away unless all are within ±`limit` (exclusive) and exact, or
 * inexactness is nothing new.
 */
function toWhole(o: Ops, n: Numbers, isTruncating: boolean, limit: number, source: Expr, slow: Label): Expr {
	if (!isTruncating) o.f.brIf(slow, differs(o, ROUNDING));
	const whole = o.f.let(n.op(isTruncating ? "Trunc" : "Nearest", source));
	n.require(o, slow, n.op("Lt", n.op("Abs", whole), n.constant(limit)));
	o.f.if(differs(o, PRECISION_SILENT), () => n.require(o, slow, n.op("Eq", whole, source)));
	return whole;
}

// ---- to general registers ----

for (const form of FORMS.filter(({ isScalar }) => isScalar))
	for (const isTruncating of [false, true])
		define(`${isTruncating ? "CVTT" : "CVT"}${form.suffix}2SI`, (o) => {
			guardSse(o);
			const source = o.readScalar(1);
			const width = o.widthOf(0) as 32 | 64;
			const result = fastOr(
				o,
				width === 64 ? "i64" : "i32",
				(slow) => {
					const scalar = numbersOf(o, form, source);
					const number = form.scalar === "f64" ? scalar : o.f.let(op("f64PromoteF32", scalar));
					const whole = toWhole(o, DOUBLE, isTruncating, width === 64 ? 2 ** 63 : 2 ** 31, number, slow);
					return op(width === 64 ? "i64TruncSatF64S" : "i32TruncSatF64S", whole);
				},
				() => {
					const integer = exactly(o, `toInteger${form.suffix}`, "i64", source, i32(width), i64(isTruncating ? TRUNCATE : BY_MXCSR));
					return width === 64 ? integer : op("i32WrapI64", integer);
				},
			);
			o.write(0, result);
		});

// ---- from general registers ----

for (const form of FORMS.filter(({ isScalar }) => isScalar))
	define(`CVTSI2${form.suffix}`, (o) => {
		guardSse(o);
		const value = o.read(1);
		const old = o.readVector(0);
		const convert = (): Expr => place(form, old, op(`${form.scalar}Convert${value.type === "i64" ? "I64" : "I32"}S`, value));
		if (value.type === "i32" && form.scalar === "f64") {
			o.writeVector(0, convert());
			return;
		}
		// What has no more bits than the significand is exact.
		const exactBits = form.scalar === "f64" ? 53 : 24;
		const wide = value.type === "i64" ? value : o.f.let(op("i64ExtendI32S", value));
		const result = fastOr(
			o,
			"v128",
			(slow) => {
				const mayRound = op("i64GtU", op("i64Add", wide, i64(2n ** BigInt(exactBits))), i64(2n ** BigInt(exactBits + 1)));
				o.f.if(mayRound, () => o.f.brIf(slow, differs(o, PRECISION_KNOWN)));
				return convert();
			},
			() => exactly(o, `CVTSI2${form.suffix}`, "v128", old, wide),
		);
		o.writeVector(0, result);
	});

// ---- between single and double precision ----

define("CVTSS2SD", (o) => {
	guardSse(o);
	const source = o.readScalar(1);
	const old = o.readVector(0);
	const result = fastOr(
		o,
		"v128",
		(slow) => {
			const number = o.f.let(laneOp("f32x4ExtractLane", 0, source));
			o.f.brIf(slow, SINGLE.op("Ne", number, number));
			SINGLE.rejectDenormal(o, slow, number);
			return laneOp("f64x2ReplaceLane", 0, old, op("f64PromoteF32", number));
		},
		() => exactly(o, "CVTSS2SD", "v128", old, source),
	);
	o.writeVector(0, result);
});

define("CVTSD2SS", (o) => {
	guardSse(o);
	const source = o.readScalar(1);
	const old = o.readVector(0);
	const result = fastOr(
		o,
		"v128",
		(slow) => {
			o.f.brIf(slow, differs(o, PRECISION_KNOWN));
			const number = o.f.let(op("f32DemoteF64", laneOp("f64x2ExtractLane", 0, source)));
			SINGLE.require(o, slow, SINGLE.isNormal(number));
			SINGLE.require(o, slow, SINGLE.isFinite(number));
			return laneOp("f32x4ReplaceLane", 0, old, number);
		},
		() => exactly(o, "CVTSD2SS", "v128", old, source),
	);
	o.writeVector(0, result);
});

define("CVTPS2PD", (o) => {
	guardSse(o);
	const source = o.readScalar(1);
	const result = fastOr(
		o,
		"v128",
		(slow) => {
			const numbers = o.f.let(op("f64x2PromoteLowF32x4", source));
			const isSmall = DOUBLES.op("Lt", DOUBLES.op("Abs", numbers), DOUBLES.constant(2 ** -126));
			const wasDenormal = DOUBLES.both(isSmall, DOUBLES.op("Ne", numbers, DOUBLES.constant(0)));
			o.f.brIf(slow, DOUBLES.any(op("v128Or", wasDenormal, DOUBLES.op("Ne", numbers, numbers))));
			return numbers;
		},
		() => exactly(o, "CVTPS2PD", "v128", source),
	);
	o.writeVector(0, result);
});

define("CVTPD2PS", (o) => {
	guardSse(o);
	const source = o.readVector(1);
	const result = fastOr(
		o,
		"v128",
		(slow) => {
			o.f.brIf(slow, differs(o, PRECISION_KNOWN));
			const numbers = o.f.let(op("f32x4DemoteF64x2Zero", source));
			const isHarmless = op("i32x4Bitmask", SINGLES.both(SINGLES.isNormal(numbers), SINGLES.isFinite(numbers)));
			o.f.brIf(slow, op("i32Ne", isHarmless, i32(3)));
			return numbers;
		},
		() => exactly(o, "CVTPD2PS", "v128", source),
	);
	o.writeVector(0, result);
});

// ---- packed doublewords ----

/** Singles to doublewords, four or two of them; upper lanes of two must be 0. */
function singlesToIntegers(o: Ops, source: Expr, isTruncating: boolean, count: 2 | 4): Expr {
	return fastOr(
		o,
		"v128",
		(slow) => op("i32x4TruncSatF32x4S", toWhole(o, SINGLES, isTruncating, 2 ** 31, source, slow)),
		() => exactly(o, "toIntegersPS", "v128", source, i32(count), i64(isTruncating ? TRUNCATE : BY_MXCSR)),
	);
}

function doublesToIntegers(o: Ops, source: Expr, isTruncating: boolean): Expr {
	return fastOr(
		o,
		"v128",
		(slow) => op("i32x4TruncSatF64x2SZero", toWhole(o, DOUBLES, isTruncating, 2 ** 31, source, slow)),
		() => exactly(o, "toIntegersPD", "v128", source, i64(isTruncating ? TRUNCATE : BY_MXCSR)),
	);
}

for (const isTruncating of [false, true]) {
	const name = isTruncating ? "CVTT" : "CVT";
	define(`${name}PS2DQ`, (o) => {
		guardSse(o);
		o.writeVector(0, singlesToIntegers(o, o.readVector(1), isTruncating, 4));
	});
	define(`${name}PD2DQ`, (o) => {
		guardSse(o);
		o.writeVector(0, doublesToIntegers(o, o.readVector(1), isTruncating));
	});
	define(`${name}PS2PI`, (o) => {
		guardSse(o);
		guardMmx(o);
		const source = o.f.let(pick(8, o.readScalar(1), ZERO, [0, 2]));
		// Processors do this even if the conversion then raises #XM.
		enterMmx(o);
		o.writeMmx(0, low64(singlesToIntegers(o, source, isTruncating, 2)));
	});
	define(`${name}PD2PI`, (o) => {
		guardSse(o);
		guardMmx(o);
		const source = o.readVector(1);
		enterMmx(o);
		o.writeMmx(0, low64(doublesToIntegers(o, source, isTruncating)));
	});
}

define("CVTDQ2PS", (o) => {
	guardSse(o);
	const source = o.readVector(1);
	const result = fastOr(
		o,
		"v128",
		(slow) => {
			o.f.brIf(slow, differs(o, PRECISION_KNOWN));
			return op("f32x4ConvertI32x4S", source);
		},
		() => exactly(o, "CVTDQ2PS", "v128", source),
	);
	o.writeVector(0, result);
});

/** Two doublewords from an MMX register, or from memory (which then is no MMX instruction: SDM Vol. 2A, CVTPI2PD). */
function readPair(o: Ops): Expr {
	guardSse(o);
	if (o.isMem(1)) return o.readScalar(1);
	guardMmx(o);
	const source = readMmxVector(o, 1);
	enterMmx(o);
	return source;
}

define("CVTPI2PS", (o) => {
	const source = readPair(o);
	const old = o.readVector(0);
	const result = fastOr(
		o,
		"v128",
		(slow) => {
			o.f.brIf(slow, differs(o, PRECISION_KNOWN));
			return pick(8, op("f32x4ConvertI32x4S", source), old, [0, 3]);
		},
		() => exactly(o, "CVTPI2PS", "v128", old, source),
	);
	o.writeVector(0, result);
});

define("CVTPI2PD", (o) => o.writeVector(0, op("f64x2ConvertLowI32x4S", readPair(o))));

define("CVTDQ2PD", (o) => {
	guardSse(o);
	o.writeVector(0, op("f64x2ConvertLowI32x4S", o.readScalar(1)));
});
