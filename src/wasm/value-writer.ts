import { InternalError } from "../base/assert.ts";
import { ByteSink } from "./byte-sink.ts";
import { type Expr, localGet, localOf, ON_STACK, OPEN, placeBytes, placeOfNumber, ROLE, STENCIL, VARYING } from "./expr.ts";
import { OP, type ValueType } from "./opcodes.ts";
import { HOLE, type Recorder } from "./template.ts";

const scratch = new DataView(new ArrayBuffer(8));

/** Code of functions under way: taken over from finished ones, since most of what is written is written for a moment. */
const spareSinks: ByteSink[] = [];
const CODE_ROOM = 8192;
/** Of them, so many are kept. */
const MAX_SPARE = 64;

export const takeSink = (): ByteSink => spareSinks.pop() ?? new ByteSink(CODE_ROOM);

export function giveBack(sink: ByteSink): void {
	sink.clear();
	if (spareSinks.length < MAX_SPARE) spareSinks.push(sink);
}

/** What may be relied upon of a local: nothing; it is set once in its scope; its owner says when it is set. */
const CHANGING = 0;
const PINNED = 1;
const REGISTER = 2;

/** The part of a function's body that is about values: its locals, and expressions, which are trees until they are written. */
export class ValueWriter {
	protected code: ByteSink = takeSink();
	/** What comes before it. */
	protected start: ByteSink | undefined;
	readonly paramTypes: readonly ValueType[];
	readonly resultType: ValueType | undefined;
	/** Of parameters and locals. */
	protected readonly types: ValueType[];
	/** Temporaries by type; within a scope they are taken from the first on, so that the same code gets the same ones. */
	readonly #temporaries: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
	readonly #taken: Record<ValueType, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 };
	readonly #provided: Record<ValueType, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 };
	#isInScope = false;
	/** By local: CHANGING, PINNED or REGISTER. */
	readonly #constancy: number[] = [];
	/** Where the code ended when a local had just been set, and which. */
	protected setEnd = -1;
	#setLocal = -1;
	/** Positions of branches that are hardly ever taken, `if`s' first sides among them. */
	protected readonly unlikely: number[] = [];
	/** Pairs: position of what another use of the code has something else for, and which it is (`OpenPlace` as one number). */
	protected readonly open: number[] = [];
	protected depth = 0;
	/** While a template is being recorded. */
	protected recorder: Recorder | undefined;

	constructor(paramTypes: readonly ValueType[], resultType?: ValueType) {
		this.paramTypes = paramTypes;
		this.resultType = resultType;
		this.types = [...paramTypes];
		for (let i = 0; i < paramTypes.length; i++) this.#constancy.push(CHANGING);
	}

	/** What is being recorded could not be used elsewhere. */
	spoil(): void {
		if (this.recorder !== undefined) this.recorder.isSpoilt = true;
	}

	/** Bytes of code so far. */
	get length(): number {
		return this.code.length + (this.start?.length ?? 0);
	}

	/** The code so far. */
	bytes(): Uint8Array {
		const all = new ByteSink(this.length);
		if (this.start !== undefined) all.append(this.start);
		all.append(this.code);
		return all.take();
	}

	param(index: number): Expr {
		return localGet(this.paramTypes[index] as ValueType, index);
	}

	/** From here to `endScope`, temporaries are recycled: nothing may keep them beyond. Keeps big functions' local counts small. */
	beginScope(): void {
		this.#isInScope = true;
		// What is written in a scope must not hang on what stands before it.
		this.setEnd = -1;
		const taken = this.#taken;
		taken.i32 = taken.i64 = taken.f32 = taken.f64 = taken.v128 = 0;
	}

	endScope(): void {
		this.#isInScope = false;
	}

