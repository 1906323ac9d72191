/**
 * Rounding and exceptions of 80-bit extended arithmetic (Intel SDM Vol. 1 §4.8.4 "Rounding", §8.5 "x87 FPU Floating-Point
 * Exception Conditions"). Where the manual leaves a choice, silicon decides: the tests compare with the host's own x87.
 */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import {
	add,
	and,
	BIAS_ADJUST,
	EXCEPTIONS,
	EXP_MAX,
	eq,
	eqz,
	FSW,
	geS,
	geU,
	gtU,
	leS,
	ltS,
	ltU,
	ne,
	or,
	roundingFlags,
	shl,
	shr,
	sub,
	TOP_BIT,
	type Variable,
	wide,
	X87,
	xor,
} from "./f80-emit.ts";
import { defineCore } from "./registry.ts";

/** Control word bits that must read PM = 1, PC = 11 (64 bits), RC = 00 (nearest) for the short way. */
export const SIMPLE_MASK = 0x0f20;
export const SIMPLE = 0x0320;
/** The same with PC = 10 (53 bits). */
const SIMPLE_DOUBLE = 0x0220;

/** (cpu, flags) → those of the flags that are not masked. Sets sticky bits, and ES and B with the first unmasked one. */
defineCore("f80Raise", ["i32", "i32"], "i32", (f) => {
	const x = new X87(f);
	const flags = f.param(1);
	const unmasked = f.let(and(and(flags, EXCEPTIONS), xor(x.field("fcw"), -1)));
	x.setField("fsw", or(or(x.field("fsw"), flags), select(unmasked, i32(FSW.ES | FSW.B), i32(0))));
	f.return(unmasked);
});

/** Whether hi:lo (lo below the last place, sticky) is rounded away from zero. `sign` 0 or 0x8000, `rc` 0 to 3. */
export function roundsUp(rc: Expr, sign: Expr, hi: Expr, lo: Expr): Expr {
	const nearest = gtU(lo, sub(i64(TOP_BIT), and(hi, 1)));
	// Down (1) moves negative values away from zero, up (2) positive ones.
	const directed = and(ne(lo, 0), eq(rc, select(sign, i32(1), i32(2))));
	return select(rc, directed, nearest);
}

/** hi:lo >> count for 0 < count, everything shifted out kept as a sticky last bit. */
export function shiftRightSticky(x: X87, hi: Variable, lo: Variable, count: Expr): void {
	const { f } = x;
	f.if(
		ltU(count, 64),
		() => {
			const n = f.let(wide(count));
			const lost = ne(shl(lo.value, sub(i64(64), n)), 0);
			lo.value = or(or(shl(hi.value, sub(i64(64), n)), shr(lo.value, n)), wide(lost));
			hi.value = shr(hi.value, n);
		},
		() => {
			f.if(
				ltU(count, 128),
				() => {
					const n = f.let(wide(sub(count, 64)));
					const lost = or(ne(lo.value, 0), and(ne(n, 0), ne(shl(hi.value, sub(i64(64), n)), 0)));
					lo.value = or(shr(hi.value, n), wide(lost));
				},
				() => {
					lo.value = wide(ne(or(hi.value, lo.value), 0));
				},
			);
			hi.value = i64(0);
		},
	);
}

/** The short way for 53 bits, rounded to nearest: what many 32-bit systems run with. Parameters as f80Round; returns from it. */
function roundDouble(x: X87, fcw: Expr): void {
	const { f } = x;
	const [slot, sign, exponent, hi, lo] = [1, 2, 3, 4, 5].map((i) => f.param(i)) as [Expr, Expr, Expr, Expr, Expr];
	f.block((otherwise) => {
		f.brIf(otherwise, ne(and(fcw, SIMPLE_MASK), SIMPLE_DOUBLE));
		f.brIf(otherwise, geU(sub(exponent, 1), EXP_MAX - 2));
		const rest = f.let(or(shl(hi, 53), wide(ne(lo, 0))));
		const up = f.let(gtU(rest, sub(i64(TOP_BIT), and(shr(hi, 11), 1))));
		const rounded = f.let(add(and(hi, -0x800), shl(wide(up), 11)));
		f.brIf(otherwise, eqz(rounded));
		x.store(slot, or(sign, exponent), rounded);
		x.clearC1(roundingFlags(ne(rest, 0), up));
		f.return();
	});
}

/**
 * (cpu, slot, sign, exponent, hi, lo): rounds a normalised value (bit 63 of `hi` set; biased exponent of any size; `lo` below
 * the last place, its last bit sticky) as the control word says and stores it, with every exception that follows from it.
 * FSCALE alone gets beyond what an adjusted exponent can hold: then ∞ or zero, whatever the rounding.
 */
function defineRound(name: string, isControlled: boolean): void {
	defineCore(name, ["i32", "i32", "i32", "i32", "i64", "i64"], undefined, (f, calls) => roundAndStore(new X87(f), calls, isControlled));
}

