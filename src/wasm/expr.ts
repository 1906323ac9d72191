import { PADDED_BYTES } from "./byte-sink.ts";
import { OP, type OpName, type ValueType } from "./opcodes.ts";

/**
 * A pure expression tree, emitted where it is used. Trees that read a mutable local or memory are valid only until that
 * changes; `FunctionBuilder.let` pins a value down. One class with the same fields for every kind: making and walking these is most
 * of what translating costs.
 */
export class Expr {
	readonly type: ValueType;
	readonly op: number;
	readonly a: Expr | undefined;
	readonly b: Expr | undefined;
	readonly c: Expr | undefined;
	/** Constant value, local number, memory offset or lane. A 64-bit constant is a number wherever that is exact. */
	readonly imm: number | bigint | Uint8Array | undefined;

	constructor(type: ValueType, op: number, a: Expr | undefined, b: Expr | undefined, c: Expr | undefined, imm: Expr["imm"]) {
		this.type = type;
		this.op = op;
		this.a = a;
		this.b = b;
		this.c = c;
		this.imm = imm;
	}
}

function leaf(type: ValueType, op: number, imm: Expr["imm"]): Expr {
	return new Expr(type, op, undefined, undefined, undefined, imm);
}

/** Constants from −64 to 255 are made once: they are most of all. */
const SMALL_FIRST = -64;
const SMALL_COUNT = 320;
const smallI32 = Array.from({ length: SMALL_COUNT }, (_, n) => leaf("i32", OP.i32Const, n + SMALL_FIRST));
const smallI64 = Array.from({ length: SMALL_COUNT }, (_, n) => leaf("i64", OP.i64Const, n + SMALL_FIRST));

export function i32(value: number): Expr {
	if (value >= SMALL_FIRST && value < SMALL_FIRST + SMALL_COUNT) return smallI32[value - SMALL_FIRST] as Expr;
	return leaf("i32", OP.i32Const, value | 0);
}

export function i64(value: bigint | number): Expr {
	if (typeof value === "bigint") {
		const cut = BigInt.asIntN(64, value);
		const plain = Number(cut);
		if (!Number.isSafeInteger(plain)) return leaf("i64", OP.i64Const, cut);
		value = plain;
	} else if (!Number.isSafeInteger(value)) return i64(BigInt(value));
	if (value >= SMALL_FIRST && value < SMALL_FIRST + SMALL_COUNT) return smallI64[value - SMALL_FIRST] as Expr;
	return leaf("i64", OP.i64Const, value);
}

export function v128(bytes: Uint8Array): Expr {
	return leaf("v128", OP.v128Const, bytes);
}

export function f64Const(value: number): Expr {
	return leaf("f64", OP.f64Const, value);
}

export function f32Const(value: number): Expr {
	return leaf("f32", OP.f32Const, value);
}

/** Locals read again and again; made once for all functions. */
const KEPT_LOCALS = 256;
const localsRead: Record<ValueType, (Expr | undefined)[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };

export function localGet(type: ValueType, local: number): Expr {
	const kept = localsRead[type];
	const known = kept[local];
	if (known !== undefined) return known;
	const made = leaf(type, OP.localGet, local);
	if (local < KEPT_LOCALS) {
		while (kept.length < local) kept.push(undefined);
		kept[local] = made;
	}
	return made;
}

/** No instruction: the value is on the stack already, where it is used next and nowhere else. */
export const ON_STACK = -1;

export function onStack(type: ValueType): Expr {
	return leaf(type, ON_STACK, undefined);
}

/** Instructions that take the operands' values, by their bytes. */
export const STENCIL = -2;

/** A computation that is emitted so often that its bytes are kept; `FunctionBuilder.stencil` makes it. */
export interface Stencil {
	readonly type: ValueType;
	readonly bytes: Uint8Array;
}

export function apply({ type, bytes }: Stencil, a: Expr, b?: Expr): Expr {
	return new Expr(type, STENCIL, a, b, undefined, bytes);
}

/** A local in a role: templates take whatever local plays it elsewhere. Above the local's own number. */
export const ROLE = 0x1_0000;

/** Reads a local that plays a role (from 0). */
export function roleGet(type: ValueType, local: number, role: number): Expr {
	return leaf(type, OP.localGet, (role + 1) * ROLE + local);
}

