/** FCOM, FUCOM, FICOM, FCOMI, FUCOMI, FTST, FXAM. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import { widenInt } from "./f80-arith.ts";
import { add, and, EXP_MAX, type Ext, eq, eqz, FSW, gtU, ltU, ne, or, shl, shr, wide, X87, xor } from "./f80-emit.ts";
import { exponentOf, isDenormal, isNan, isSignalling, isUnsupported, signOf, widenDouble, widenSingle } from "./f80-special.ts";
import { defineCore } from "./registry.ts";

const UNORDERED = FSW.C3 | FSW.C2 | FSW.C0;
/** Bit of the comparison's answer: an unmasked exception came before it. */
const STOPPED = 1;

/** (cpu, a, b, isQuiet, denormal) → C3, C2, C0 where the status word has them, with STOPPED. */
defineCore("f80Compare", ["i32", "i32", "i64", "i32", "i64", "i32", "i32"], "i32", (f, calls) => {
	const x = new X87(f);
	const a: Ext = { se: f.param(1), mantissa: f.param(2) };
	const b: Ext = { se: f.param(3), mantissa: f.param(4) };
	const raise = (flag: number) => f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(flag)]);
	const unsupported = f.let(or(isUnsupported(a), isUnsupported(b)));
	const nan = or(isNan(a), isNan(b));
	f.if(or(unsupported, nan), () => {
		const signals = or(isSignalling(a), isSignalling(b));
		f.if(or(unsupported, or(eqz(f.param(5)), signals)), () => {
			f.if(raise(FSW.IE), () => f.return(i32(UNORDERED | STOPPED)));
		});
		f.return(i32(UNORDERED));
	});
	const stopped = x.variable32(i32(0));
	f.if(or(f.param(6), or(isDenormal(a), isDenormal(b))), () => {
		stopped.value = ne(raise(FSW.DE), 0);
	});
	const answer = (cc: Expr) => f.return(or(cc, stopped.value));
	f.if(eqz(or(a.mantissa, b.mantissa)), () => answer(i32(FSW.C3)));
	f.if(and(xor(a.se, b.se), 0x8000), () => answer(select(signOf(a), i32(FSW.C0), i32(0))));
	// Exponent 0 weighs as much as exponent 1.
	const weight = (v: Ext) => f.let(add(exponentOf(v), and(eqz(exponentOf(v)), ne(v.mantissa, 0))));
	const ea = weight(a);
	const eb = weight(b);
	const isSame = f.let(eq(ea, eb));
	f.if(and(isSame, eq(a.mantissa, b.mantissa)), () => answer(i32(FSW.C3)));
	const isLess = or(ltU(ea, eb), and(isSame, ltU(a.mantissa, b.mantissa)));
	answer(shl(xor(isLess, ne(signOf(a), 0)), 8));
});

/** Takes an answer into the status word, C1 = 0; pops as often as asked. */
function conclude(x: X87, answer: Expr, pops: Expr): void {
	const { f } = x;
	x.setField("fsw", or(and(x.field("fsw"), ~(UNORDERED | FSW.C1)), and(answer, UNORDERED)));
	f.if(and(answer, STOPPED), () => f.return());
	f.if(pops, () => {
		x.pop();
		f.if(gtU(pops, 1), () => x.pop());
	});
}

/** An operand was empty: unordered, invalid. */
function emptyAnswer(x: X87, calls: Callables): Expr {
	const { f } = x;
	x.clearC1();
	return or(i32(UNORDERED), ne(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE | FSW.SF)]), 0));
}

/** (cpu, i, isQuiet, pops): ST(0) with ST(i). */
defineCore("x87Compare", ["i32", "i32", "i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	conclude(x, compareRegisters(x, calls), f.param(3));
});

