/** What SSE floating point does when WebAssembly's arithmetic may not be enough. */
import { type Expr, f32Const, f64Const, i32, laneOp, loadOp, op, v128 } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import type { OpName, ValueType } from "../../wasm/opcodes.ts";
import { MXCSR } from "../core/sse-format.ts";
import type { Ops } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
import { pick } from "./sse-operands.ts";
import { guardSse } from "./x87-state.ts";

const CR4_OSXMMEXCPT = 1 << 10;
const UD = 6;
const XM = 19;

/** Masks of the six exceptions, rounding control, FTZ, DAZ. */
const CONTROLS = 0xffc0;
const ALL_MASKED = 0x1f80;

/** Inexactness is masked, stands in MXCSR already and so need not be looked for; all other controls are as after reset. */
export const PRECISION_KNOWN = { mask: CONTROLS | MXCSR.PE, value: ALL_MASKED | MXCSR.PE };
/** All controls as after reset. */
export const PLAIN = { mask: CONTROLS, value: ALL_MASKED };
/** Exceptions masked, no DAZ: for what never rounds. */
export const MASKED = { mask: ALL_MASKED | MXCSR.DAZ, value: ALL_MASKED };

/** Whether MXCSR is otherwise. */
export function differs(o: Ops, wanted: { mask: number; value: number }): Expr {
	return op("i32Ne", op("i32And", loadOp("i32Load", o.cpu, at("mxcsr")), i32(wanted.mask)), i32(wanted.value));
}

/** `fast` branches to `slow` where its result may not do; then `exact` is asked. */
export function fastOr(o: Ops, type: ValueType, fast: (slow: Label) => Expr, exact: () => Expr): Expr {
	const { f } = o;
	const result = f.temporary(type);
	f.block((done) => {
		f.block((slow) => {
			f.set(result, fast(slow));
			f.br(done);
		});
		f.set(result, exact());
	});
	return f.get(result);
}

/** A core function that settles exceptions; #XM (or #UD if the system does not know it) when one is unmasked. */
export function exactly(o: Ops, name: string, type: ValueType, ...args: Expr[]): Expr {
	const result = o.core(name, type, o.cpu, ...args);
	o.f.if(loadOp("i32Load", o.cpu, at("arg2")), () => {
		o.raiseIf(op("i32Eqz", op("i32And", loadOp("i32Load", o.cpu, at("cr4")), i32(CR4_OSXMMEXCPT))), UD);
		o.raise(XM);
	});
	return result;
}

export type Shape = "f64" | "f32" | "f64x2" | "f32x4";

function everyLane(shape: Shape, value: number): Expr {
	if (shape === "f64") return f64Const(value);
	if (shape === "f32") return f32Const(value);
	const image = new Uint8Array(16);
	const view = new DataView(image.buffer);
	for (let i = 0; i < 16; i += shape === "f64x2" ? 8 : 4) {
		if (shape === "f64x2") view.setFloat64(i, value, true);
		else view.setFloat32(i, value, true);
	}
	return v128(image);
}

/** Arithmetic and comparisons on numbers of a shape, scalars or vectors; comparisons give i32 or lane masks. */
export class Numbers {
	readonly shape: Shape;
	readonly isVector: boolean;
	readonly #leastNormal: number;

	constructor(shape: Shape) {
		this.shape = shape;
		this.isVector = shape.length > 3;
		this.#leastNormal = shape.startsWith("f64") ? 2 ** -1022 : 2 ** -126;
	}

	op(name: string, ...args: Expr[]): Expr {
		return op(`${this.shape}${name}` as OpName, ...args);
	}

	constant(value: number): Expr {
		return everyLane(this.shape, value);
	}

	both(a: Expr, b: Expr): Expr {
		return op(this.isVector ? "v128And" : "i32And", a, b);
	}

