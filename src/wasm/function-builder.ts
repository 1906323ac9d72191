import type { ByteSink } from "./byte-sink.ts";
import { CALLEE, codeOf, type Expr, numberOfPlace, onStack, type Stencil, truth } from "./expr.ts";
import { type FunctionBody, FunctionCode } from "./function-code.ts";
import { OP, type OpName, TYPE_CODE, type ValueType } from "./opcodes.ts";
import { type Filling, HOLE, Recorder, type Template } from "./template.ts";
import { giveBack, takeSink, ValueWriter } from "./value-writer.ts";

/** A place a branch can go: counted from the outermost block, so that it stays valid however deep the code gets. */
export interface Label {
	readonly depth: number;
}

/** One function's body: statements are written as they are called, expressions as trees. */
export class FunctionBuilder extends ValueWriter implements FunctionBody {
	/** Branches by `brOut`: position of the label, depth there, way. */
	readonly #waysOut: number[] = [];
	#recordedFrom = 0;

	/** `name` is a store instruction. */
	store(name: OpName, address: Expr, value: Expr, offset = 0): void {
		if (address.op === OP.i32Const && (address.imm as number) > 0) {
			offset += address.imm as number;
			this.code.pair(OP.i32Const, 0);
		} else this.emit(address);
		this.emit(value);
		const opcode = codeOf(name);
		if (opcode < 0x100) this.code.pair(opcode, 0);
		else {
			this.opcode(opcode);
			this.code.u8(0);
		}
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
		this.depth++;
		body({ depth: this.depth });
		this.depth--;
		this.code.u8(OP.end);
	}

	if(condition: Expr, then: () => void, otherwise?: () => void): void {
		if (condition.op === OP.i32Const) {
			if (condition.imm !== 0) then();
			else otherwise?.();
			return;
		}
		this.emit(truth(condition));
		this.code.pair(OP.if, 0x40);
		this.depth++;
		then();
		if (otherwise !== undefined) {
			this.code.u8(OP.else);
			otherwise();
		}
		this.depth--;
		this.code.u8(OP.end);
	}

	/** As `if`, where the condition hardly ever holds. */
	ifRarely(condition: Expr, then: () => void, otherwise?: () => void): void {
		if (condition.op === OP.i32Const) {
			this.if(condition, then, otherwise);
			return;
		}
		this.emit(truth(condition));
		this.#hint();
		this.if(onStack("i32"), then, otherwise);
	}

	/** A value that is worked out in one of two ways, seldom the first; it is on the stack, for the next expression to use once. */
	choose(condition: Expr, type: ValueType, then: () => Expr, otherwise: () => Expr): Expr {
		this.emit(truth(condition));
		this.#hint();
		this.code.pair(OP.if, TYPE_CODE[type]);
		this.depth++;
		this.emit(then());
		this.code.u8(OP.else);
		this.emit(otherwise());
		this.depth--;
		this.code.u8(OP.end);
		return onStack(type);
	}

	/** Branches to the end of one of the blocks that `wrap` will put around everything. */
	brOut(way: number): void {
		this.code.u8(OP.br);
		this.#placeLater(way);
	}

	/** The same where a condition holds, which is rare. */
	brOutIf(way: number, condition: Expr): void {
		this.emit(truth(condition));
		this.#hint();
		this.code.u8(OP.brIf);
		this.#placeLater(way);
	}

