/** Data transfer: loads, stores, exchange, conditional moves (SDM Vol. 1 §8.3.3, §8.3.4). */
import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import type { ModifyPlace, Ops } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
import { define, type Meaning } from "./registry.ts";
import { guardFloats, guardX87, knownStackIndex, record, stackIndex } from "./x87-state.ts";

/** `address` + delta, as address arithmetic of the instruction's address size has it. */
export function addressPlus(o: Ops, address: Expr, delta: number | Expr): Expr {
	const wide = address.type === "i64";
	const by = typeof delta === "number" ? (wide ? i64(delta) : i32(delta)) : delta;
	const sum = op(wide ? "i64Add" : "i32Add", address, by);
	if (o.insn.addrBits === 16) return o.f.let(op("i32And", sum, i32(0xffff)));
	if (wide && o.insn.addrBits === 32) return o.f.let(op("i64And", sum, i64(0xffff_ffffn)));
	return o.f.let(sum);
}

function loadTen(o: Ops, address: Expr, core: string): void {
	const low = o.load({ operand: 0 }, address, 8);
	const high = o.load({ operand: 0 }, addressPlus(o, address, 8), 2);
	record(o, address);
	o.coreVoid(core, o.cpu, low, high);
}

define("FLD", (o) => {
	if (!o.isMem(0)) {
		guardFloats(o);
		record(o);
		if (o.floats === undefined) o.coreVoid("x87LoadRegister", o.cpu, stackIndex(o, 0));
		else o.floats.loadRegister(knownStackIndex(o, 0));
		return;
	}
	const bytes = (o.insn.operands[0] as { bytes: 4 | 8 | 10 }).bytes;
	if (bytes === 10) {
		guardX87(o);
		loadTen(o, o.address(0), "x87Load");
		return;
	}
	guardFloats(o);
	const address = o.address(0);
	const value = o.load({ operand: 0 }, address, bytes);
	record(o, address);
	if (o.floats !== undefined) o.floats.load(value, bytes);
	else o.coreVoid(bytes === 8 ? "x87LoadDouble" : "x87LoadSingle", o.cpu, value);
});

define("FILD", (o) => {
	guardX87(o);
	const address = o.address(0);
	const bytes = (o.insn.operands[0] as { bytes: 2 | 4 | 8 }).bytes;
	const value = o.load({ operand: 0 }, address, bytes);
	record(o, address);
	const signed = bytes === 8 ? value : op("i64ExtendI32S", bytes === 2 ? op("i32Extend16S", value) : value);
	o.coreVoid("x87LoadInt", o.cpu, signed);
});

/** The place is checked before x87 state changes; the core function stores where it can, else this does. */
function store(o: Ops, core: string, bytes: 2 | 4 | 8, pops: boolean): void {
	const address = o.address(0);
	const place = o.probe({ operand: 0 }, address, bytes);
	record(o, address);
	const isLeft = o.core(core, "i32", o.cpu, place.host, i32(pops ? 1 : 0));
	o.f.if(isLeft, () => {
		o.storePlace(place, loadOp(bytes === 8 ? "i64Load" : "i32Load", o.cpu, at("arg3")));
		if (pops) o.coreVoid("x87Pop", o.cpu);
	});
}

/** Ten bytes: `core` leaves them in arg2 and arg3, unless an unmasked exception forbids the store. */
function storeTen(o: Ops, core: string): void {
	const address = o.address(0);
	const mantissa: ModifyPlace = o.probe({ operand: 0 }, address, 8);
	const se = o.probe({ operand: 0 }, addressPlus(o, address, 8), 2);
	record(o, address);
	o.f.if(op("i32Eqz", o.core(core, "i32", o.cpu)), () => {
		const value = o.field64("arg2");
		const upper = o.field32("arg3");
		o.storePlace(mantissa, value);
		o.storePlace(se, upper);
		o.coreVoid("x87Pop", o.cpu);
	});
}

