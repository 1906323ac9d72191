/**
 * FADD, FSUB, FSUBR, FMUL, FDIV, FDIVR on stack registers and on memory operands: the short way for ordinary operands in line, the
 * rest through f80Special. Names: x87Add, x87AddDouble, x87AddSingle, x87AddInt, and so on.
 */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import { addNormal, type Normal } from "./f80-add.ts";
import {
	add,
	and,
	BIAS,
	clz,
	type Ext,
	eqz,
	FSW,
	geS,
	narrow,
	ne,
	negate,
	or,
	shl,
	shr,
	sub,
	TOP_BIT,
	wide,
	X87,
	xor,
} from "./f80-emit.ts";
import { divNormal, mulNormal } from "./f80-mul.ts";
import { exponentOf, KIND, type Kind, signOf, widenDouble, widenSingle } from "./f80-special.ts";
import { defineCore } from "./registry.ts";

interface Form {
	readonly name: string;
	readonly kind: Kind;
	/** Source minus (or divided by) destination. */
	readonly isReversed: boolean;
}

const FORMS: readonly Form[] = [
	{ name: "Add", kind: "add", isReversed: false },
	{ name: "Sub", kind: "sub", isReversed: false },
	{ name: "Subr", kind: "sub", isReversed: true },
	{ name: "Mul", kind: "mul", isReversed: false },
	{ name: "Div", kind: "div", isReversed: false },
	{ name: "Divr", kind: "div", isReversed: true },
];

/** (cpu, physical) → 1 if unmasked, else 0 with the indefinite in the register: an operand was empty. */
defineCore("x87Underflow", ["i32", "i32"], "i32", (f, calls) => {
	const x = new X87(f);
	const physical = f.param(1);
	x.clearC1();
	f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE | FSW.SF)]), () => f.return(i32(1)));
	x.storeIndefinite(x.slot(physical));
	x.markValid(physical);
	f.return(i32(0));
});

/** Branches where the value is not normal and finite: exponent 0 or all ones, no integer bit. */
function unlessOrdinary(x: X87, otherwise: Label, value: Ext): void {
	x.f.brIf(otherwise, eqz(and(add(value.se, 1), 0x7ffe)));
	x.f.brIf(otherwise, geS(value.mantissa, 0));
}

/** `ordinary` may branch to its label, the code that follows is then `special`. */
function shortWay(x: X87, ordinary: (otherwise: Label) => void, special: () => void): void {
	x.f.block((done) => {
		x.f.block((otherwise) => {
			ordinary(otherwise);
			x.f.br(done);
		});
		special();
	});
}

function compute(x: X87, calls: Callables, form: Form, slot: Expr, destination: Ext, source: Ext): void {
	const { f } = x;
	const pin = (v: Ext, flips: boolean): Normal => ({
		sign: f.let(flips ? xor(signOf(v), 0x8000) : signOf(v)),
		exponent: f.let(exponentOf(v)),
		mantissa: v.mantissa,
	});
	const [first, second] = form.isReversed ? [source, destination] : [destination, source];
	const a = pin(first, false);
	const b = pin(second, form.kind === "sub");
	if (form.kind === "mul") mulNormal(x, calls, slot, a, b);
	else if (form.kind === "div") divNormal(x, calls, slot, a, b);
	else addNormal(x, calls, slot, a, b);
}

/** Its result is 1 if an unmasked exception came before a result. */
function special(x: X87, calls: Callables, form: Form, slot: Expr, d: Ext, s: Ext, denormal: Expr): Expr {
	const [a, b] = form.isReversed ? [s, d] : [d, s];
	return x.f.callLet(calls.index("f80Special"), "i32", [x.cpu, slot, i32(KIND[form.kind]), a.se, a.mantissa, b.se, b.mantissa, denormal]);
}

/** ST(0) of a function on a memory operand: underflow answered, else its slot. */
function topOperand(x: X87, calls: Callables): { slot: Expr; value: Ext } {
	const { f } = x;
	const top = f.let(x.field("ftop"));
	f.if(x.isEmpty(top), () => {
		f.call(calls.index("x87Underflow"), [x.cpu, top], true);
		f.return();
	});
	const slot = x.slot(top);
	return { slot, value: x.load(slot) };
}