	/** A temporary: as `local`, but its initial value is undefined, and within a scope it is recycled. */
	temporary(type: ValueType): number {
		if (!this.#isInScope) return this.local(type);
		const known = this.#temporaries[type];
		const n = this.#taken[type]++;
		// Beyond those provided they have other numbers in other functions.
		if (n >= this.#provided[type]) this.spoil();
		const local = known[n] ?? this.#moreTemporary(type);
		this.#constancy[local] = CHANGING;
		return local;
	}

	#moreTemporary(type: ValueType): number {
		const local = this.local(type);
		this.#temporaries[type].push(local);
		return local;
	}

	/** Makes temporaries in advance. */
	provideTemporaries(type: ValueType, count: number): void {
		for (let n = 0; n < count; n++) this.#moreTemporary(type);
		this.#provided[type] += count;
	}

	/** A fresh local, zero at function entry; returns its number. */
	local(type: ValueType): number {
		this.spoil();
		this.#constancy.push(CHANGING);
		return this.types.push(type) - 1;
	}

	/** A local that stays what it is for as long as expressions that read it are kept: who sets it sees to that. */
	register(type: ValueType): number {
		const local = this.local(type);
		this.#constancy[local] = REGISTER;
		return local;
	}

	localType(local: number): ValueType {
		return this.types[local] as ValueType;
	}

	get(local: number): Expr {
		return localGet(this.localType(local), local);
	}

	/** @param role that the local plays; -1: none */
	set(local: number, value: Expr, role = -1): void {
		if (value.type !== this.localType(local)) throw new InternalError(`local ${local} is ${this.localType(local)}, value is ${value.type}`);
		if (this.#constancy[local] === PINNED) throw new InternalError(`local ${local} holds a value that counts on it`);
		this.emit(value);
		const from = this.code.length;
		this.emitSet(local);
		if (role >= 0) this.recorder?.hole(from, this.code.length, HOLE.set, role);
	}

	protected emitSet(local: number): void {
		this.#local(OP.localSet, local);
		this.setEnd = this.code.length;
		this.#setLocal = local;
	}

	protected emitGet(local: number): void {
		// What has just been set stays on the stack.
		if (this.setEnd === this.code.length && this.#setLocal === local && local < 0x80) {
			this.code.replace(this.setEnd - 2, OP.localTee);
			this.setEnd = -1;
		} else this.#local(OP.localGet, local);
	}

	#local(opcode: number, local: number): void {
		if (local < 0x80) this.code.pair(opcode, local);
		else {
			this.code.u8(opcode);
			this.code.u32(local);
		}
	}

	/** What the last instruction has left, kept in a temporary. */
	protected keep(type: ValueType): Expr {
		const local = this.temporary(type);
		this.#constancy[local] = PINNED;
		this.emitSet(local);
		return localGet(type, local);
	}

	/** Evaluates now, once; the returned expression may be used any number of times. */
	let(value: Expr): Expr {
		if (value.op === OP.i32Const || value.op === OP.i64Const || value.op <= VARYING || this.#isCheap(value)) return value;
		return this.pin(value);
	}

	/** As `let`, in a local of its own whatever the value is: it outlasts the setting of registers. */
	pin(value: Expr): Expr {
		this.emit(value);
		return this.keep(value.type);
	}

	/** For one use, later: evaluated now only where the value could be another one then. */
	hold(value: Expr): Expr {
		return this.#lasts(value) ? value : this.pin(value);
	}

	/** Reading it again costs no more than keeping it. */
	#isCheap(value: Expr): boolean {
		const whole = value.op === OP.i32WrapI64 ? (value.a as Expr) : value;
		return whole.op === OP.localGet && this.#constancy[localOf(whole)] !== CHANGING;
	}

	#lasts(value: Expr): boolean {
		const { op } = value;
		if (op === OP.localGet) return this.#constancy[localOf(value)] !== CHANGING;
		if (op === OP.i32Const || op === OP.i64Const || op === OPEN || op <= VARYING) return true;
		if (op === ON_STACK || op === STENCIL || isMemory(op)) return false;
		return (
			(value.a === undefined || this.#lasts(value.a)) &&
			(value.b === undefined || this.#lasts(value.b)) &&
			(value.c === undefined || this.#lasts(value.c))
		);
	}

	protected opcode(opcode: number): void {
		if (opcode < 0x100) this.code.u8(opcode);
		else {
			this.code.u8(opcode >> 12);
			this.code.u32(opcode & 0xfff);
		}
	}

	emit(e: Expr): void {
		if (e.a !== undefined) {
			this.emit(e.a);
			if (e.b !== undefined) {
				this.emit(e.b);
				if (e.c !== undefined) this.emit(e.c);
			}
		}
		const opcode = e.op;
		if (opcode === OP.localGet) {
			const local = e.imm as number;
			if (local < ROLE) this.emitGet(local);
			else this.#getRole(local);
		} else if (e.imm === undefined) {
			if (opcode === ON_STACK) return;
			if (opcode < 0x100) this.code.u8(opcode);
			else this.opcode(opcode);
		} else if (opcode <= VARYING) this.#varying(e);
		else if (opcode === OPEN) this.#open(e);
		else this.#withImmediate(opcode, e.imm);
	}

	#getRole(local: number): void {
		const from = this.code.length;
		this.emitGet(local % ROLE);
		this.recorder?.hole(from, this.code.length, HOLE.get, Math.floor(local / ROLE) - 1);
	}

	/** A constant that templates leave open. */
	#varying(e: Expr): void {
		const from = this.code.length;
		this.constant(e.type, e.imm as number);
		this.recorder?.hole(from, this.code.length, e.type === "i64" ? HOLE.constant64 : HOLE.constant32, VARYING - e.op);
	}

	#open(e: Expr): void {
		this.spoil();
		this.code.u8(e.type === "i64" ? OP.i64Const : OP.i32Const);
		this.writeOpen((e.c as Expr).imm as number, e.imm as number);
	}