/** The local that a `localGet` expression reads. */
export function localOf(e: Expr): number {
	return (e.imm as number) % ROLE;
}

/** Instructions that are constants, but other ones wherever the template is used: this less which of them. */
export const VARYING = -16;

export function varying(type: "i32" | "i64", which: number, value: number): Expr {
	return leaf(type, VARYING - which, value);
}

/** A constant that whoever uses the function's code elsewhere puts another one for; nothing is folded with it. */
export const OPEN = -3;

/** @param place what `FunctionCode.open` says of it */
export function openConst(type: "i32" | "i64", value: number, place: OpenPlace): Expr {
	return new Expr(type, OPEN, undefined, undefined, leaf("i32", OP.i32Const, numberOfPlace(place)), value);
}

/** What stands in a function's code and differs where that is used again. */
export interface OpenPlace {
	/** `CALLEE`, or another number below 8. */
	readonly kind: number;
	/** A whole number. */
	readonly argument: number;
}

const OPEN_KINDS = 8;
/** The number of a function that is called. */
export const CALLEE = 0;

/** A place as one number, and back. */
export const numberOfPlace = ({ kind, argument }: OpenPlace): number => argument * OPEN_KINDS + kind;

export function placeOfNumber(number: number): OpenPlace {
	const kind = number & (OPEN_KINDS - 1);
	return { kind, argument: (number - kind) / OPEN_KINDS };
}

/** Bytes that the value takes. */
export const placeBytes = (kind: number): number => (kind === CALLEE ? 2 : PADDED_BYTES);

export function isConst(e: Expr): boolean {
	return e.op === OP.i32Const || e.op === OP.i64Const;
}

/** What is known of an instruction by its name. */
interface Known {
	readonly code: number;
	readonly type: ValueType;
}

const known = new Map<string, Known>();
for (const [name, code] of Object.entries(OP)) known.set(name, { code, type: workOutType(name) });

export function codeOf(name: OpName): number {
	return (known.get(name) as Known).code;
}

/** The type an instruction leaves, from its name. */
export function resultType(name: OpName): ValueType {
	return (known.get(name) as Known).type;
}

function workOutType(name: string): ValueType {
	if (/^(i8x16|i16x8|i32x4|i64x2|f32x4|f64x2)/.test(name)) {
		if (/ExtractLane/.test(name))
			return name.startsWith("f64") ? "f64" : name.startsWith("f32") ? "f32" : name.startsWith("i64") ? "i64" : "i32";
		return /AllTrue|Bitmask/.test(name) ? "i32" : "v128";
	}
	if (name.startsWith("v128")) return name === "v128AnyTrue" ? "i32" : "v128";
	if (/^[if](32|64)(Eqz?|Ne|[LG][te][SU]?|[LG][te])$/.test(name)) return "i32";
	return name.slice(0, 3) as ValueType;
}

/** Any memory load by name; `address` is an i32. */
export function loadOp(name: OpName, address: Expr, offset = 0): Expr {
	const { code, type } = known.get(name) as Known;
	if (address.op === OP.i32Const && (address.imm as number) >= 0) {
		const total = (address.imm as number) + offset;
		if (total < 0x7fff_ffff) return new Expr(type, code, i32(0), undefined, undefined, total);
	}
	return new Expr(type, code, address, undefined, undefined, offset);
}

/** A lane instruction: `imm` is the lane. */
export function laneOp(name: OpName, lane: number, a: Expr, b?: Expr): Expr {
	const { code, type } = known.get(name) as Known;
	return new Expr(type, code, a, b, undefined, lane);
}

export function shuffle(a: Expr, b: Expr, lanes: Uint8Array): Expr {
	return new Expr("v128", OP.i8x16Shuffle, a, b, undefined, lanes);
}

export function select(condition: Expr, ifTrue: Expr, ifFalse: Expr): Expr {
	if (condition.op === OP.i32Const) return condition.imm !== 0 ? ifTrue : ifFalse;
	return new Expr(ifTrue.type, OP.select, ifTrue, ifFalse, truth(condition), undefined);
}

