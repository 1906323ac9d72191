import { InternalError } from "../base/assert.ts";
import { ByteSink } from "./byte-sink.ts";
import { type Expr, localGet } from "./expr.ts";
import { OP, type OpName, TYPE_CODE, type ValueType } from "./opcodes.ts";

/** A place a branch can go: counted from the outermost block, so that it stays valid however deep the code gets. */
export interface Label {
	readonly depth: number;
}

const scratch = new DataView(new ArrayBuffer(8));

/** Code of functions under way: taken over from finished ones, since most of what is written is written for a moment. */
const spareSinks: ByteSink[] = [];
const CODE_ROOM = 8192;
/** Of them, so many are kept. */
const MAX_SPARE = 16;

/** One function's body: statements are written as they are called, expressions as trees. */
export class FunctionBuilder {
	readonly code: ByteSink;
	readonly paramTypes: readonly ValueType[];
	readonly resultType: ValueType | undefined;
	/** Of parameters and locals. */
	readonly #types: ValueType[];
	/** Temporaries that may be used again, by type, and those handed out since `beginScope`. */
	readonly #free: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
	readonly #scope: number[] = [];
	#isInScope = false;
	#depth = 0;

	constructor(paramTypes: readonly ValueType[], resultType?: ValueType) {
		this.paramTypes = paramTypes;
		this.resultType = resultType;
		this.#types = [...paramTypes];
		this.code = spareSinks.pop() ?? new ByteSink(CODE_ROOM);
	}

	/** Bytes of code so far. */
	get length(): number {
		return this.code.length;
	}

	param(index: number): Expr {
		return localGet(this.paramTypes[index] as ValueType, index);
	}

	/** From here to `endScope`, temporaries are recycled: nothing may keep them beyond. Keeps big functions' local counts small. */
	beginScope(): void {
		this.#isInScope = true;
		this.#scope.length = 0;
	}

	endScope(): void {
		if (!this.#isInScope) return;
		this.#isInScope = false;
		const scope = this.#scope;
		for (let i = 0; i < scope.length; i++) {
			const local = scope[i] as number;
			this.#free[this.localType(local)].push(local);
		}
		scope.length = 0;
	}

	/** A temporary: as `local`, but its initial value is undefined, and within a scope it is recycled. */
	temporary(type: ValueType): number {
		if (!this.#isInScope) return this.local(type);
		const local = this.#free[type].pop() ?? this.local(type);
		this.#scope.push(local);
		return local;
	}

	/** A fresh local, zero at function entry; returns its number. */
	local(type: ValueType): number {
		return this.#types.push(type) - 1;
	}

	localType(local: number): ValueType {
		return this.#types[local] as ValueType;
	}

	get(local: number): Expr {
		return localGet(this.localType(local), local);
	}

	set(local: number, value: Expr): void {
		if (value.type !== this.localType(local)) throw new InternalError(`local ${local} is ${this.localType(local)}, value is ${value.type}`);
		this.emit(value);
		this.#local(OP.localSet, local);
	}

	#local(opcode: number, local: number): void {
		if (local < 0x80) this.code.pair(opcode, local);
		else {
			this.code.u8(opcode);
			this.code.u32(local);
		}
	}

	/** What the last instruction has left, kept in a temporary. */
	#keep(type: ValueType): Expr {
		const local = this.temporary(type);
		this.#local(OP.localSet, local);
		return localGet(type, local);
	}

	/** Evaluates now, once; the returned expression may be used any number of times. */
	let(value: Expr): Expr {
		if (value.op === OP.i32Const || value.op === OP.i64Const) return value;
		const local = this.temporary(value.type);
		this.emit(value);
		this.#local(OP.localSet, local);
		return localGet(value.type, local);
	}

	/** `name` is a store instruction. */
	store(name: OpName, address: Expr, value: Expr, offset = 0): void {
		if (address.op === OP.i32Const && (address.imm as number) > 0) {
			offset += address.imm as number;
			this.code.pair(OP.i32Const, 0);
		} else this.emit(address);
		this.emit(value);
		this.#opcode(OP[name]);
		this.code.u8(0);
		this.code.u32(offset);
	}

	block(body: (label: Label) => void): void {
		this.code.pair(OP.block, 0x40);
		this.#nest(body);
	}

	/** Branching to the label starts the body again. */
	loop(body: (label: Label) => void): void {
		this.code.pair(OP.loop, 0x40);
		this.#nest(body);
	}

