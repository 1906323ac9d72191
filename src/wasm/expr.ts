import { OP, type OpName, type ValueType } from "./opcodes.ts";

const NONE: readonly Expr[] = [];

/**
 * A pure expression tree, emitted where it is used. Trees that read a mutable local or memory are valid only until that
 * changes; `FunctionBuilder.let` pins a value down.
 */
export interface Expr {
	readonly type: ValueType;
	readonly op: number;
	readonly args: readonly Expr[];
	/** Constant value, local number, memory offset or lane. */
	readonly imm: number | bigint | Uint8Array | undefined;
	/** log2 of a memory access's alignment hint. */
	readonly align: number;
}

function node(type: ValueType, op: number, args: readonly Expr[], imm?: number | bigint | Uint8Array, align = 0): Expr {
	return { type, op, args, imm, align };
}

/** Constants from −64 to 255 are made once: they are most of all. */
const SMALL_FIRST = -64;
const SMALL_COUNT = 320;
const smallI32 = Array.from({ length: SMALL_COUNT }, (_, n) => node("i32", OP.i32Const, NONE, n + SMALL_FIRST));
const smallI64 = Array.from({ length: SMALL_COUNT }, (_, n) => node("i64", OP.i64Const, NONE, BigInt(n + SMALL_FIRST)));

export function i32(value: number): Expr {
	const small = smallI32[value - SMALL_FIRST];
	return small ?? node("i32", OP.i32Const, NONE, value | 0);
}

export function i64(value: bigint | number): Expr {
	if (typeof value === "number") {
		const small = smallI64[value - SMALL_FIRST];
		if (small !== undefined) return small;
	}
	return node("i64", OP.i64Const, NONE, BigInt.asIntN(64, BigInt(value)));
}

export function v128(bytes: Uint8Array): Expr {
	return node("v128", OP.v128Const, NONE, bytes);
}

export function f64Const(value: number): Expr {
	return node("f64", OP.f64Const, NONE, value);
}

export function f32Const(value: number): Expr {
	return node("f32", OP.f32Const, NONE, value);
}

export function localGet(type: ValueType, local: number): Expr {
	return node(type, OP.localGet, NONE, local);
}

export function isConst(e: Expr): boolean {
	return e.op === OP.i32Const || e.op === OP.i64Const;
}

/** Any memory load by name; `address` is an i32. */
export function loadOp(name: OpName, address: Expr, offset = 0): Expr {
	if (address.op === OP.i32Const && (address.imm as number) >= 0) {
		const total = (address.imm as number) + offset;
		if (total < 0x7fff_ffff) return node(resultType(name), OP[name], [i32(0)], total);
	}
	return node(resultType(name), OP[name], [address], offset);
}

/** A lane instruction: `imm` is the lane. */
export function laneOp(name: OpName, lane: number, ...args: Expr[]): Expr {
	return node(resultType(name), OP[name], args, lane);
}

export function shuffle(a: Expr, b: Expr, lanes: Uint8Array): Expr {
	return node("v128", OP.i8x16Shuffle, [a, b], lanes);
}

export function select(condition: Expr, ifTrue: Expr, ifFalse: Expr): Expr {
	if (condition.op === OP.i32Const) return condition.imm !== 0 ? ifTrue : ifFalse;
	return node(ifTrue.type, OP.select, [ifTrue, ifFalse, condition]);
}

const results = new Map<OpName, ValueType>();

/** The type an instruction leaves, from its name. */
export function resultType(name: OpName): ValueType {
	const known = results.get(name);
	if (known !== undefined) return known;
	const type = workOutType(name);
	results.set(name, type);
	return type;
}

function workOutType(name: OpName): ValueType {
	if (/^(i8x16|i16x8|i32x4|i64x2|f32x4|f64x2)/.test(name)) {
		if (/ExtractLane/.test(name))
			return name.startsWith("f64") ? "f64" : name.startsWith("f32") ? "f32" : name.startsWith("i64") ? "i64" : "i32";
		return /AllTrue|Bitmask/.test(name) ? "i32" : "v128";
	}
	if (name.startsWith("v128")) return name === "v128AnyTrue" ? "i32" : "v128";
	if (/^[if](32|64)(Eqz?|Ne|[LG][te][SU]?|[LG][te])$/.test(name)) return "i32";
	return name.slice(0, 3) as ValueType;
}

const big = (e: Expr): bigint => e.imm as bigint;
const num = (e: Expr): number => e.imm as number;

