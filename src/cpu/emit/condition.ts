import { type Expr, i32, i64, op } from "../../wasm/expr.ts";
import { FLAG, type FlagKind } from "../state/flags.ts";

export type Width = 8 | 16 | 32 | 64;

/** The inputs of the last flag-setting operation, sign-extended from `width`; all three of one type (i32 or i64). */
export interface FlagSource {
	readonly kind: FlagKind;
	readonly width: Width;
	readonly x: Expr;
	readonly y: Expr;
	readonly z: Expr;
	/** A rotate has replaced CF and OF since. */
	readonly turn?: Turn;
}

/** What a rotate leaves: i32, bit 31 is the result's highest. To the left: bit 0 is the lowest; to the right: bit 30 is the second. */
export interface Turn {
	readonly isLeft: boolean;
	readonly value: Expr;
}

const t = (e: Expr) => e.type as "i32" | "i64";
const zero = (e: Expr) => (e.type === "i64" ? i64(0) : i32(0));

/** Sign-extends the low `width` bits within the expression's own type. */
function signExtend(width: Width, e: Expr): Expr {
	if (e.type === "i64") return width === 64 ? e : op(width === 32 ? "i64Extend32S" : width === 16 ? "i64Extend16S" : "i64Extend8S", e);
	return width === 32 ? e : op(width === 16 ? "i32Extend16S" : "i32Extend8S", e);
}

function low(e: Expr): Expr {
	return e.type === "i64" ? op("i32WrapI64", e) : e;
}

function result(s: FlagSource): Expr {
	const type = t(s.x);
	switch (s.kind) {
		case "add":
			return signExtend(s.width, op(`${type}Add`, s.x, s.y));
		case "sub":
			return signExtend(s.width, op(`${type}Sub`, s.x, s.y));
		case "adc":
			return signExtend(s.width, op(`${type}Add`, op(`${type}Add`, s.x, s.y), s.z));
		case "sbb":
			return signExtend(s.width, op(`${type}Sub`, op(`${type}Sub`, s.x, s.y), s.z));
		default:
			return s.x;
	}
}

function flagBit(image: Expr, bit: number): Expr {
	return op("i32And", op("i32ShrU", low(image), i32(31 - Math.clz32(bit))), i32(1));
}

function parityOf(value: Expr): Expr {
	return op("i32Eqz", op("i32And", op("i32Popcnt", op("i32And", low(value), i32(0xff))), i32(1)));
}

const isNegative = (e: Expr) => op(`${t(e)}LtS`, e, zero(e));

const topOf = (turn: Turn) => op("i32ShrU", turn.value, i32(31));

function carryFlag(s: FlagSource): Expr {
	const type = t(s.x);
	if (s.turn !== undefined) return s.turn.isLeft ? op("i32And", s.turn.value, i32(1)) : topOf(s.turn);
	switch (s.kind) {
		case "image":
			return flagBit(s.x, FLAG.CF);
		case "add":
			return op(`${type}LtU`, result(s), s.x);
		case "sub":
			return op(`${type}LtU`, s.x, s.y);
		case "adc":
			// With a carry in, r = x means that y + 1 went all the way round.
			return op("i32Or", op(`${type}LtU`, result(s), s.x), op("i32And", low(s.z), op(`${type}Eq`, result(s), s.x)));
		case "sbb":
			return op("i32Or", op(`${type}LtU`, s.x, s.y), op("i32And", low(s.z), op(`${type}Eq`, s.x, s.y)));
		case "logic":
			return i32(0);
		case "inc":
		case "dec":
			return low(s.y);
		case "bits":
			return flagBit(s.y, FLAG.CF);
		case "shl":
			return isNegative(s.y);
		case "shr":
		case "sar":
			return op("i32And", low(s.y), i32(1));
	}
}

function zeroFlag(s: FlagSource): Expr {
	const type = t(s.x);
	if (s.kind === "image") return flagBit(s.x, FLAG.ZF);
	if (s.kind === "sub") return op(`${type}Eq`, s.x, s.y);
	return op(`${type}Eqz`, result(s));
}

function signFlag(s: FlagSource): Expr {
	return s.kind === "image" ? flagBit(s.x, FLAG.SF) : isNegative(result(s));
}

