import { InternalError } from "../base/assert.ts";
import { ByteSink } from "./byte-sink.ts";
import { codeOf, type Expr, localGet, localOf, ON_STACK, onStack, ROLE, STENCIL, type Stencil, VARYING } from "./expr.ts";
import { OP, type OpName, TYPE_CODE, type ValueType } from "./opcodes.ts";
import { type Filling, HOLE, Recorder, type Template } from "./template.ts";

/** A place a branch can go: counted from the outermost block, so that it stays valid however deep the code gets. */
export interface Label {
	readonly depth: number;
}

const scratch = new DataView(new ArrayBuffer(8));

/** Code of functions under way: taken over from finished ones, since most of what is written is written for a moment. */
const spareSinks: ByteSink[] = [];
const CODE_ROOM = 8192;
/** Of them, so many are kept. */
const MAX_SPARE = 64;

const takeSink = (): ByteSink => spareSinks.pop() ?? new ByteSink(CODE_ROOM);

function giveBack(sink: ByteSink): void {
	sink.clear();
	if (spareSinks.length < MAX_SPARE) spareSinks.push(sink);
}

/** What may be relied upon of a local: nothing; it is set once in its scope; its owner says when it is set. */
const CHANGING = 0;
const PINNED = 1;
const REGISTER = 2;

/** One function's body: statements are written as they are called, expressions as trees. */
export class FunctionBuilder {
	#code: ByteSink = takeSink();
	/** What comes before it. */
	#start: ByteSink | undefined;
	readonly paramTypes: readonly ValueType[];
	readonly resultType: ValueType | undefined;
	/** Of parameters and locals. */
	readonly #types: ValueType[];
	/** Temporaries by type; within a scope they are taken from the first on, so that the same code gets the same ones. */
	readonly #temporaries: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
	readonly #taken: Record<ValueType, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 };
	#isInScope = false;
	/** By local: CHANGING, PINNED or REGISTER. */
	readonly #constancy: number[] = [];
	/** Where the code ended when a local had just been set, and which. */
	#setEnd = -1;
	#setLocal = -1;
	/** Positions of branches that are hardly ever taken, `if`s' first sides among them. */
	readonly #unlikely: number[] = [];
	/** Branches by `brOut`: position of the label, depth there, way. */
	readonly #waysOut: number[] = [];
	#depth = 0;
	/** While a template is being recorded. */
	#recorder: Recorder | undefined;
	#recordedFrom = 0;

	constructor(paramTypes: readonly ValueType[], resultType?: ValueType) {
		this.paramTypes = paramTypes;
		this.resultType = resultType;
		this.#types = [...paramTypes];
		for (let i = 0; i < paramTypes.length; i++) this.#constancy.push(CHANGING);
	}

	/** Bytes of code so far. */
	get length(): number {
		return this.#code.length + (this.#start?.length ?? 0);
	}

	/** The code so far. */
	bytes(): Uint8Array {
		const all = new ByteSink(this.length);
		if (this.#start !== undefined) all.append(this.#start);
		all.append(this.#code);
		return all.take();
	}

	param(index: number): Expr {
		return localGet(this.paramTypes[index] as ValueType, index);
	}

	/** From here to `endScope`, temporaries are recycled: nothing may keep them beyond. Keeps big functions' local counts small. */
	beginScope(): void {
		this.#isInScope = true;
		// What is written in a scope must not hang on what stands before it.
		this.#setEnd = -1;
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
	}

	/** A fresh local, zero at function entry; returns its number. */
	local(type: ValueType): number {
		this.spoil();
		this.#constancy.push(CHANGING);
		return this.#types.push(type) - 1;
	}

	/** A local that stays what it is for as long as expressions that read it are kept: who sets it sees to that. */
	register(type: ValueType): number {
		const local = this.local(type);
		this.#constancy[local] = REGISTER;
		return local;
	}

	localType(local: number): ValueType {
		return this.#types[local] as ValueType;
	}

	get(local: number): Expr {
		return localGet(this.localType(local), local);
	}

	/** @param role that the local plays; -1: none */
	set(local: number, value: Expr, role = -1): void {
		if (value.type !== this.localType(local)) throw new InternalError(`local ${local} is ${this.localType(local)}, value is ${value.type}`);
		if (this.#constancy[local] === PINNED) throw new InternalError(`local ${local} holds a value that counts on it`);
		this.emit(value);
		const from = this.#code.length;
		this.#set(local);
		if (role >= 0) this.#recorder?.hole(from, this.#code.length, HOLE.set, role);
	}

	#set(local: number): void {
		this.#local(OP.localSet, local);
		this.#setEnd = this.#code.length;
		this.#setLocal = local;
	}

	#get(local: number): void {
		// What has just been set stays on the stack.
		if (this.#setEnd === this.#code.length && this.#setLocal === local && local < 0x80) {
			this.#code.replace(this.#setEnd - 2, OP.localTee);
			this.#setEnd = -1;
		} else this.#local(OP.localGet, local);
	}

	#local(opcode: number, local: number): void {
		if (local < 0x80) this.#code.pair(opcode, local);
		else {
			this.#code.u8(opcode);
			this.#code.u32(local);
		}
	}

