/**
 * The x87 state as FNSTENV, FNSAVE, FLDENV and FRSTOR have it in memory (SDM Vol. 1 §8.1.10, figures 8-9 to 8-12), built and
 * taken apart in the field `x87Image`.
 */
import { type Expr, i32, loadOp, select } from "../../wasm/expr.ts";
import { FLAG } from "../state/flags.ts";
import { at } from "../state/layout.ts";
import { add, and, EXP_MAX, eq, eqz, geS, narrow, ne, or, shl, shr, wide, X87, xor } from "./f80-emit.ts";
import { defineCore } from "./registry.ts";

const TAG = { valid: 0, zero: 1, special: 2, empty: 3 } as const;

/** (cpu) → the tag word, two bits for each physical register. */
defineCore("x87TagWord", ["i32"], "i32", (f) => {
	const x = new X87(f);
	const word = x.variable32(i32(0));
	for (let i = 0; i < 8; i++) {
		const e = and(loadOp("i32Load16U", x.cpu, at("fpr", i) + 8), EXP_MAX);
		const mantissa = loadOp("i64Load", x.cpu, at("fpr", i));
		const isOdd = or(eq(e, EXP_MAX), select(e, geS(mantissa, 0), ne(mantissa, 0)));
		const kind = select(isOdd, i32(TAG.special), select(e, i32(TAG.valid), i32(TAG.zero)));
		word.value = or(word.value, shl(select(x.isEmpty(i32(i)), i32(TAG.empty), kind), 2 * i));
	}
	f.return(word.value);
});

/** Real-address and virtual-8086 mode have a format of their own: linear addresses instead of selector and offset. */
function isRealFormat(x: X87): Expr {
	const isVirtual = ne(and(x.field("flags"), FLAG.VM), 0);
	return or(eqz(and(x.field("cr0"), 1)), isVirtual);
}

function field64(x: X87, name: "fip" | "fdp"): Expr {
	return narrow(loadOp("i64Load", x.cpu, at(name)));
}

/** (cpu, is32): the environment, 28 or 14 bytes. */
defineCore("x87BuildEnvironment", ["i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const status = f.let(or(x.field("fsw"), shl(x.field("ftop"), 11)));
	const tags = f.callLet(calls.index("x87TagWord"), "i32", [x.cpu]);
	const real = f.let(isRealFormat(x));
	const fip = f.let(field64(x, "fip"));
	const fdp = f.let(field64(x, "fdp"));
	const fop = f.let(and(x.field("fop"), 0x7ff));
	const put32 = (offset: number, value: Expr) => f.store("i32Store", x.cpu, value, at("x87Image") + offset);
	const put16 = (offset: number, value: Expr) => f.store("i32Store16", x.cpu, value, at("x87Image") + offset);
	const reserved = i32(-0x10000);
	f.if(
		f.param(1),
		() => {
			put32(0, or(x.field("fcw"), reserved));
			put32(4, or(status, reserved));
			put32(8, or(tags, reserved));
			f.if(
				real,
				() => {
					put32(12, or(and(fip, 0xffff), reserved));
					put32(16, or(shl(shr(fip, 16), 12), fop));
					put32(20, or(and(fdp, 0xffff), reserved));
					put32(24, shl(shr(fdp, 16), 12));
				},
				() => {
					put32(12, fip);
					put32(16, or(x.field("fipSelector"), shl(fop, 16)));
					put32(20, fdp);
					put32(24, or(x.field("fdpSelector"), reserved));
				},
			);
		},
		() => {
			put16(0, x.field("fcw"));
			put16(2, status);
			put16(4, tags);
			put16(6, fip);
			put16(8, select(real, or(shl(shr(fip, 16), 12), fop), x.field("fipSelector")));
			put16(10, fdp);
			put16(12, select(real, shl(shr(fdp, 16), 12), x.field("fdpSelector")));
		},
	);
});

/** (cpu, offset): ST(0) to ST(7), ten bytes each, into the image. */
defineCore("x87BuildRegisters", ["i32", "i32"], undefined, (f) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const to = x.variable32(add(x.cpu, f.param(1)));
	for (let i = 0; i < 8; i++) {
		const value = x.load(x.slot(x.physical(top, i)));
		f.store("i64Store", to.value, value.mantissa, at("x87Image") + 10 * i);
		f.store("i32Store16", to.value, value.se, at("x87Image") + 10 * i + 8);
	}
});

/** (cpu, is32): what x87BuildEnvironment made, or the guest did, comes into force. */
defineCore("x87TakeEnvironment", ["i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const get32 = (offset: number) => loadOp("i32Load", x.cpu, at("x87Image") + offset);
	const get16 = (offset: number) => loadOp("i32Load16U", x.cpu, at("x87Image") + offset);
	const real = f.let(isRealFormat(x));
	const is32 = f.param(1);
	const pick = (offset: number) => f.let(select(is32, get16(2 * offset), get16(offset)));
	const fcw = pick(0);
	const status = pick(2);
	const tags = pick(4);
	x.setField("ftop", and(shr(status, 11), 7));
	x.setField("fsw", and(status, 0xffff & ~(7 << 11)));
	// Takes a pair of ones together.
	const empty = f.let(and(and(tags, shr(tags, 1)), 0x5555));
	const valid = x.variable32(i32(0));
	for (let i = 0; i < 8; i++) valid.value = or(valid.value, shl(and(xor(shr(empty, 2 * i), 1), 1), i));
	x.setField("ftagValid", valid.value);
	const setPointer = (name: "fip" | "fdp", offset: number) => {
		const upper = select(
			is32,
			select(real, or(and(get32(2 * offset), 0xffff), shl(and(shr(get32(2 * offset + 4), 12), 0xffff), 16)), get32(2 * offset)),
			or(get16(offset), select(real, shl(and(shr(get16(offset + 2), 12), 15), 16), i32(0))),
		);
		x.setField64(name, wide(upper));
	};
	setPointer("fip", 6);
	setPointer("fdp", 10);
	const code = select(is32, select(real, get32(16), shr(get32(16), 16)), select(real, get16(8), i32(0)));
	x.setField("fop", and(code, 0x7ff));
	for (const name of ["fipSelector", "fdpSelector"] as const) x.setField(name, i32(0));
	f.call(calls.index("x87SetControl"), [x.cpu, fcw]);
});

/** (cpu, offset): ST(0) to ST(7) from the image. */
defineCore("x87TakeRegisters", ["i32", "i32"], undefined, (f) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const from = f.let(add(x.cpu, f.param(1)));
	for (let i = 0; i < 8; i++) {
		const mantissa = loadOp("i64Load", from, at("x87Image") + 10 * i);
		const se = loadOp("i32Load16U", from, at("x87Image") + 10 * i + 8);
		x.store(x.slot(x.physical(top, i)), se, mantissa);
	}
});