/** Any instruction without immediates, with the folding that keeps generated code small. */
export function op(name: OpName, ...args: readonly Expr[]): Expr;
export function op(name: OpName, a?: Expr, b?: Expr, c?: Expr): Expr {
	return make(known.get(name) as Known, a as Expr, b, c);
}

const INTEGER_OPS = [
	...(["Add", "Sub", "Mul", "And", "Or", "Xor", "Shl", "ShrS", "ShrU", "Rotl", "Rotr", "DivS", "DivU", "RemS", "RemU"] as const),
	...(["Clz", "Ctz", "Popcnt", "Eqz", "Eq", "Ne", "LtS", "LtU", "GtS", "GtU", "LeS", "LeU", "GeS", "GeU"] as const),
];
/** Instructions that i32 and i64 have both. */
export type IntegerOp = (typeof INTEGER_OPS)[number];

const narrow = new Map<string, Known>();
const wide = new Map<string, Known>();
for (const name of INTEGER_OPS) {
	narrow.set(name, known.get(`i32${name}`) as Known);
	wide.set(name, known.get(`i64${name}`) as Known);
}

/** `integer("i64", "Add", a, b)`: as `op`, where the type is found out. */
export function integer(type: ValueType, name: IntegerOp, a: Expr, b?: Expr): Expr {
	return make((type === "i64" ? wide : narrow).get(name) as Known, a, b, undefined);
}

function make({ code, type }: Known, a: Expr, b: Expr | undefined, c: Expr | undefined): Expr {
	if (b === undefined) {
		if (a.op === OP.i32Const || a.op === OP.i64Const) {
			const folded = foldOne(code, a.imm as number | bigint);
			if (folded !== undefined) return folded;
		}
		if (code === OP.i32Eqz) {
			const inverse = INVERSES.get(a.op);
			if (inverse !== undefined) return new Expr("i32", inverse, a.a, a.b, undefined, undefined);
		}
		// Wrapping what was just extended.
		if (code === OP.i32WrapI64 && (a.op === OP.i64ExtendI32U || a.op === OP.i64ExtendI32S)) return a.a as Expr;
	} else if (b.op === OP.i32Const || b.op === OP.i64Const) {
		if (a.op === OP.i32Const || a.op === OP.i64Const) {
			const folded = fold(code, a.imm as number | bigint, b.imm as number | bigint);
			if (folded !== undefined) return folded;
		}
		const simpler = withConstant(code, a, b);
		if (simpler !== undefined) return simpler;
	}
	if (b !== undefined && a.imm === 0 && (a.op === OP.i32Const || a.op === OP.i64Const) && doesZeroLeave(code)) return b;
	return new Expr(type, code, a, b, c, undefined);
}

/** Integer comparisons and those that hold where they do not. */
const INVERSES = new Map<number, number>();
for (const type of ["i32", "i64"] as const)
	for (const [name, inverse] of [
		["Eq", "Ne"],
		["LtS", "GeS"],
		["LtU", "GeU"],
		["LeS", "GtS"],
		["LeU", "GtU"],
	] as const) {
		INVERSES.set(OP[`${type}${name}`], OP[`${type}${inverse}`]);
		INVERSES.set(OP[`${type}${inverse}`], OP[`${type}${name}`]);
	}

/** The same as a condition, where only whether it is zero counts. */
export function truth(e: Expr): Expr {
	const inner = e.op === OP.i32Eqz ? (e.a as Expr) : e;
	return inner !== e && inner.op === OP.i32Eqz ? truth(inner.a as Expr) : e;
}

/** Adding, or-ing, xor-ing something to zero gives that. */
function doesZeroLeave(code: number): boolean {
	return code === OP.i32Add || code === OP.i64Add || code === OP.i32Or || code === OP.i64Or || code === OP.i32Xor || code === OP.i64Xor;
}