function roundAndStore(x: X87, calls: Callables, isControlled: boolean): void {
	const { f } = x;
	const slot = f.param(1);
	const sign = f.param(2);
	const exponent = x.variable32(f.param(3));
	const hi = x.variable64(f.param(4));
	const lo = x.variable64(f.param(5));
	const fcw = f.let(x.field("fcw"));
	if (isControlled) roundDouble(x, fcw);
	const rc = f.let(and(shr(fcw, 10), 3));
	// Bits of the significand that the precision control leaves out; the reserved 01 counts as extended.
	const precision = f.let(and(shr(fcw, 8), 3));
	const n = isControlled ? f.let(wide(select(and(precision, 1), i32(0), select(precision, i32(11), i32(40))))) : i64(0);
	if (!isControlled) {
		f.if(and(leS(exponent.value, -BIAS_ADJUST), eqz(and(fcw, FSW.UE))), () => {
			x.store(slot, sign, i64(0));
			x.clearC1();
			f.call(calls.index("f80Raise"), [x.cpu, i32(FSW.UE | FSW.PE)], true);
			f.return();
		});
	}
	const isBeyond = f.let(geS(exponent.value, EXP_MAX + BIAS_ADJUST));
	const flags = x.variable32(i32(0));
	const isTiny = x.variable32(i32(0));
	const split = () => {
		f.if(ne(n, 0), () => {
			lo.value = or(shl(hi.value, sub(i64(64), n)), wide(ne(lo.value, 0)));
			hi.value = shr(hi.value, n);
		});
	};
	f.if(leS(exponent.value, 0), () => {
		// Tiny is what stays below the smallest normal number once rounded as if exponents had no end.
		const savedHi = f.let(hi.value);
		const savedLo = f.let(lo.value);
		split();
		const carries = and(roundsUp(rc, sign, hi.value, lo.value), eqz(shl(add(hi.value, 1), n)));
		isTiny.value = eqz(and(eqz(exponent.value), carries));
		hi.value = savedHi;
		lo.value = savedLo;
		f.if(
			and(isTiny.value, eqz(and(fcw, FSW.UE))),
			() => {
				exponent.value = add(exponent.value, BIAS_ADJUST);
				flags.value = i32(FSW.UE);
				isTiny.value = i32(0);
			},
			() => {
				shiftRightSticky(x, hi, lo, sub(i32(1), exponent.value));
				exponent.value = i32(0);
			},
		);
	});
	split();
	const up = x.variable32(roundsUp(rc, sign, hi.value, lo.value));
	f.if(ne(lo.value, 0), () => {
		flags.value = or(or(flags.value, FSW.PE), select(isTiny.value, i32(FSW.UE), i32(0)));
	});
	hi.value = shl(add(hi.value, wide(up.value)), n);
	f.if(and(up.value, eqz(hi.value)), () => {
		hi.value = i64(TOP_BIT);
		exponent.value = add(exponent.value, 1);
	});
	f.if(and(eqz(exponent.value), ltS(hi.value, 0)), () => {
		exponent.value = i32(1);
	});
	f.if(geS(exponent.value, EXP_MAX), () => {
		f.if(
			or(and(fcw, FSW.OE), isBeyond),
			() => {
				flags.value = or(flags.value, FSW.OE | FSW.PE);
				f.if(
					or(or(eqz(rc), eq(rc, select(sign, i32(1), i32(2)))), and(isBeyond, eqz(and(fcw, FSW.OE)))),
					() => {
						hi.value = i64(TOP_BIT);
						exponent.value = i32(EXP_MAX);
						up.value = i32(1);
					},
					() => {
						hi.value = shl(i64(-1), n);
						exponent.value = i32(EXP_MAX - 1);
						up.value = i32(0);
					},
				);
			},
			() => {
				flags.value = or(flags.value, FSW.OE);
				exponent.value = sub(exponent.value, BIAS_ADJUST);
			},
		);
	});
	x.store(slot, or(sign, exponent.value), hi.value);
	x.clearC1(shl(up.value, 9));
	f.if(flags.value, () => f.call(calls.index("f80Raise"), [x.cpu, flags.value], true));
}

defineRound("f80Round", true);
/** The same, whatever the precision control says. */
defineRound("f80RoundExtended", false);

/**
 * The common end of an operation: a result of ordinary size, rounded to nearest at 64 bits, precision exception masked, is
 * finished here; anything else goes to f80Round.
 */
export function finish(x: X87, calls: Callables, slot: Expr, sign: Expr, exponent: Expr, hi: Expr, lo: Expr): void {
	const { f } = x;
	f.block((done) => {
		f.block((otherwise) => {
			f.brIf(otherwise, ne(and(x.field("fcw"), SIMPLE_MASK), SIMPLE));
			f.brIf(otherwise, geU(sub(exponent, 1), EXP_MAX - 2));
			const up = f.let(gtU(lo, sub(i64(TOP_BIT), and(hi, 1))));
			const rounded = f.let(add(hi, wide(up)));
			f.brIf(otherwise, eqz(rounded));
			x.store(slot, or(sign, exponent), rounded);
			x.clearC1(roundingFlags(ne(lo, 0), up));
			f.br(done);
		});
		f.call(calls.index("f80Round"), [x.cpu, slot, sign, exponent, hi, lo]);
	});
}