	/** Whether a condition holds in every lane, as i32. */
	all(condition: Expr): Expr {
		if (!this.isVector) return condition;
		return op("i32Eq", op(this.shape === "f64x2" ? "i64x2Bitmask" : "i32x4Bitmask", condition), i32(this.shape === "f64x2" ? 3 : 15));
	}

	/** Whether a condition holds in some lane, as i32. */
	any(condition: Expr): Expr {
		return this.isVector ? op("v128AnyTrue", condition) : condition;
	}

	/** Neither 0 nor normal, infinite or NaN. */
	isDenormal(a: Expr): Expr {
		const size = this.op("Abs", a);
		const small = this.op("Lt", size, this.constant(this.#leastNormal));
		return this.both(small, this.op("Ne", a, this.constant(0)));
	}

	isFinite(a: Expr): Expr {
		return this.op("Lt", this.op("Abs", a), this.constant(Number.POSITIVE_INFINITY));
	}

	/** Beyond the least normal number: rounding cannot have hidden that it was tiny. */
	isNormal(a: Expr): Expr {
		return this.op("Gt", this.op("Abs", a), this.constant(this.#leastNormal));
	}

	/** Branches away if a number is denormal: what DE and DAZ are about. */
	rejectDenormal(o: Ops, slow: Label, a: Expr): void {
		if (this.isVector) {
			o.f.brIf(slow, this.any(this.isDenormal(a)));
			return;
		}
		o.f.if(this.op("Lt", this.op("Abs", a), this.constant(this.#leastNormal)), () => o.f.brIf(slow, this.op("Ne", a, this.constant(0))));
	}

	/** Branches away unless a condition holds in every lane. */
	require(o: Ops, slow: Label, condition: Expr): void {
		o.f.brIf(slow, op("i32Eqz", this.all(condition)));
	}

	/** Branches away if one of two numbers is a NaN, in any lane. */
	rejectNaN(o: Ops, slow: Label, a: Expr, b: Expr): void {
		if (this.isVector) {
			o.f.brIf(slow, this.any(op("v128Or", this.op("Ne", a, a), this.op("Ne", b, b))));
			return;
		}
		o.f.brIf(slow, this.op("Ne", a, a));
		o.f.brIf(slow, this.op("Ne", b, b));
	}
}

/** The four forms of a floating-point instruction: suffix, numbers, lanes, whether scalar. */
export const FORMS = [
	{ suffix: "SD", scalar: "f64", vector: "f64x2", isScalar: true },
	{ suffix: "SS", scalar: "f32", vector: "f32x4", isScalar: true },
	{ suffix: "PD", scalar: "f64", vector: "f64x2", isScalar: false },
	{ suffix: "PS", scalar: "f32", vector: "f32x4", isScalar: false },
] as const;
export type Form = (typeof FORMS)[number];

/** Numbers of an operand: the low lane as a scalar, or all of it. Pinned. */
export function numbersOf(o: Ops, form: Form, vector: Expr): Expr {
	return form.isScalar ? o.f.let(laneOp(`${form.vector}ExtractLane`, 0, vector)) : vector;
}

/** A result in place: scalars keep the rest of `old`. */
export function place(form: Form, old: Expr, result: Expr): Expr {
	return form.isScalar ? laneOp(`${form.vector}ReplaceLane`, 0, old, result) : result;
}

/** The low lane from `vector`, the rest from `old`; all of `vector` if packed. */
export function placeLow(form: Form, old: Expr, vector: Expr): Expr {
	if (!form.isScalar) return vector;
	return form.scalar === "f64" ? pick(8, vector, old, [0, 3]) : pick(4, vector, old, [0, 5, 6, 7]);
}

export function shapeOf(form: Form): Numbers {
	return new Numbers(form.isScalar ? form.scalar : form.vector);
}

/** Both operands of a form, as whole vectors. */
export function operands(o: Ops, form: Form): { a: Expr; b: Expr } {
	guardSse(o);
	const b = form.isScalar ? o.readScalar(1) : o.readVector(1);
	return { a: o.readVector(0), b };
}