	/** @param place as one number */
	protected writeOpen(place: number, value: number): void {
		this.open.push(this.code.length, place);
		this.code.padded(value, placeBytes(placeOfNumber(place).kind));
	}

	protected constant(type: ValueType, value: number): void {
		if (type === "i64") {
			this.code.u8(OP.i64Const);
			this.code.s64(value);
		} else {
			this.code.u8(OP.i32Const);
			this.code.s32(value);
		}
	}

	#withImmediate(opcode: number, imm: number | bigint | Uint8Array): void {
		const code = this.code;
		if (opcode === OP.i32Const) {
			code.u8(opcode);
			code.s32(imm as number);
		} else if (opcode === OP.i64Const) {
			code.u8(opcode);
			code.s64(imm as bigint | number);
		} else if (isMemory(opcode)) {
			if (opcode < 0x100) code.pair(opcode, 0);
			else {
				this.opcode(opcode);
				code.u8(0);
			}
			code.u32(imm as number);
		} else if (opcode === OP.f64Const) {
			code.u8(opcode);
			scratch.setFloat64(0, imm as number, true);
			for (let i = 0; i < 8; i++) code.u8(scratch.getUint8(i));
		} else if (opcode === OP.f32Const) {
			code.u8(opcode);
			scratch.setFloat32(0, imm as number, true);
			for (let i = 0; i < 4; i++) code.u8(scratch.getUint8(i));
		} else {
			if (opcode !== STENCIL) this.opcode(opcode);
			if (imm instanceof Uint8Array) code.raw(imm);
			else if (opcode === OP.globalGet) code.u32(imm as number);
			else code.u8(imm as number); // a lane
		}
	}
}

function isMemory(opcode: number): boolean {
	return (
		(opcode >= OP.i32Load && opcode <= OP.i64Store32) ||
		(opcode >= OP.v128Load && opcode <= OP.v128Store) ||
		opcode === OP.v128Load32Zero ||
		opcode === OP.v128Load64Zero ||
		opcode >> 12 === 0xfe
	);
}
