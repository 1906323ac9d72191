import { assert } from "../base/assert.ts";
import { ByteSink } from "./byte-sink.ts";
import { type Expr, isConst, localGet } from "./expr.ts";
import { OP, type OpName, TYPE_CODE, type ValueType } from "./opcodes.ts";

/** A place a branch can go: counted from the outermost block, so that it stays valid however deep the code gets. */
export interface Label {
	readonly depth: number;
}

const scratch = new DataView(new ArrayBuffer(8));

/** One function's body: statements are written as they are called, expressions as trees. */
export class FunctionBuilder {
	readonly code = new ByteSink();
	readonly paramTypes: readonly ValueType[];
	readonly resultType: ValueType | undefined;
	readonly #localTypes: ValueType[] = [];
	/** Temporaries that may be used again, by type, and those handed out since `beginScope`. */
	readonly #free: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
	#scope: number[] | undefined;
	#depth = 0;

	constructor(paramTypes: readonly ValueType[], resultType?: ValueType) {
		this.paramTypes = paramTypes;
		this.resultType = resultType;
	}

	param(index: number): Expr {
		return localGet(this.paramTypes[index] as ValueType, index);
	}

	/** From here to `endScope`, temporaries are recycled: nothing may keep them beyond. Keeps big functions' local counts small. */
	beginScope(): void {
		this.#scope = [];
	}

	endScope(): void {
		for (const local of this.#scope ?? []) this.#free[this.localType(local)].push(local);
		this.#scope = undefined;
	}

	/** A temporary: as `local`, but its initial value is undefined, and within a scope it is recycled. */
	temporary(type: ValueType): number {
		if (this.#scope === undefined) return this.local(type);
		const local = this.#free[type].pop() ?? this.local(type);
		this.#scope.push(local);
		return local;
	}

	/** Takes over another builder's locals, number for number (this one has none yet). */
	adoptLocals(other: FunctionBuilder): void {
		this.#localTypes.push(...other.#localTypes);
	}

	/** A fresh local, zero at function entry; returns its number. */
	local(type: ValueType): number {
		this.#localTypes.push(type);
		return this.paramTypes.length + this.#localTypes.length - 1;
	}

	localType(local: number): ValueType {
		return (local < this.paramTypes.length ? this.paramTypes[local] : this.#localTypes[local - this.paramTypes.length]) as ValueType;
	}

	get(local: number): Expr {
		return localGet(this.localType(local), local);
	}

	set(local: number, value: Expr): void {
		assert(value.type === this.localType(local), `local ${local} is ${this.localType(local)}, value is ${value.type}`);
		this.emit(value);
		this.code.u8(OP.localSet);
		this.code.u32(local);
	}

	/** Evaluates now, once; the returned expression may be used any number of times. */
	let(value: Expr): Expr {
		if (isConst(value)) return value;
		const local = this.temporary(value.type);
		this.set(local, value);
		return this.get(local);
	}

	/** `name` is a store instruction. */
	store(name: OpName, address: Expr, value: Expr, offset = 0): void {
		if (address.op === OP.i32Const && (address.imm as number) > 0) {
			offset += address.imm as number;
			this.code.u8(OP.i32Const);
			this.code.s32(0);
		} else this.emit(address);
		this.emit(value);
		this.#opcode(OP[name]);
		this.code.u32(0);
		this.code.u32(offset);
	}

	block(body: (label: Label) => void): void {
		this.code.u8(OP.block);
		this.code.u8(0x40);
		this.#nest(body);
	}

	/** Branching to the label starts the body again. */
	loop(body: (label: Label) => void): void {
		this.code.u8(OP.loop);
		this.code.u8(0x40);
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
		this.code.u8(OP.if);
		this.code.u8(0x40);
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
		const local = this.temporary(type);
		this.code.u8(OP.localSet);
		this.code.u32(local);
		return this.get(local);
	}

	callIndirectLet(typeIndex: number, type: ValueType, args: readonly Expr[], callee: Expr): Expr {
		for (const arg of args) this.emit(arg);
		this.emit(callee);
		this.code.u8(OP.callIndirect);
		this.code.u32(typeIndex);
		this.code.u32(0);
		const local = this.temporary(type);
		this.code.u8(OP.localSet);
		this.code.u32(local);
		return this.get(local);
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
		const local = this.temporary(type);
		this.code.u8(OP.localSet);
		this.code.u32(local);
		return this.get(local);
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
		for (const arg of e.args) this.emit(arg);
		this.#opcode(e.op);
		const imm = e.imm;
		if (imm === undefined) return;
		const code = this.code;
		if (e.op === OP.i32Const) code.s32(imm as number);
		else if (e.op === OP.i64Const) code.s64(imm as bigint);
		else if (e.op === OP.localGet || e.op === OP.globalGet) code.u32(imm as number);
		else if (e.op === OP.f64Const) {
			scratch.setFloat64(0, imm as number, true);
			for (let i = 0; i < 8; i++) code.u8(scratch.getUint8(i));
		} else if (e.op === OP.f32Const) {
			scratch.setFloat32(0, imm as number, true);
			for (let i = 0; i < 4; i++) code.u8(scratch.getUint8(i));
		} else if (imm instanceof Uint8Array) code.raw(imm);
		else if (isMemory(e.op)) {
			code.u32(e.align);
			code.u32(imm as number);
		} else code.u8(imm as number); // a lane
	}

	/** The body with its local declarations, as the code section wants it. */
	finish(): ByteSink {
		const head = new ByteSink();
		const runs: { type: ValueType; count: number }[] = [];
		for (const type of this.#localTypes) {
			const last = runs.at(-1);
			if (last?.type === type) last.count++;
			else runs.push({ type, count: 1 });
		}
		head.u32(runs.length);
		for (const run of runs) {
			head.u32(run.count);
			head.u8(TYPE_CODE[run.type]);
		}
		head.append(this.code);
		head.u8(OP.end);
		return head;
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
