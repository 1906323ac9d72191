/** FPREM and FPREM1. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import {
	add,
	and,
	clz,
	EXP_MAX,
	type Ext,
	eq,
	eqz,
	FSW,
	geS,
	gtU,
	ltS,
	narrow,
	ne,
	or,
	shl,
	shr,
	sub,
	wide,
	X87,
	xor,
} from "./f80-emit.ts";
import { divideWide } from "./f80-mul.ts";
import { exponentOf, normalise, signOf } from "./f80-special.ts";
import { answerInvalid, answerNan, reportDenormal } from "./f80-unary.ts";
import { defineCore } from "./registry.ts";

const CODES = FSW.C0 | FSW.C1 | FSW.C2 | FSW.C3;

function remainder(x: X87, calls: Callables, isNearest: boolean): void {
	const { f } = x;
	const top = f.let(x.field("ftop"));
	const other = x.physical(top, 1);
	x.setField("fsw", and(x.field("fsw"), ~FSW.C2));
	f.if(or(x.isEmpty(top), x.isEmpty(other)), () => {
		f.call(calls.index("x87Underflow"), [x.cpu, top], true);
		f.return();
	});
	const slot = x.slot(top);
	const dividend = x.load(slot);
	const divisor = x.load(x.slot(other));
	answerNan(x, calls, slot, dividend, divisor);
	const isInfinite = (v: Ext) => eq(exponentOf(v), EXP_MAX);
	f.if(or(isInfinite(dividend), eqz(divisor.mantissa)), () => answerInvalid(x, calls, slot));
	reportDenormal(x, calls, dividend, divisor);
	const setCodes = (codes: Expr) => x.setField("fsw", or(and(x.field("fsw"), ~CODES), codes));
	f.if(or(isInfinite(divisor), eqz(dividend.mantissa)), () => {
		setCodes(i32(0));
		keep(x, calls, slot, dividend);
	});
	const a = normalise(x, dividend);
	const b = normalise(x, divisor);
	const distance = f.let(sub(a.exponent, b.exponent));
	f.if(ltS(distance, isNearest ? -1 : 0), () => {
		setCodes(i32(0));
		keep(x, calls, slot, dividend);
	});
	const sign = x.variable32(signOf(dividend));
	const rest = x.variable64();
	const quotient = x.variable64(i64(0));
	const exponent = x.variable32(b.exponent);
	const codes = x.variable32(i32(0));
	f.block((done) => {
		if (isNearest) {
			// Half the divisor's size: nothing, or the divisor once.
			f.if(ltS(distance, 0), () => {
				rest.value = a.mantissa;
				exponent.value = a.exponent;
				f.if(gtU(a.mantissa, b.mantissa), () => {
					rest.value = sub(shl(b.mantissa, 1), a.mantissa);
					quotient.value = i64(1);
					sign.value = xor(sign.value, 0x8000);
				});
				f.br(done);
			});
		}
		// Complete up to 63 bits of quotient; else 32 to 63 of them are dealt with, how many is the processor's choice.
		const isPartial = f.let(geS(distance, 64));
		const bits = f.let(wide(select(isPartial, or(and(distance, 31), 32), distance)));
		exponent.value = sub(a.exponent, narrow(bits));
		const hi = f.let(shr(shr(a.mantissa, 1), xor(bits, 63)));
		const answer = divideWide(x, hi, f.let(shl(a.mantissa, bits)), b.mantissa);
		rest.value = answer.remainder;
		f.if(isPartial, () => {
			codes.value = i32(FSW.C2);
			f.br(done);
		});
		quotient.value = answer.quotient;
		if (isNearest) {
			const left = f.let(sub(b.mantissa, rest.value));
			f.if(or(gtU(rest.value, left), and(eq(rest.value, left), narrow(and(quotient.value, 1)))), () => {
				rest.value = left;
				quotient.value = add(quotient.value, 1);
				sign.value = xor(sign.value, 0x8000);
			});
		}
	});
	// Bits 2, 1, 0 of the quotient.
	const q = f.let(narrow(quotient.value));
	codes.value = or(codes.value, or(shl(and(q, 4), 6), or(shl(and(q, 2), 13), shl(and(q, 1), 9))));
	f.if(
		eqz(rest.value),
		() => x.store(slot, signOf(dividend), i64(0)),
		() => {
			const n = f.let(clz(rest.value));
			f.call(calls.index("f80RoundExtended"), [x.cpu, slot, sign.value, sub(exponent.value, narrow(n)), shl(rest.value, n), i64(0)]);
		},
	);
	setCodes(codes.value);
}

/** The dividend is the answer; a denormal one may still underflow. Returns from the function. */
function keep(x: X87, calls: Callables, slot: Expr, value: Ext): void {
	const { f } = x;
	f.if(ne(value.mantissa, 0), () => {
		const v = normalise(x, value);
		f.call(calls.index("f80RoundExtended"), [x.cpu, slot, signOf(value), v.exponent, v.mantissa, i64(0)]);
	});
	f.return();
}

defineCore("x87Remainder", ["i32"], undefined, (f, calls) => remainder(new X87(f), calls, false));
defineCore("x87RemainderNearest", ["i32"], undefined, (f, calls) => remainder(new X87(f), calls, true));