	/** What the last instruction has left, kept in a temporary. */
	#keep(type: ValueType): Expr {
		const local = this.temporary(type);
		this.#constancy[local] = PINNED;
		this.#set(local);
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
		return this.#keep(value.type);
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
		if (op === OP.i32Const || op === OP.i64Const || op <= VARYING) return true;
		if (op === ON_STACK || op === STENCIL || isMemory(op)) return false;
		return (
			(value.a === undefined || this.#lasts(value.a)) &&
			(value.b === undefined || this.#lasts(value.b)) &&
			(value.c === undefined || this.#lasts(value.c))
		);
	}

	/** `name` is a store instruction. */
	store(name: OpName, address: Expr, value: Expr, offset = 0): void {
		if (address.op === OP.i32Const && (address.imm as number) > 0) {
			offset += address.imm as number;
			this.#code.pair(OP.i32Const, 0);
		} else this.emit(address);
		this.emit(value);
		const opcode = codeOf(name);
		if (opcode < 0x100) this.#code.pair(opcode, 0);
		else {
			this.#opcode(opcode);
			this.#code.u8(0);
		}
		this.#code.u32(offset);
	}

	block(body: (label: Label) => void): void {
		this.#code.pair(OP.block, 0x40);
		this.#nest(body);
	}

	/** Branching to the label starts the body again. */
	loop(body: (label: Label) => void): void {
		this.#code.pair(OP.loop, 0x40);
		this.#nest(body);
	}

	#nest(body: (label: Label) => void): void {
		this.#depth++;
		body({ depth: this.#depth });
		this.#depth--;
		this.#code.u8(OP.end);
	}

	if(condition: Expr, then: () => void, otherwise?: () => void): void {
		if (condition.op === OP.i32Const) {
			if (condition.imm !== 0) then();
			else otherwise?.();
			return;
		}
		this.emit(condition);
		this.#code.pair(OP.if, 0x40);
		this.#depth++;
		then();
		if (otherwise !== undefined) {
			this.#code.u8(OP.else);
			otherwise();
		}
		this.#depth--;
		this.#code.u8(OP.end);
	}

	/** As `if`, where the condition hardly ever holds. */
	ifRarely(condition: Expr, then: () => void, otherwise?: () => void): void {
		if (condition.op === OP.i32Const) {
			this.if(condition, then, otherwise);
			return;
		}
		this.emit(condition);
		this.#hint();
		this.if(onStack("i32"), then, otherwise);
	}

	/** A value that is worked out in one of two ways, seldom the first; it is on the stack, for the next expression to use once. */
	choose(condition: Expr, type: ValueType, then: () => Expr, otherwise: () => Expr): Expr {
		this.emit(condition);
		this.#hint();
		this.#code.pair(OP.if, TYPE_CODE[type]);
		this.#depth++;
		this.emit(then());
		this.#code.u8(OP.else);
		this.emit(otherwise());
		this.#depth--;
		this.#code.u8(OP.end);
		return onStack(type);
	}

	/** Branches to the end of one of the blocks that `wrap` will put around everything. */
	brOut(way: number): void {
		this.#code.u8(OP.br);
		this.#placeLater(way);
	}

	/** The same where a condition holds, which is rare. */
	brOutIf(way: number, condition: Expr): void {
		this.emit(condition);
		this.#hint();
		this.#code.u8(OP.brIf);
		this.#placeLater(way);
	}

	/** The branch that follows is hardly ever taken. */
	#hint(): void {
		const at = this.#code.length;
		this.#unlikely.push(at);
		this.#recorder?.hole(at, at, HOLE.hint, 0);
	}

	/** Room for two bytes of a label that `wrap` will fill in. */
	#placeLater(way: number): void {
		const at = this.#code.length;
		this.#waysOut.push(at, this.#depth, way);
		this.#recorder?.hole(at, at + 2, HOLE.way, this.#depth - this.#recorder.depth);
		this.#code.pair(0x80, 0);
	}

	/**
	 * Puts blocks around everything written so far. `end(n)` writes what follows the end of the n-th of `count`, the first
	 * innermost; those that `others` follow lie around them. All may branch further out. The block of `brOut(way)` is number
	 * `places[way]`.
	 */
	wrap(count: number, end: (n: number) => void, others: readonly (() => void)[], places: readonly number[]): void {
		const ways = this.#waysOut;
		for (let i = 0; i < ways.length; i += 3) {
			const at = ways[i] as number;
			const label = (ways[i + 1] as number) + (places[ways[i + 2] as number] as number);
			this.#code.replace(at, 0x80 | (label & 0x7f));
			this.#code.replace(at + 1, label >> 7);
		}
		ways.length = 0;
		for (let n = 0; n < count; n++) {
			this.#code.u8(OP.end);
			end(n);
		}
		for (const write of others) {
			this.#code.u8(OP.end);
			write();
		}
		this.atStart(() => {
			for (let n = 0; n < count + others.length; n++) this.#code.pair(OP.block, 0x40);
		});
	}

	/** Branches outwards, past `blocks` other ends. */
	brPast(blocks: number): void {
		this.#code.u8(OP.br);
		this.#code.u32(this.#depth + blocks);
	}

	br(label: Label): void {
		this.#code.u8(OP.br);
		this.#code.u32(this.#depth - label.depth);
	}

	brIf(label: Label, condition: Expr): void {
		this.emit(condition);
		this.#code.u8(OP.brIf);
		this.#code.u32(this.#depth - label.depth);
	}

	brTable(labels: readonly Label[], otherwise: Label, index: Expr): void {
		this.emit(index);
		this.#code.u8(OP.brTable);
		this.#code.u32(labels.length);
		for (const label of labels) this.#code.u32(this.#depth - label.depth);
		this.#code.u32(this.#depth - otherwise.depth);
	}

	return(value?: Expr): void {
		if (value !== undefined) this.emit(value);
		this.#code.u8(OP.return);
	}

	/** Calls a function that leaves nothing, or whose result is not wanted (`drop`). */
	call(functionIndex: number, args: readonly Expr[], drop = false): void {
		for (const arg of args) this.emit(arg);
		this.#code.u8(OP.call);
		const from = this.#code.length;
		this.#code.u32(functionIndex);
		this.#recorder?.hole(from, this.#code.length, HOLE.callee, functionIndex);
		if (drop) this.#code.u8(OP.drop);
	}

	/** Calls now and keeps the result. */
	callLet(functionIndex: number, type: ValueType, args: readonly Expr[]): Expr {
		this.call(functionIndex, args);
		return this.#keep(type);
	}

	callIndirectLet(typeIndex: number, type: ValueType, args: readonly Expr[], callee: Expr): Expr {
		for (const arg of args) this.emit(arg);
		this.emit(callee);
		this.#code.u8(OP.callIndirect);
		this.#code.u32(typeIndex);
		this.#code.u32(0);
		return this.#keep(type);
	}

	returnCall(functionIndex: number, args: readonly Expr[]): void {
		for (const arg of args) this.emit(arg);
		this.#code.u8(OP.returnCall);
		this.#code.u32(functionIndex);
	}

	returnCallIndirect(typeIndex: number, args: readonly Expr[], callee: Expr): void {
		for (const arg of args) this.emit(arg);
		this.emit(callee);
		this.#code.u8(OP.returnCallIndirect);
		this.#code.u32(typeIndex);
		this.#code.u32(0);
	}

	/** memory.copy / memory.fill */
	memoryCopy(to: Expr, from: Expr, count: Expr): void {
		for (const e of [to, from, count]) this.emit(e);
		this.#opcode(OP.memoryCopy);
		this.#code.u8(0);
		this.#code.u8(0);
	}

	memoryFill(to: Expr, byte: Expr, count: Expr): void {
		for (const e of [to, byte, count]) this.emit(e);
		this.#opcode(OP.memoryFill);
		this.#code.u8(0);
	}

	/** An instruction that takes memory and operands and leaves a value, with a natural alignment (atomics demand it). */
	atomic(name: OpName, log2Bytes: number, args: readonly Expr[], type: ValueType): Expr {
		for (const arg of args) this.emit(arg);
		this.#opcode(OP[name]);
		this.#code.u32(log2Bytes);
		this.#code.u32(0);
		return this.#keep(type);
	}

	unreachable(): void {
		this.#code.u8(OP.unreachable);
	}

	#opcode(opcode: number): void {
		if (opcode < 0x100) this.#code.u8(opcode);
		else {
			this.#code.u8(opcode >> 12);
			this.#code.u32(opcode & 0xfff);
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
			if (local < ROLE) this.#get(local);
			else this.#getRole(local);
		} else if (e.imm === undefined) {
			if (opcode === ON_STACK) return;
			if (opcode < 0x100) this.#code.u8(opcode);
			else this.#opcode(opcode);
		} else if (opcode <= VARYING) this.#varying(e);
		else this.#withImmediate(opcode, e.imm);
	}