function storeReal(pops: boolean): Meaning {
	return (o) => {
		if (!o.isMem(0)) {
			guardFloats(o);
			record(o);
			if (o.floats === undefined) o.coreVoid("x87StoreRegister", o.cpu, stackIndex(o, 0), i32(pops ? 1 : 0));
			else o.floats.storeRegister(knownStackIndex(o, 0), pops);
			return;
		}
		const bytes = (o.insn.operands[0] as { bytes: 4 | 8 | 10 }).bytes;
		if (bytes !== 10 && o.floats !== undefined) {
			guardFloats(o);
			const address = o.address(0);
			const { host } = o.probe({ operand: 0 }, address, bytes);
			record(o, address);
			o.floats.store(host, bytes, pops);
			return;
		}
		guardX87(o);
		if (bytes === 10) storeTen(o, "x87Read");
		else store(o, bytes === 8 ? "x87StoreDouble" : "x87StoreSingle", bytes, pops);
	};
}

define("FST", storeReal(false));
define("FSTP", storeReal(true));
define("FSTPNCE", (o) => {
	guardX87(o);
	record(o);
	o.coreVoid("x87StoreQuietly", o.cpu, stackIndex(o, 0));
});

function storeInteger(name: "Store" | "Truncate", pops: boolean): Meaning {
	return (o) => {
		guardX87(o);
		const bytes = (o.insn.operands[0] as { bytes: 2 | 4 | 8 }).bytes;
		store(o, `x87${name}Int${bytes * 8}`, bytes, pops);
	};
}

define("FIST", storeInteger("Store", false));
define("FISTP", storeInteger("Store", true));
define("FISTTP", storeInteger("Truncate", true));

define("FBLD", (o) => {
	guardX87(o);
	loadTen(o, o.address(0), "x87LoadDecimal");
});

define("FBSTP", (o) => {
	guardX87(o);
	storeTen(o, "x87ReadDecimal");
});

define("FXCH", (o) => {
	guardFloats(o);
	record(o);
	if (o.floats === undefined) o.coreVoid("x87Exchange", o.cpu, stackIndex(o, 1));
	else o.floats.exchange(knownStackIndex(o, 1));
});

/** Condition codes 2 B, 4 E, 6 BE, 10 U (PF). */
const MOVES: Record<string, number> = { B: 2, E: 4, BE: 6, U: 10, NB: 3, NE: 5, NBE: 7, NU: 11 };
for (const [suffix, cc] of Object.entries(MOVES)) {
	define(`FCMOV${suffix}`, (o) => {
		guardX87(o);
		const condition = o.f.let(o.condition(cc));
		record(o);
		o.coreVoid("x87Move", o.cpu, stackIndex(o, 1), condition);
	});
}

/** Significand and exponent of the constants, rounded to nearest; π and the logarithms lie between two values (see below). */
interface Constant {
	readonly exponent: number;
	readonly mantissa: bigint;
	/** Rounded to nearest it went up: rounding down or toward zero gives one less. */
	readonly wentUp?: boolean;
	/** Rounded to nearest it went down: rounding up gives one more. */
	readonly wentDown?: boolean;
}

const CONSTANTS: Record<string, Constant> = {
	FLD1: { exponent: 0x3fff, mantissa: 0x8000_0000_0000_0000n },
	FLDL2T: { exponent: 0x4000, mantissa: 0xd49a_784b_cd1b_8afen, wentDown: true },
	FLDL2E: { exponent: 0x3fff, mantissa: 0xb8aa_3b29_5c17_f0bcn, wentUp: true },
	FLDPI: { exponent: 0x4000, mantissa: 0xc90f_daa2_2168_c235n, wentUp: true },
	FLDLG2: { exponent: 0x3ffd, mantissa: 0x9a20_9a84_fbcf_f799n, wentUp: true },
	FLDLN2: { exponent: 0x3ffe, mantissa: 0xb172_17f7_d1cf_79acn, wentUp: true },
	FLDZ: { exponent: 0, mantissa: 0n },
};

for (const [mnemonic, c] of Object.entries(CONSTANTS)) {
	define(mnemonic, (o) => {
		guardX87(o);
		record(o);
		let mantissa: Expr = i64(c.mantissa);
		if (c.wentUp || c.wentDown) {
			// RC is at bits 11:10; constants follow it (SDM Vol. 1 §8.3.4).
			const rc = op("i32And", op("i32ShrU", o.field32("fcw"), i32(10)), i32(3));
			const shifts = c.wentUp ? op("i32And", rc, i32(1)) : op("i32Eq", rc, i32(2));
			mantissa = op(c.wentUp ? "i64Sub" : "i64Add", mantissa, op("i64ExtendI32U", shifts));
		}
		o.coreVoid("x87Load", o.cpu, mantissa, i32(c.exponent));
	});
}