for (const form of FORMS) {
	/** (cpu, destination, source, pops): numbers of stack registers. */
	defineCore(`x87${form.name}`, ["i32", "i32", "i32", "i32"], undefined, (f, calls) => {
		const x = new X87(f);
		const top = f.let(x.field("ftop"));
		const to = x.physical(top, f.param(1));
		const from = x.physical(top, f.param(2));
		const tags = f.let(x.field("ftagValid"));
		f.block((done) => {
			f.if(eqz(and(and(shr(tags, to), shr(tags, from)), 1)), () => {
				f.if(f.callLet(calls.index("x87Underflow"), "i32", [x.cpu, to]), () => f.return());
				f.br(done);
			});
			const slot = x.slot(to);
			const d = x.load(slot);
			const s = x.load(x.slot(from));
			shortWay(
				x,
				(otherwise) => {
					unlessOrdinary(x, otherwise, d);
					unlessOrdinary(x, otherwise, s);
					compute(x, calls, form, slot, d, s);
				},
				() => f.if(special(x, calls, form, slot, d, s, i32(0)), () => f.return()),
			);
		});
		f.if(f.param(3), () => x.pop());
	});

	/** (cpu, bits of a double): ST(0) with it. */
	defineCore(`x87${form.name}Double`, ["i32", "i64"], undefined, (f, calls) => {
		const x = new X87(f);
		const bits = f.param(1);
		const { slot, value } = topOperand(x, calls);
		const e = f.let(and(narrow(shr(bits, 52)), 0x7ff));
		shortWay(
			x,
			(otherwise) => {
				unlessOrdinary(x, otherwise, value);
				f.brIf(otherwise, eqz(and(add(e, 1), 0x7fe)));
				const se = f.let(or(and(narrow(shr(bits, 48)), 0x8000), add(e, BIAS - 1023)));
				compute(x, calls, form, slot, value, { se, mantissa: f.let(or(shl(bits, 11), TOP_BIT)) });
			},
			() => {
				const source = { se: x.variable32(), mantissa: x.variable64() };
				const denormal = x.variable32();
				widenDouble(x, bits, source.se, source.mantissa, denormal);
				special(x, calls, form, slot, value, { se: source.se.value, mantissa: source.mantissa.value }, denormal.value);
			},
		);
	});

	/** (cpu, bits of a single): ST(0) with it. */
	defineCore(`x87${form.name}Single`, ["i32", "i32"], undefined, (f, calls) => {
		const x = new X87(f);
		const bits = f.param(1);
		const { slot, value } = topOperand(x, calls);
		const e = f.let(and(shr(bits, 23), 0xff));
		shortWay(
			x,
			(otherwise) => {
				unlessOrdinary(x, otherwise, value);
				f.brIf(otherwise, eqz(and(add(e, 1), 0xfe)));
				const se = f.let(or(and(shr(bits, 16), 0x8000), add(e, BIAS - 127)));
				compute(x, calls, form, slot, value, { se, mantissa: f.let(or(shl(wide(bits), 40), TOP_BIT)) });
			},
			() => {
				const source = { se: x.variable32(), mantissa: x.variable64() };
				const denormal = x.variable32();
				widenSingle(x, f.let(wide(bits)), source.se, source.mantissa, denormal);
				special(x, calls, form, slot, value, { se: source.se.value, mantissa: source.mantissa.value }, denormal.value);
			},
		);
	});

	/** (cpu, signed integer): ST(0) with it. */
	defineCore(`x87${form.name}Int`, ["i32", "i32"], undefined, (f, calls) => {
		const x = new X87(f);
		const { slot, value } = topOperand(x, calls);
		const source = widenInt(x, f.param(1));
		shortWay(
			x,
			(otherwise) => {
				unlessOrdinary(x, otherwise, value);
				unlessOrdinary(x, otherwise, source);
				compute(x, calls, form, slot, value, source);
			},
			() => special(x, calls, form, slot, value, source, i32(0)),
		);
	});
}

/** A signed 32-bit integer as an extended value. */
export function widenInt(x: X87, value: Expr): Ext {
	const { f } = x;
	const isNegative = f.let(shr(value, 31));
	const magnitude = f.let(wide(select(isNegative, negate(value), value)));
	const n = f.let(clz(magnitude));
	return {
		se: f.let(select(ne(value, 0), or(shl(isNegative, 15), sub(i32(BIAS + 63), narrow(n))), i32(0))),
		mantissa: f.let(select(ne(value, 0), shl(magnitude, n), i64(0))),
	};
}
