import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Insn } from "../../x86/decode/insn.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import type { EngineModule } from "../engine-module.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { at, EXIT } from "../state/layout.ts";
import { enterBlock } from "./enter-block.ts";
import { deltaOf, InterpreterOps } from "./interpreter-ops.ts";
import { REC, shapeKey, shapeValues } from "./record.ts";

interface Wanted {
	readonly slot: number;
	readonly insn: Insn;
	readonly modeKey: number;
}

/** Makes handlers as instruction shapes turn up, in batches, and knows their slots in the function table. */
export class HandlerFactory {
	readonly #engine: EngineModule;
	/** By number of the row, then by the rest of an instruction's shape. */
	readonly #slots: (Map<number | string, number> | undefined)[] = [];
	#count = 0;
	#wanted: Wanted[] = [];
	/** Fixed handlers: start of a block, end of one without a jump, code that is no more, and #UD, #GP. */
	readonly head: number;
	readonly end: number;
	readonly stale: number;
	readonly staleHead: number;
	readonly undefinedOpcode: number;
	readonly tooLong: number;

	constructor(engine: EngineModule) {
		this.#engine = engine;
		this.head = engine.reserveSlot();
		this.end = engine.reserveSlot();
		this.stale = engine.reserveSlot();
		this.staleHead = engine.reserveSlot();
		this.undefinedOpcode = engine.reserveSlot();
		this.tooLong = engine.reserveSlot();
		const module = engine.newModule();
		const f = params();
		enterBlock(f, f.param(0), f.param(1));
		f.unreachable();
		module.add(this.head, f, "head");
		module.add(this.end, buildEnd(module.index("dispatch")), "end");
		module.add(
			this.stale,
			buildStale((record) => record),
			"stale",
		);
		module.add(
			this.staleHead,
			buildStale(() => i32(0)),
			"stale head",
		);
		module.add(this.undefinedOpcode, buildRaise(6, -1), "#UD");
		module.add(this.tooLong, buildRaise(13, 0), "#GP");
		module.instantiate();
	}

	get count(): number {
		return this.#count;
	}

	/** Slot of the handler for an instruction; it exists after the next `flush`. */
	slotFor(insn: Insn, modeKey: number): number {
		const meaning = meaningOf(insn);
		if (meaning === undefined) return this.undefinedOpcode;
		const { id } = insn.row;
		while (this.#slots.length <= id) this.#slots.push(undefined);
		const slots = (this.#slots[id] ??= new Map());
		const { specialise } = meaning;
		const shape = shapeKey(insn, modeKey);
		const key = specialise === "none" ? shape : `${shape}${shapeValues(insn, specialise)}`;
		const known = slots.get(key);
		if (known !== undefined) return known;
		const slot = this.#engine.reserveSlot();
		slots.set(key, slot);
		this.#count++;
		this.#wanted.push({ slot, insn, modeKey });
		return slot;
	}

	/** Compiles what `slotFor` has promised. */
	flush(): void {
		if (this.#wanted.length === 0) return;
		const module = this.#engine.newModule();
		for (const { slot, insn, modeKey } of this.#wanted) {
			const ops = new InterpreterOps(module, modeKey);
			ops.insn = insn;
			meaningOf(insn)?.emit(ops);
			module.add(slot, ops.finish(), `${insn.mnemonic} ${insn.opBytes} ${insn.row.id}`);
		}
		this.#wanted = [];
		module.instantiate();
	}
}

const params = (): FunctionBuilder => new FunctionBuilder(HANDLER_PARAMS, "i32");

/** The block ends without a jump: rip moves on (imm holds the mask of the mode's instruction pointer). */
function buildEnd(dispatch: number): FunctionBuilder {
	const f = params();
	const [cpu, record] = [f.param(0), f.param(1)];
	const next = op("i64Add", loadOp("i64Load", cpu, at("rip")), op("i64ExtendI32U", deltaOf(record)));
	f.store("i64Store", cpu, op("i64And", next, loadOp("i64Load", record, REC.imm)), at("rip"));
	f.returnCall(dispatch, [cpu, i32(0)]);
	f.unreachable();
	return f;
}

/** The bytes behind this record have changed: leave so that they are decoded again. Nothing has been charged for yet at a head. */
function buildStale(exitRecord: (record: Expr) => Expr): FunctionBuilder {
	const f = params();
	f.store("i32Store", f.param(0), exitRecord(f.param(1)), at("exitRecord"));
	f.return(i32(EXIT.stale));
	f.unreachable();
	return f;
}

function buildRaise(vector: number, errorCode: number): FunctionBuilder {
	const f = params();
	f.store("i32Store", f.param(0), i32(vector), at("faultVector"));
	f.store("i32Store", f.param(0), i32(errorCode), at("faultErrorCode"));
	f.store("i32Store", f.param(0), f.param(1), at("exitRecord"));
	f.return(i32(EXIT.fault));
	f.unreachable();
	return f;
}