/** Parameters 1 and 2: i, isQuiet. */
function compareRegisters(x: X87, calls: Callables): Expr {
	const { f } = x;
	const top = f.let(x.field("ftop"));
	const other = x.physical(top, f.param(1));
	const answer = x.variable32();
	f.if(
		or(x.isEmpty(top), x.isEmpty(other)),
		() => {
			answer.value = emptyAnswer(x, calls);
		},
		() => {
			const a = x.load(x.slot(top));
			const b = x.load(x.slot(other));
			answer.value = f.callLet(calls.index("f80Compare"), "i32", [x.cpu, a.se, a.mantissa, b.se, b.mantissa, f.param(2), i32(0)]);
		},
	);
	return answer.value;
}

/** (cpu, i, isQuiet, pops) → ZF, PF, CF as RFLAGS has them; FCOMI and relatives. C1 is left alone unless the stack underflows. */
defineCore("x87CompareFlags", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const x = new X87(f);
	const answer = f.let(compareRegisters(x, calls));
	f.if(and(eqz(and(answer, STOPPED)), f.param(3)), () => x.pop());
	// C3, C2, C0 (bits 14, 10, 8) → ZF, PF, CF (bits 6, 2, 0).
	f.return(shr(and(answer, UNORDERED), 8));
});

function compareWith(name: string, type: "i32" | "i64", widen: (x: X87, operand: Expr) => { value: Ext; denormal: Expr }): void {
	/** (cpu, operand, pops): ST(0) with it. */
	defineCore(name, ["i32", type, "i32"], undefined, (f, calls) => {
		const x = new X87(f);
		const top = f.let(x.field("ftop"));
		const answer = x.variable32();
		f.if(
			x.isEmpty(top),
			() => {
				answer.value = emptyAnswer(x, calls);
			},
			() => {
				const a = x.load(x.slot(top));
				const { value: b, denormal } = widen(x, f.param(1));
				answer.value = f.callLet(calls.index("f80Compare"), "i32", [x.cpu, a.se, a.mantissa, b.se, b.mantissa, i32(0), denormal]);
			},
		);
		conclude(x, answer.value, f.param(2));
	});
}

function widened(x: X87, bits: Expr, widen: typeof widenDouble): { value: Ext; denormal: Expr } {
	const se = x.variable32();
	const mantissa = x.variable64();
	const denormal = x.variable32();
	widen(x, bits, se, mantissa, denormal);
	return { value: { se: se.value, mantissa: mantissa.value }, denormal: denormal.value };
}

compareWith("x87CompareDouble", "i64", (x, bits) => widened(x, bits, widenDouble));
compareWith("x87CompareSingle", "i32", (x, bits) => widened(x, x.f.let(wide(bits)), widenSingle));
compareWith("x87CompareInt", "i32", (x, value) => ({ value: widenInt(x, value), denormal: i32(0) }));
/** FTST: the operand is +0. */
compareWith("x87Test", "i32", () => ({ value: { se: i32(0), mantissa: i64(0) }, denormal: i32(0) }));

/** (cpu): C3, C2, C0 name the class of ST(0), C1 its sign (SDM Vol. 2A, FXAM, table 3-42). */
defineCore("x87Examine", ["i32"], undefined, (f) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const value = x.load(x.slot(top));
	const e = f.let(exponentOf(value));
	const cls = x.variable32(i32(FSW.C2));
	const becomes = (condition: Expr, bits: number) =>
		f.if(condition, () => {
			cls.value = i32(bits);
		});
	becomes(eq(e, EXP_MAX), FSW.C0);
	becomes(and(eq(e, EXP_MAX), eqz(shl(value.mantissa, 1))), FSW.C2 | FSW.C0);
	becomes(eqz(e), FSW.C3 | FSW.C2);
	becomes(and(eqz(e), eqz(value.mantissa)), FSW.C3);
	becomes(isUnsupported(value), 0);
	becomes(x.isEmpty(top), FSW.C3 | FSW.C0);
	const sign = shr(signOf(value), 6);
	x.setField("fsw", or(and(x.field("fsw"), ~(UNORDERED | FSW.C1)), or(cls.value, sign)));
});