/** Any instruction without immediates, with the folding that keeps generated code small. */
export function op(name: OpName, ...args: Expr[]): Expr {
	const [a, b] = args;
	if (a !== undefined && isConst(a) && (b === undefined || isConst(b))) {
		const folded = fold(name, a, b);
		if (folded !== undefined) return folded;
	}
	if (a !== undefined && b !== undefined) {
		const simpler = identity(name, a, b);
		if (simpler !== undefined) return simpler;
	} else if (a !== undefined) {
		// Wrapping what was just extended.
		if (name === "i32WrapI64" && (a.op === OP.i64ExtendI32U || a.op === OP.i64ExtendI32S)) return a.args[0] as Expr;
	}
	return node(resultType(name), OP[name], args);
}

const both = (...names: string[]): ReadonlySet<string> => new Set(names.flatMap((name) => [`i32${name}`, `i64${name}`]));
const UNCHANGED_BY_ZERO = both("Add", "Sub", "Or", "Xor", "Shl", "ShrS", "ShrU", "Rotl", "Rotr");
const ZERO_LEAVES = both("Add", "Or", "Xor");

function identity(name: OpName, a: Expr, b: Expr): Expr | undefined {
	if (isConst(b)) {
		const zero = b.imm === 0 || b.imm === 0n;
		if (zero && UNCHANGED_BY_ZERO.has(name)) return a;
		if (name === "i32And" && b.imm === -1) return a;
		if (name === "i64And" && b.imm === -1n) return a;
		// Fold a chain of additions of constants.
		if (name === "i64Add" && a.op === OP.i64Add && isConst(a.args[1] as Expr))
			return op("i64Add", a.args[0] as Expr, i64(big(a.args[1] as Expr) + big(b)));
		if (name === "i32Add" && a.op === OP.i32Add && isConst(a.args[1] as Expr))
			return op("i32Add", a.args[0] as Expr, i32(num(a.args[1] as Expr) + num(b)));
		// A mask of a mask.
		if (name === "i32And" && a.op === OP.i32And && isConst(a.args[1] as Expr))
			return op("i32And", a.args[0] as Expr, i32(num(a.args[1] as Expr) & num(b)));
	}
	if (isConst(a) && (a.imm === 0 || a.imm === 0n) && ZERO_LEAVES.has(name)) return b;
	return undefined;
}

function fold(name: OpName, a: Expr, b: Expr | undefined): Expr | undefined {
	if (b === undefined) {
		switch (name) {
			case "i32WrapI64":
				return i32(Number(BigInt.asIntN(32, big(a))));
			case "i64ExtendI32S":
				return i64(BigInt(num(a)));
			case "i64ExtendI32U":
				return i64(BigInt(num(a) >>> 0));
			case "i32Eqz":
				return i32(num(a) === 0 ? 1 : 0);
			case "i64Eqz":
				return i32(big(a) === 0n ? 1 : 0);
			case "i32Extend8S":
				return i32((num(a) << 24) >> 24);
			case "i32Extend16S":
				return i32((num(a) << 16) >> 16);
			case "i64Extend32S":
				return i64(BigInt.asIntN(32, big(a)));
			case "i64Extend16S":
				return i64(BigInt.asIntN(16, big(a)));
			case "i64Extend8S":
				return i64(BigInt.asIntN(8, big(a)));
			default:
				return undefined;
		}
	}
	if (name.startsWith("i32")) {
		const x = num(a);
		const y = num(b);
		switch (name) {
			case "i32Add":
				return i32(x + y);
			case "i32Sub":
				return i32(x - y);
			case "i32And":
				return i32(x & y);
			case "i32Or":
				return i32(x | y);
			case "i32Xor":
				return i32(x ^ y);
			case "i32Shl":
				return i32(x << y);
			case "i32ShrU":
				return i32(x >>> y);
			case "i32ShrS":
				return i32(x >> y);
			case "i32Mul":
				return i32(Math.imul(x, y));
			case "i32Eq":
				return i32(x === y ? 1 : 0);
			case "i32Ne":
				return i32(x !== y ? 1 : 0);
			default:
				return undefined;
		}
	}
	const x = big(a);
	const y = big(b);
	switch (name) {
		case "i64Add":
			return i64(x + y);
		case "i64Sub":
			return i64(x - y);
		case "i64And":
			return i64(x & y);
		case "i64Or":
			return i64(x | y);
		case "i64Xor":
			return i64(x ^ y);
		case "i64Shl":
			return i64(x << (y & 63n));
		case "i64ShrU":
			return i64(BigInt.asUintN(64, x) >> (y & 63n));
		case "i64ShrS":
			return i64(x >> (y & 63n));
		case "i64Eq":
			return i32(x === y ? 1 : 0);
		default:
			return undefined;
	}
}
