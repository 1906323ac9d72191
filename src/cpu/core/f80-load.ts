/** FLD and FILD: what they push. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import {
	add,
	and,
	BIAS,
	clz,
	type Ext,
	eqz,
	FSW,
	INDEFINITE_MANTISSA,
	INDEFINITE_SE,
	ltS,
	ltU,
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
} from "./f80-emit.ts";
import { isSignalling, widenDouble, widenSingle } from "./f80-special.ts";
import { defineCore } from "./registry.ts";

/** (cpu): a push met a full register. The indefinite is pushed, unless unmasked. */
defineCore("x87Overflow", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE | FSW.SF | FSW.C1)]), () => f.return());
	const top = x.physical(x.field("ftop"), -1);
	x.storeIndefinite(x.slot(top));
	x.setField("ftop", top);
});

/** Returns early on overflow. The register that a push will fill. */
function newTop(x: X87, calls: Callables): Expr {
	const { f } = x;
	const top = x.physical(x.field("ftop"), -1);
	f.if(eqz(x.isEmpty(top)), () => {
		f.call(calls.index("x87Overflow"), [x.cpu]);
		f.return();
	});
	return top;
}

function push(x: X87, top: Expr, value: Ext): void {
	x.store(x.slot(top), value.se, value.mantissa);
	x.setField("ftop", top);
	x.markValid(top);
}

/** (cpu, mantissa, sign and exponent): FLD m80 and the constants; raises nothing but overflow. */
defineCore("x87Load", ["i32", "i64", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = newTop(x, calls);
	push(x, top, { se: f.param(2), mantissa: f.param(1) });
	x.clearC1();
});

/** (cpu, i): FLD ST(i). An empty source counts before a full destination. */
defineCore("x87LoadRegister", ["i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = x.physical(x.field("ftop"), -1);
	const from = x.physical(x.field("ftop"), f.param(1));
	x.clearC1();
	f.if(x.isEmpty(from), () => {
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE | FSW.SF)]), () => f.return());
		push(x, top, { se: i32(INDEFINITE_SE), mantissa: i64(INDEFINITE_MANTISSA) });
		f.return();
	});
	f.if(eqz(x.isEmpty(top)), () => {
		f.call(calls.index("x87Overflow"), [x.cpu]);
		f.return();
	});
	push(x, top, x.load(x.slot(from)));
});

/** (cpu, signed integer). */
defineCore("x87LoadInt", ["i32", "i64"], undefined, (f, calls) => {
	const x = new X87(f);
	const value = f.param(1);
	const top = newTop(x, calls);
	const isNegative = f.let(ltS(value, 0));
	const magnitude = f.let(select(isNegative, negate(value), value));
	const n = f.let(clz(magnitude));
	const se = select(ne(value, 0), or(shl(isNegative, 15), sub(i32(BIAS + 63), narrow(n))), i32(0));
	push(x, top, { se, mantissa: shl(magnitude, n) });
	x.clearC1();
});

function special(x: X87, calls: Callables, top: Expr, widen: typeof widenDouble, bits: Expr): void {
	const { f } = x;
	const se = x.variable32();
	const mantissa = x.variable64();
	const denormal = x.variable32();
	x.clearC1();
	widen(x, bits, se, mantissa, denormal);
	f.if(isSignalling({ se: se.value, mantissa: mantissa.value }), () => {
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE)]), () => f.return());
		mantissa.value = or(mantissa.value, 1n << 62n);
	});
	// An unmasked denormal exception does not keep the value from being pushed.
	f.if(denormal.value, () => f.call(calls.index("f80Raise"), [x.cpu, i32(FSW.DE)], true));
	push(x, top, { se: se.value, mantissa: mantissa.value });
}

/** (cpu, bits of a double). */
defineCore("x87LoadDouble", ["i32", "i64"], undefined, (f, calls) => {
	const x = new X87(f);
	const bits = f.param(1);
	const top = newTop(x, calls);
	const e = f.let(and(narrow(shr(bits, 52)), 0x7ff));
	const sign = and(narrow(shr(bits, 48)), 0x8000);
	f.if(
		ltU(sub(e, 1), 0x7fe),
		() => {
			push(x, top, { se: or(sign, add(e, BIAS - 1023)), mantissa: or(shl(bits, 11), TOP_BIT) });
			x.clearC1();
		},
		() => special(x, calls, top, widenDouble, bits),
	);
});

/** (cpu, bits of a single). */
defineCore("x87LoadSingle", ["i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const bits = f.param(1);
	const top = newTop(x, calls);
	const e = f.let(and(shr(bits, 23), 0xff));
	f.if(
		ltU(sub(e, 1), 0xfe),
		() => {
			const se = or(and(shr(bits, 16), 0x8000), add(e, BIAS - 127));
			push(x, top, { se, mantissa: or(shl(wide(bits), 40), TOP_BIT) });
			x.clearC1();
		},
		() => special(x, calls, top, widenSingle, f.let(wide(bits))),
	);
});