/** With a constant on the right. */
function withConstant(code: number, a: Expr, b: Expr): Expr | undefined {
	const value = b.imm as number | bigint;
	switch (code) {
		case OP.i32Add:
		case OP.i64Add:
			if (value === 0) return a;
			// A chain of additions of constants.
			if (a.op === code && isConst(a.b as Expr)) {
				const sum = fold(code, (a.b as Expr).imm as number | bigint, value) as Expr;
				return code === OP.i32Add ? op("i32Add", a.a as Expr, sum) : op("i64Add", a.a as Expr, sum);
			}
			return undefined;
		case OP.i32And:
			if (value === -1) return a;
			// A mask of a mask.
			if (a.op === code && isConst(a.b as Expr)) return op("i32And", a.a as Expr, fold(code, (a.b as Expr).imm as number, value) as Expr);
			return undefined;
		case OP.i64And:
			return value === -1 ? a : undefined;
		case OP.i32Sub:
		case OP.i64Sub:
		case OP.i32Or:
		case OP.i64Or:
		case OP.i32Xor:
		case OP.i64Xor:
		case OP.i32Shl:
		case OP.i64Shl:
		case OP.i32ShrS:
		case OP.i64ShrS:
		case OP.i32ShrU:
		case OP.i64ShrU:
		case OP.i32Rotl:
		case OP.i64Rotl:
		case OP.i32Rotr:
		case OP.i64Rotr:
			return value === 0 ? a : undefined;
		default:
			return undefined;
	}
}

const bit = (isSet: boolean): Expr => (isSet ? i32(1) : i32(0));

function foldOne(code: number, value: number | bigint): Expr | undefined {
	switch (code) {
		case OP.i32WrapI64:
			return i32(typeof value === "number" ? value | 0 : Number(BigInt.asIntN(32, value)));
		case OP.i64ExtendI32S:
			return i64(value);
		case OP.i64ExtendI32U:
			return i64((value as number) >>> 0);
		case OP.i32Eqz:
		case OP.i64Eqz:
			return bit(value === 0);
		case OP.i32Extend8S:
			return i32(((value as number) << 24) >> 24);
		case OP.i32Extend16S:
			return i32(((value as number) << 16) >> 16);
		case OP.i64Extend32S:
			return i64(BigInt.asIntN(32, BigInt(value)));
		case OP.i64Extend16S:
			return i64(BigInt.asIntN(16, BigInt(value)));
		case OP.i64Extend8S:
			return i64(BigInt.asIntN(8, BigInt(value)));
		default:
			return undefined;
	}
}

function fold(code: number, x: number | bigint, y: number | bigint): Expr | undefined {
	if (code >= OP.i64Eqz && (code < OP.i32Clz || code >= OP.i64Clz)) return fold64(code, x, y);
	const [a, b] = [x as number, y as number];
	switch (code) {
		case OP.i32Add:
			return i32((a + b) | 0);
		case OP.i32Sub:
			return i32((a - b) | 0);
		case OP.i32And:
			return i32(a & b);
		case OP.i32Or:
			return i32(a | b);
		case OP.i32Xor:
			return i32(a ^ b);
		case OP.i32Shl:
			return i32(a << b);
		case OP.i32ShrU:
			return i32((a >>> b) | 0);
		case OP.i32ShrS:
			return i32(a >> b);
		case OP.i32Mul:
			return i32(Math.imul(a, b));
		case OP.i32Eq:
			return bit(a === b);
		case OP.i32Ne:
			return bit(a !== b);
		default:
			return undefined;
	}
}

function fold64(code: number, x: number | bigint, y: number | bigint): Expr | undefined {
	if (code === OP.i64Eq) return bit(x === y);
	if (typeof x === "number" && typeof y === "number") {
		if (code === OP.i64Add) return i64(Number.isSafeInteger(x + y) ? x + y : BigInt(x) + BigInt(y));
		if (code === OP.i64And && x === (x | 0) && y === (y | 0)) return i64(x & y);
	}
	const [a, b] = [BigInt(x), BigInt(y)];
	switch (code) {
		case OP.i64Add:
			return i64(a + b);
		case OP.i64Sub:
			return i64(a - b);
		case OP.i64And:
			return i64(a & b);
		case OP.i64Or:
			return i64(a | b);
		case OP.i64Xor:
			return i64(a ^ b);
		case OP.i64Shl:
			return i64(a << (b & 63n));
		case OP.i64ShrU:
			return i64(BigInt.asUintN(64, a) >> (b & 63n));
		case OP.i64ShrS:
			return i64(a >> (b & 63n));
		default:
			return undefined;
	}
}
