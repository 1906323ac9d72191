/** Arithmetic and comparison (SDM Vol. 1 §8.3.5 to §8.3.6); the work is in core/f80-*.ts. */
import { type Expr, i32, op } from "../../wasm/expr.ts";
import type { FloatOperation, RealBytes } from "../emit/floats.ts";
import type { Ops } from "../emit/ops.ts";
import { define, type Meaning } from "./registry.ts";
import { guardFloats, guardX87, knownStackIndex, record, stackIndex } from "./x87-state.ts";

/** A memory operand, loaded before anything changes; integers sign-extended to 32 bits. */
function source(o: Ops, n: number, isInteger: boolean): { value: Expr; suffix: "Double" | "Single" | "Int" } {
	const address = o.address(n);
	const bytes = (o.insn.operands[n] as { bytes: 2 | 4 | 8 }).bytes;
	const value = o.load({ operand: n }, address, bytes);
	record(o, address);
	if (!isInteger) return { value, suffix: bytes === 8 ? "Double" : "Single" };
	return { value: bytes === 2 ? op("i32Extend16S", value) : value, suffix: "Int" };
}

function arithmetic(name: string, pops: boolean, isInteger: boolean): Meaning {
	return (o) => {
		guardX87(o);
		if (o.isMem(0)) {
			const { value, suffix } = source(o, 0, isInteger);
			o.coreVoid(`x87${name}${suffix}`, o.cpu, value);
			return;
		}
		record(o);
		o.coreVoid(`x87${name}`, o.cpu, stackIndex(o, 0), stackIndex(o, 1), i32(pops ? 1 : 0));
	};
}

/** As `arithmetic`, in line where the reading has that. */
function shortArithmetic(name: FloatOperation, pops: boolean): Meaning {
	const whole = arithmetic(name, pops, false);
	return (o) => {
		const { floats } = o;
		if (floats === undefined) {
			whole(o);
			return;
		}
		guardFloats(o);
		if (o.isMem(0)) {
			const { bytes } = o.insn.operands[0] as { bytes: RealBytes };
			floats.computeWith(name, source(o, 0, false).value, bytes);
			return;
		}
		record(o);
		floats.compute(name, knownStackIndex(o, 0), knownStackIndex(o, 1), pops);
	};
}

for (const name of ["Add", "Sub", "Subr", "Mul"] as const) {
	const mnemonic = name.toUpperCase();
	define(`F${mnemonic}`, shortArithmetic(name, false));
	define(`F${mnemonic}P`, shortArithmetic(name, true));
}
for (const name of ["Div", "Divr"]) {
	const mnemonic = name.toUpperCase();
	define(`F${mnemonic}`, arithmetic(name, false, false));
	define(`F${mnemonic}P`, arithmetic(name, true, false));
}
for (const name of ["Add", "Sub", "Subr", "Mul", "Div", "Divr"]) define(`FI${name.toUpperCase()}`, arithmetic(name, false, true));

function compare(isQuiet: boolean, pops: number, isInteger = false): Meaning {
	return (o) => {
		guardX87(o);
		if (o.isMem(0)) {
			const { value, suffix } = source(o, 0, isInteger);
			o.coreVoid(`x87Compare${suffix}`, o.cpu, value, i32(pops));
			return;
		}
		record(o);
		const other = o.insn.operands.length > 1 ? stackIndex(o, 1) : i32(1);
		o.coreVoid("x87Compare", o.cpu, other, i32(isQuiet ? 1 : 0), i32(pops));
	};
}

define("FCOM", compare(false, 0));
define("FCOMP", compare(false, 1));
define("FCOMPP", compare(false, 2));
define("FUCOM", compare(true, 0));
define("FUCOMP", compare(true, 1));
define("FUCOMPP", compare(true, 2));
define("FICOM", compare(false, 0, true));
define("FICOMP", compare(false, 1, true));

function compareFlags(isQuiet: boolean, pops: number): Meaning {
	return (o) => {
		guardX87(o);
		record(o);
		const flags = o.core("x87CompareFlags", "i32", o.cpu, stackIndex(o, 1), i32(isQuiet ? 1 : 0), i32(pops));
		o.setFlags("image", 32, flags);
	};
}

define("FCOMI", compareFlags(false, 0));
define("FCOMIP", compareFlags(false, 1));
define("FUCOMI", compareFlags(true, 0));
define("FUCOMIP", compareFlags(true, 1));

/** Instructions on ST(0) alone, or on ST(0) and ST(1), that are one core function. */
function plain(core: string, ...args: number[]): Meaning {
	return (o) => {
		guardX87(o);
		record(o);
		o.coreVoid(core, o.cpu, ...args.map(i32));
	};
}

function sign(keep: number, flip: number): Meaning {
	const whole = plain("x87Sign", keep, flip);
	return (o) => {
		if (o.floats === undefined) {
			whole(o);
			return;
		}
		guardFloats(o);
		record(o);
		o.floats.sign(keep, flip);
	};
}

define("FTST", plain("x87Test", 0, 0));
define("FXAM", plain("x87Examine"));
define("FCHS", sign(0xffff, 0x8000));
define("FABS", sign(0x7fff, 0));
define("FSQRT", plain("x87Sqrt"));
define("FRNDINT", plain("x87RoundToInteger"));
define("FSCALE", plain("x87Scale"));
define("FXTRACT", plain("x87Extract"));
define("FPREM", plain("x87Remainder"));
define("FPREM1", plain("x87RemainderNearest"));
define("FSIN", plain("x87Sine"));
define("FCOS", plain("x87Cosine"));
define("FSINCOS", plain("x87SineCosine"));
define("FPTAN", plain("x87Tangent"));
define("FPATAN", plain("x87Arctangent"));
define("FYL2X", plain("x87Log"));
define("FYL2XP1", plain("x87LogPlusOne"));
define("F2XM1", plain("x87Exponential"));