	/** The branch that follows is hardly ever taken. */
	#hint(): void {
		const at = this.code.length;
		this.unlikely.push(at);
		this.recorder?.hole(at, at, HOLE.hint, 0);
	}

	/** Room for two bytes of a label that `wrap` will fill in. */
	#placeLater(way: number): void {
		const at = this.code.length;
		this.#waysOut.push(at, this.depth, way);
		this.recorder?.hole(at, at + 2, HOLE.way, this.depth - this.recorder.depth);
		this.code.pair(0x80, 0);
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
			this.code.replace(at, 0x80 | (label & 0x7f));
			this.code.replace(at + 1, label >> 7);
		}
		ways.length = 0;
		for (let n = 0; n < count; n++) {
			this.code.u8(OP.end);
			end(n);
		}
		for (const write of others) {
			this.code.u8(OP.end);
			write();
		}
		this.atStart(() => {
			for (let n = 0; n < count + others.length; n++) this.code.pair(OP.block, 0x40);
		});
	}

	/** Branches outwards, past `blocks` other ends. */
	brPast(blocks: number): void {
		this.code.u8(OP.br);
		this.code.u32(this.depth + blocks);
	}

	br(label: Label): void {
		this.code.u8(OP.br);
		this.code.u32(this.depth - label.depth);
	}

	brIf(label: Label, condition: Expr): void {
		this.emit(truth(condition));
		this.code.u8(OP.brIf);
		this.code.u32(this.depth - label.depth);
	}

	/** As `brIf`, where the condition hardly ever holds. */
	brIfRarely(label: Label, condition: Expr): void {
		if (condition.op === OP.i32Const && condition.imm === 0) return;
		this.emit(truth(condition));
		this.#hint();
		this.code.u8(OP.brIf);
		this.code.u32(this.depth - label.depth);
	}

	brTable(labels: readonly Label[], otherwise: Label, index: Expr): void {
		this.emit(index);
		this.code.u8(OP.brTable);
		this.code.u32(labels.length);
		for (const label of labels) this.code.u32(this.depth - label.depth);
		this.code.u32(this.depth - otherwise.depth);
	}

	return(value?: Expr): void {
		if (value !== undefined) this.emit(value);
		this.code.u8(OP.return);
	}

	/** Calls a function that leaves nothing, or whose result is not wanted (`drop`). */
	call(functionIndex: number, args: readonly Expr[], drop = false): void {
		for (const arg of args) this.emit(arg);
		this.code.u8(OP.call);
		const from = this.code.length;
		this.#callee(functionIndex);
		this.recorder?.hole(from, this.code.length, HOLE.callee, functionIndex);
		if (drop) this.code.u8(OP.drop);
	}

	/** Calls now and keeps the result. */
	callLet(functionIndex: number, type: ValueType, args: readonly Expr[]): Expr {
		this.call(functionIndex, args);
		return this.keep(type);
	}

	#callee(functionIndex: number): void {
		this.writeOpen(numberOfPlace({ kind: CALLEE, argument: functionIndex }), functionIndex);
	}

	callIndirectLet(typeIndex: number, type: ValueType, args: readonly Expr[], callee: Expr): Expr {
		for (const arg of args) this.emit(arg);
		this.emit(callee);
		this.code.u8(OP.callIndirect);
		this.code.u32(typeIndex);
		this.code.u32(0);
		return this.keep(type);
	}

	returnCall(functionIndex: number, args: readonly Expr[]): void {
		this.spoil();
		for (const arg of args) this.emit(arg);
		this.code.u8(OP.returnCall);
		this.#callee(functionIndex);
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
		this.opcode(OP.memoryCopy);
		this.code.u8(0);
		this.code.u8(0);
	}

	memoryFill(to: Expr, byte: Expr, count: Expr): void {
		for (const e of [to, byte, count]) this.emit(e);
		this.opcode(OP.memoryFill);
		this.code.u8(0);
	}

	/** An instruction that takes memory and operands and leaves a value, with a natural alignment (atomics demand it). */
	atomic(name: OpName, log2Bytes: number, args: readonly Expr[], type: ValueType): Expr {
		for (const arg of args) this.emit(arg);
		this.opcode(OP[name]);
		this.code.u32(log2Bytes);
		this.code.u32(0);
		return this.keep(type);
	}

	unreachable(): void {
		this.code.u8(OP.unreachable);
	}

	/** The bytes of an expression whose operands are `onStack`, in the order in which they get there. */
	static stencil(e: Expr): Stencil {
		const f = new FunctionBuilder([]);
		f.emit(e);
		const bytes = f.code.take();
		f.discard();
		return { type: e.type, bytes };
	}

	/** Nobody wants what has been written. */
	discard(): void {
		giveBack(this.code);
		if (this.start !== undefined) giveBack(this.start);
	}

	// ---- templates ----

	/** What is written from here to `recorded` is kept as a template. */
	record(): void {
		this.recorder = new Recorder(this.code.length, this.depth);
		this.#recordedFrom = this.code.length;
		this.setEnd = -1;
	}

	/** Ends recording; undefined: what was written could not be used elsewhere. */
	recorded(): Template | undefined {
		const recorder = this.recorder as Recorder;
		this.recorder = undefined;
		return recorder.isSpoilt ? undefined : recorder.finish(this.code.since(this.#recordedFrom));
	}

	/** Writes a template's code. */
	replay({ bytes, holes }: Template, filling: Filling): void {
		const code = this.code;
		this.setEnd = -1;
		let at = 0;
		for (let i = 0; i < holes.length; i += 3) {
			const position = holes[i] as number;
			if (position > at) code.copy(bytes, at, position);
			at = position;
			const argument = holes[i + 2] as number;
			switch (holes[i + 1]) {
				case HOLE.get:
					this.emitGet(filling.local(argument));
					break;
				case HOLE.set:
					this.emitSet(filling.local(argument));
					break;
				case HOLE.constant32:
					this.constant("i32", filling.constant(argument));
					break;
				case HOLE.constant64:
					this.constant("i64", filling.constant(argument));
					break;
				case HOLE.way:
					this.#waysOut.push(code.length, this.depth + argument, filling.way());
					code.pair(0x80, 0);
					break;
				case HOLE.callee:
					this.#callee(filling.callee(argument));
					break;
				default:
					this.unlikely.push(code.length);
			}
		}
		if (bytes.length > at) code.copy(bytes, at, bytes.length);
	}

	/** What is written meanwhile comes before everything else. */
	atStart(write: () => void): void {
		const before = this.start;
		this.start = takeSink();
		[this.start, this.code] = [this.code, this.start];
		this.setEnd = -1;
		write();
		[this.start, this.code] = [this.code, this.start];
		this.setEnd = -1;
		if (before === undefined) return;
		this.start.append(before);
		giveBack(before);
	}

	/**
	 * Appends the body with its local declarations, as the code section wants it, and is done. Returns where in it the branches are that
	 * are hardly ever taken.
	 */
	finish(out: ByteSink): readonly number[] {
		const parts = [takeSink(), ...(this.start === undefined ? [] : [this.start]), this.code];
		this.#declareLocals(parts[0] as ByteSink);
		const total = parts.reduce((sum, part) => sum + part.length, 0);
		const before = total - this.code.length;
		for (let i = 0; i < this.unlikely.length; i++) this.unlikely[i] = (this.unlikely[i] as number) + before;
		for (let i = 0; i < this.open.length; i += 2) this.open[i] = (this.open[i] as number) + before;
		out.u32(total + 1);
		for (const part of parts) {
			out.append(part);
			giveBack(part);
		}
		out.u8(OP.end);
		return this.unlikely;
	}

	/** The finished body, with its places left open: it may be used again. */
	freeze(): FunctionCode {
		const sink = takeSink();
		const unlikely = this.finish(sink);
		const bytes = sink.take();
		giveBack(sink);
		return new FunctionCode(this.paramTypes, this.resultType, bytes, unlikely, this.open);
	}

	#declareLocals(head: ByteSink): void {
		const types = this.types;
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