	#getRole(local: number): void {
		const from = this.#code.length;
		this.#get(local % ROLE);
		this.#recorder?.hole(from, this.#code.length, HOLE.get, Math.floor(local / ROLE) - 1);
	}

	/** A constant that templates leave open. */
	#varying(e: Expr): void {
		const from = this.#code.length;
		this.#constant(e.type, e.imm as number);
		this.#recorder?.hole(from, this.#code.length, e.type === "i64" ? HOLE.constant64 : HOLE.constant32, VARYING - e.op);
	}

	#constant(type: ValueType, value: number): void {
		if (type === "i64") {
			this.#code.u8(OP.i64Const);
			this.#code.s64(value);
		} else {
			this.#code.u8(OP.i32Const);
			this.#code.s32(value);
		}
	}

	#withImmediate(opcode: number, imm: number | bigint | Uint8Array): void {
		const code = this.#code;
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
			if (opcode !== STENCIL) this.#opcode(opcode);
			if (imm instanceof Uint8Array) code.raw(imm);
			else if (opcode === OP.globalGet) code.u32(imm as number);
			else code.u8(imm as number); // a lane
		}
	}

	/** The bytes of an expression whose operands are `onStack`, in the order in which they get there. */
	static stencil(e: Expr): Stencil {
		const f = new FunctionBuilder([]);
		f.emit(e);
		const bytes = f.#code.take();
		f.discard();
		return { type: e.type, bytes };
	}

	/** Nobody wants what has been written. */
	discard(): void {
		giveBack(this.#code);
		if (this.#start !== undefined) giveBack(this.#start);
	}

	// ---- templates ----

	/** What is written from here to `recorded` is kept as a template. */
	record(): void {
		this.#recorder = new Recorder(this.#code.length, this.#depth);
		this.#recordedFrom = this.#code.length;
		this.#setEnd = -1;
	}

	/** What is being recorded could not be used elsewhere. */
	spoil(): void {
		if (this.#recorder !== undefined) this.#recorder.isSpoilt = true;
	}

	/** Ends recording; undefined: what was written could not be used elsewhere. */
	recorded(): Template | undefined {
		const recorder = this.#recorder as Recorder;
		this.#recorder = undefined;
		return recorder.isSpoilt ? undefined : recorder.finish(this.#code.since(this.#recordedFrom));
	}

	/** Writes a template's code. */
	replay({ bytes, holes }: Template, filling: Filling): void {
		const code = this.#code;
		this.#setEnd = -1;
		let at = 0;
		for (let i = 0; i < holes.length; i += 3) {
			const position = holes[i] as number;
			if (position > at) code.copy(bytes, at, position);
			at = position;
			const argument = holes[i + 2] as number;
			switch (holes[i + 1]) {
				case HOLE.get:
					this.#get(filling.local(argument));
					break;
				case HOLE.set:
					this.#set(filling.local(argument));
					break;
				case HOLE.constant32:
					this.#constant("i32", filling.constant(argument));
					break;
				case HOLE.constant64:
					this.#constant("i64", filling.constant(argument));
					break;
				case HOLE.way:
					this.#waysOut.push(code.length, this.#depth + argument, filling.way());
					code.pair(0x80, 0);
					break;
				case HOLE.callee:
					code.u32(filling.callee(argument));
					break;
				default:
					this.#unlikely.push(code.length);
			}
		}
		if (bytes.length > at) code.copy(bytes, at, bytes.length);
	}

	/** What is written meanwhile comes before everything else. */
	atStart(write: () => void): void {
		const before = this.#start;
		this.#start = takeSink();
		[this.#start, this.#code] = [this.#code, this.#start];
		this.#setEnd = -1;
		write();
		[this.#start, this.#code] = [this.#code, this.#start];
		this.#setEnd = -1;
		if (before === undefined) return;
		this.#start.append(before);
		giveBack(before);
	}

	/**
	 * Appends the body with its local declarations, as the code section wants it, and is done. Returns where in it the branches are that
	 * are hardly ever taken.
	 */
	finish(out: ByteSink): readonly number[] {
		const parts = [takeSink(), ...(this.#start === undefined ? [] : [this.#start]), this.#code];
		this.#declareLocals(parts[0] as ByteSink);
		const total = parts.reduce((sum, part) => sum + part.length, 0);
		const before = total - this.#code.length;
		for (let i = 0; i < this.#unlikely.length; i++) this.#unlikely[i] = (this.#unlikely[i] as number) + before;
		out.u32(total + 1);
		for (const part of parts) {
			out.append(part);
			giveBack(part);
		}
		out.u8(OP.end);
		return this.#unlikely;
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