	#nest(body: (label: Label) => void): void {
		this.#depth++;
		body({ depth: this.#depth });
		this.#depth--;
		this.code.u8(OP.end);
	}

	if(condition: Expr, then: () => void, otherwise?: () => void): void {
		if (condition.op === OP.i32Const) {
			if (condition.imm !== 0) then();
			else otherwise?.();
			return;
		}
		this.emit(condition);
		this.code.pair(OP.if, 0x40);
		this.#depth++;
		then();
		if (otherwise !== undefined) {
			this.code.u8(OP.else);
			otherwise();
		}
		this.#depth--;
		this.code.u8(OP.end);
	}

	br(label: Label): void {
		this.code.u8(OP.br);
		this.code.u32(this.#depth - label.depth);
	}

	brIf(label: Label, condition: Expr): void {
		this.emit(condition);
		this.code.u8(OP.brIf);
		this.code.u32(this.#depth - label.depth);
	}

	brTable(labels: readonly Label[], otherwise: Label, index: Expr): void {
		this.emit(index);
		this.code.u8(OP.brTable);
		this.code.u32(labels.length);
		for (const label of labels) this.code.u32(this.#depth - label.depth);
		this.code.u32(this.#depth - otherwise.depth);
	}

	return(value?: Expr): void {
		if (value !== undefined) this.emit(value);
		this.code.u8(OP.return);
	}

	/** Calls a function that leaves nothing, or whose result is not wanted (`drop`). */
	call(functionIndex: number, args: readonly Expr[], drop = false): void {
		for (const arg of args) this.emit(arg);
		this.code.u8(OP.call);
		this.code.u32(functionIndex);
		if (drop) this.code.u8(OP.drop);
	}

	/** Calls now and keeps the result. */
	callLet(functionIndex: number, type: ValueType, args: readonly Expr[]): Expr {
		this.call(functionIndex, args);
		return this.#keep(type);
	}

	callIndirectLet(typeIndex: number, type: ValueType, args: readonly Expr[], callee: Expr): Expr {
		for (const arg of args) this.emit(arg);
		this.emit(callee);
		this.code.u8(OP.callIndirect);
		this.code.u32(typeIndex);
		this.code.u32(0);
		return this.#keep(type);
	}

	returnCall(functionIndex: number, args: readonly Expr[]): void {
		for (const arg of args) this.emit(arg);
		this.code.u8(OP.returnCall);
		this.code.u32(functionIndex);
	}

	returnCallIndirect(typeIndex: number, args: readonly Expr[], callee: Expr): void {
		for (const arg of args) this.emit(arg);
		this.emit(callee);
		this.code.u8(OP.returnCallIndirect);
		this.code.u32(typeIndex);
		this.code.u32(0);
	}

	/** memory.copy / memory.fill */
	memoryCopy(to: Expr, from: Expr, count: Expr): void {
		for (const e of [to, from, count]) this.emit(e);
		this.#opcode(OP.memoryCopy);
		this.code.u8(0);
		this.code.u8(0);
	}

	memoryFill(to: Expr, byte: Expr, count: Expr): void {
		for (const e of [to, byte, count]) this.emit(e);
		this.#opcode(OP.memoryFill);
		this.code.u8(0);
	}

	/** An instruction that takes memory and operands and leaves a value, with a natural alignment (atomics demand it). */
	atomic(name: OpName, log2Bytes: number, args: readonly Expr[], type: ValueType): Expr {
		for (const arg of args) this.emit(arg);
		this.#opcode(OP[name]);
		this.code.u32(log2Bytes);
		this.code.u32(0);
		return this.#keep(type);
	}

	unreachable(): void {
		this.code.u8(OP.unreachable);
	}

	#opcode(opcode: number): void {
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
		if (opcode === OP.localGet) this.#local(opcode, e.imm as number);
		else if (e.imm === undefined) {
			if (opcode < 0x100) this.code.u8(opcode);
			else this.#opcode(opcode);
		} else this.#withImmediate(opcode, e.imm);
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
				this.#opcode(opcode);
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
			this.#opcode(opcode);
			if (imm instanceof Uint8Array) code.raw(imm);
			else if (opcode === OP.globalGet) code.u32(imm as number);
			else code.u8(imm as number); // a lane
		}
	}

	/** What is written meanwhile comes before everything else. */
	atStart(write: () => void): void {
		const body = this.code.take();
		this.code.clear();
		write();
		this.code.raw(body);
	}

	/** Appends the body with its local declarations, as the code section wants it, and is done. */
	finish(out: ByteSink): void {
		const head = spareSinks.pop() ?? new ByteSink(CODE_ROOM);
		this.#declareLocals(head);
		out.u32(head.length + this.code.length + 1);
		out.append(head);
		out.append(this.code);
		out.u8(OP.end);
		for (const sink of [head, this.code]) {
			sink.clear();
			if (spareSinks.length < MAX_SPARE) spareSinks.push(sink);
		}
	}

	#declareLocals(head: ByteSink): void {
		const types = this.#types;
		const first = this.paramTypes.length;
		let runs = 0;
		for (let i = first; i < types.length; i++) if (i === first || types[i] !== types[i - 1]) runs++;
		head.u32(runs);
		for (let i = first; i < types.length; ) {
			let end = i + 1;
			while (end < types.length && types[end] === types[i]) end++;
			head.u32(end - i);
			head.u8(TYPE_CODE[types[i] as ValueType]);
			i = end;
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