function overflowFlag(s: FlagSource): Expr {
	const type = t(s.x);
	if (s.turn !== undefined) {
		const other = s.turn.isLeft ? s.turn.value : op("i32ShrU", s.turn.value, i32(30));
		return op("i32Xor", topOf(s.turn), op("i32And", other, i32(1)));
	}
	switch (s.kind) {
		case "image":
			return flagBit(s.x, FLAG.OF);
		case "add":
		case "adc": {
			const r = result(s);
			return isNegative(op(`${type}And`, op(`${type}Xor`, s.x, r), op(`${type}Xor`, s.y, r)));
		}
		case "sub":
		case "sbb":
			return isNegative(op(`${type}And`, op(`${type}Xor`, s.x, s.y), op(`${type}Xor`, s.x, result(s))));
		case "logic":
		case "sar":
			return i32(0);
		case "inc": {
			const min = -(1n << BigInt(s.width - 1));
			return op(`${type}Eq`, s.x, type === "i64" ? i64(min) : i32(Number(min)));
		}
		case "dec": {
			const max = (1n << BigInt(s.width - 1)) - 1n;
			return op(`${type}Eq`, s.x, type === "i64" ? i64(max) : i32(Number(max)));
		}
		case "bits":
			return flagBit(s.y, FLAG.OF);
		case "shl":
			return isNegative(op(`${type}Xor`, s.x, s.y));
		case "shr":
			return isNegative(s.y);
	}
}

function parityFlag(s: FlagSource): Expr {
	return s.kind === "image" ? flagBit(s.x, FLAG.PF) : parityOf(result(s));
}

function auxiliaryFlag(s: FlagSource): Expr {
	switch (s.kind) {
		case "image":
			return flagBit(s.x, FLAG.AF);
		case "logic":
		case "shl":
		case "shr":
		case "sar":
			return i32(0);
		case "bits":
			return flagBit(s.y, FLAG.AF);
		case "inc":
			return op("i32Eqz", op("i32And", low(s.x), i32(15)));
		case "dec":
			return op("i32Eq", op("i32And", low(s.x), i32(15)), i32(15));
		default:
			return flagBit(op("i32Xor", op("i32Xor", low(s.x), low(s.y)), low(result(s))), FLAG.AF);
	}
}

const not = (e: Expr) => op("i32Eqz", e);

/** Condition code 0–15 (SDM Vol. 1 Appendix B, "EFLAGS Condition Codes") as 0 or 1. */
export function condition(s: FlagSource, cc: number): Expr {
	if (cc & 1) return not(condition(s, cc & ~1));
	const type = t(s.x);
	const isSub = s.kind === "sub" && s.turn === undefined;
	const isLogic = s.kind === "logic" && s.turn === undefined;
	switch (cc >> 1) {
		case 0:
			return overflowFlag(s);
		case 1:
			return carryFlag(s);
		case 2:
			return zeroFlag(s);
		case 3:
			return isSub ? op(`${type}LeU`, s.x, s.y) : op("i32Or", carryFlag(s), zeroFlag(s));
		case 4:
			return signFlag(s);
		case 5:
			return parityFlag(s);
		case 6:
			return isSub ? op(`${type}LtS`, s.x, s.y) : isLogic ? signFlag(s) : op("i32Xor", signFlag(s), overflowFlag(s));
		default:
			if (isSub) return op(`${type}LeS`, s.x, s.y);
			if (isLogic) return op(`${type}LeS`, s.x, zero(s.x));
			return op("i32Or", zeroFlag(s), op("i32Xor", signFlag(s), overflowFlag(s)));
	}
}

/** All six flags where RFLAGS has them. */
export function flagImage(s: FlagSource): Expr {
	const place = (flag: Expr, bit: number) => op("i32Shl", flag, i32(31 - Math.clz32(bit)));
	if (s.kind === "image") {
		if (s.turn === undefined) return low(s.x);
		const others = op("i32And", low(s.x), i32(~(FLAG.CF | FLAG.OF)));
		return op("i32Or", others, op("i32Or", carryFlag(s), place(overflowFlag(s), FLAG.OF)));
	}
	const parts = [
		place(parityFlag(s), FLAG.PF),
		place(auxiliaryFlag(s), FLAG.AF),
		place(zeroFlag(s), FLAG.ZF),
		place(signFlag(s), FLAG.SF),
		place(overflowFlag(s), FLAG.OF),
	];
	return parts.reduce((all, part) => op("i32Or", all, part), carryFlag(s));
}
