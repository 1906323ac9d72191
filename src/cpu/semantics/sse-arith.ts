/** Floating-point arithmetic: SDM Vol. 1 §5.5.1.2, §5.6.1.2, §5.7.2–5.7.4, §5.10.2. */
import { type Expr, i32, op } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import type { Ops } from "../emit/ops.ts";
import { define } from "./registry.ts";
import { differs, exactly, FORMS, type Form, fastOr, Numbers, numbersOf, operands, PRECISION_KNOWN, place, shapeOf } from "./sse-guard.ts";
import { constantVector, immediateOf, pick } from "./sse-operands.ts";
import { guardSse } from "./x87-state.ts";

type Operation = "Add" | "Sub" | "Mul" | "Div";

/** Nothing but inexactness can be raised if operands are 0 or normal and the result is in the range this asks for. */
function requireHarmless(o: Ops, n: Numbers, slow: Label, operation: Operation, result: Expr): void {
	// Sums lose nothing by being tiny; products and quotients may.
	if (operation === "Add" || operation === "Sub") n.require(o, slow, n.isFinite(result));
	else if (n.isVector) n.require(o, slow, n.both(n.isNormal(result), n.isFinite(result)));
	else {
		n.require(o, slow, n.isNormal(result));
		n.require(o, slow, n.isFinite(result));
	}
}

function compute(o: Ops, n: Numbers, operation: Operation, a: Expr, b: Expr, slow: Label): Expr {
	o.f.brIf(slow, differs(o, PRECISION_KNOWN));
	n.rejectDenormal(o, slow, a);
	n.rejectDenormal(o, slow, b);
	const result = o.f.let(n.op(operation, a, b));
	requireHarmless(o, n, slow, operation, result);
	return result;
}

for (const form of FORMS) {
	const n = shapeOf(form);
	for (const operation of ["Add", "Sub", "Mul", "Div"] as const) {
		const mnemonic = operation.toUpperCase() + form.suffix;
		define(mnemonic, (o) => {
			const { a, b } = operands(o, form);
			const result = fastOr(
				o,
				"v128",
				(slow) => place(form, a, compute(o, n, operation, numbersOf(o, form, a), numbersOf(o, form, b), slow)),
				() => exactly(o, mnemonic, "v128", a, b),
			);
			o.writeVector(0, result);
		});
	}

	define(`SQRT${form.suffix}`, (o) => {
		const { a, b } = operands(o, form);
		const result = fastOr(
			o,
			"v128",
			(slow) => {
				o.f.brIf(slow, differs(o, PRECISION_KNOWN));
				const number = numbersOf(o, form, b);
				n.require(o, slow, n.op("Ge", number, n.constant(0)));
				n.rejectDenormal(o, slow, number);
				return place(form, a, n.op("Sqrt", number));
			},
			() => exactly(o, `SQRT${form.suffix}`, "v128", a, b),
		);
		o.writeVector(0, result);
	});
}

/** Both operands' even lanes, or their odd ones. */
function neighbours(form: Form, a: Expr, b: Expr, first: 0 | 1): Expr {
	return form.scalar === "f64" ? pick(8, a, b, [first, first + 2]) : pick(4, a, b, [first, first + 2, first + 4, first + 6]);
}

for (const form of FORMS.filter(({ isScalar }) => !isScalar)) {
	const n = shapeOf(form);
	for (const operation of ["Add", "Sub"] as const)
		define(`H${operation.toUpperCase()}${form.suffix}`, (o) => {
			const { a, b } = operands(o, form);
			const even = o.f.let(neighbours(form, a, b, 0));
			const odd = o.f.let(neighbours(form, a, b, 1));
			const result = fastOr(
				o,
				"v128",
				(slow) => compute(o, n, operation, even, odd, slow),
				() => exactly(o, operation.toUpperCase() + form.suffix, "v128", even, odd),
			);
			o.writeVector(0, result);
		});

	define(`ADDSUB${form.suffix}`, (o) => {
		const { a, b } = operands(o, form);
		// Subtracting is adding with the other sign, and no operand is a NaN here.
		const signs = form.scalar === "f64" ? constantVector(8, 1n << 63n, 0) : constantVector(4, 0x8000_0000, 0);
		const result = fastOr(
			o,
			"v128",
			(slow) => compute(o, n, "Add", a, o.f.let(op("v128Xor", b, signs)), slow),
			() => exactly(o, `ADDSUB${form.suffix}`, "v128", a, b),
		);
		o.writeVector(0, result);
	});

	define(
		`DP${form.suffix}`,
		(o) => {
			const { a, b } = operands(o, form);
			o.writeVector(0, exactly(o, `DP${form.suffix}`, "v128", a, b, i32(immediateOf(o))));
		},
		"imm",
	);
}

// ---- approximations: no exceptions, denormals count as 0 whatever MXCSR says ----

const SIGNS = constantVector(4, 0x8000_0000);
const SINGLES = new Numbers("f32x4");

/** Zeros of the same sign for what is less than the least normal number. */
function flush(o: Ops, a: Expr): Expr {
	const isSmall = SINGLES.op("Lt", SINGLES.op("Abs", a), SINGLES.constant(2 ** -126));
	return o.f.let(op("v128Bitselect", op("v128And", a, SIGNS), a, isSmall));
}

for (const mnemonic of ["RCPSS", "RCPPS", "RSQRTSS", "RSQRTPS"] as const)
	define(mnemonic, (o) => {
		guardSse(o);
		const isScalar = mnemonic.endsWith("SS");
		const b = isScalar ? o.readScalar(1) : o.readVector(1);
		const a = o.readVector(0);
		const source = flush(o, b);
		const one = SINGLES.constant(1);
		let result: Expr;
		if (mnemonic.startsWith("RSQRT")) {
			const root = SINGLES.op("Div", one, SINGLES.op("Sqrt", source));
			const isNegative = SINGLES.op("Lt", source, SINGLES.constant(0));
			result = op("v128Bitselect", constantVector(4, 0xffc0_0000), root, isNegative);
		} else result = flush(o, o.f.let(SINGLES.op("Div", one, source)));
		const quieted = op("v128Or", b, constantVector(4, 0x40_0000));
		const all = o.f.let(op("v128Bitselect", quieted, result, SINGLES.op("Ne", b, b)));
		o.writeVector(0, isScalar ? pick(4, all, a, [0, 5, 6, 7]) : all);
	});
