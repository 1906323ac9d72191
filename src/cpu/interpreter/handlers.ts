import { i32, loadOp, op } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Insn } from "../../x86/decode/insn.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import type { EngineModule, GeneratedModule } from "../engine-module.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { at, EXIT } from "../state/layout.ts";
import { enterBlock } from "./enter-block.ts";
import { deltaOf, InterpreterOps } from "./interpreter-ops.ts";
import { HEAD_SLOT, REC, shapeKey, shapeValues } from "./record.ts";

interface Wanted {
	readonly slot: number;
	/** The shape, but for the row. */
	readonly key: number | string;
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
	/** What has been made so far, where somebody is to keep it. */
	#made: Wanted[] | undefined;
	/** Fixed handlers besides HEAD_SLOT: end of one without a jump, code that is no more, and #UD, #GP. */
	readonly end: number;
	readonly stale: number;
	readonly undefinedOpcode: number;
	readonly tooLong: number;

	constructor(engine: EngineModule) {
		this.#engine = engine;
		engine.claimSlots([HEAD_SLOT]);
		this.end = engine.reserveSlot();
		this.stale = engine.reserveSlot();
		this.undefinedOpcode = engine.reserveSlot();
		this.tooLong = engine.reserveSlot();
		const module = engine.newModule();
		const f = params();
		enterBlock(f, f.param(0), f.param(1));
		f.unreachable();
		module.add(HEAD_SLOT, f, "head");
		module.add(this.end, buildEnd(module.index("dispatch")), "end");
		module.add(this.stale, buildStale(), "stale");
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
		const slots = this.#slotsOf(id);
		const { specialise } = meaning;
		const shape = shapeKey(insn, modeKey);
		const values = specialise === "none" ? "" : shapeValues(insn, specialise);
		const key = values === "" ? shape : shape + values;
		const known = slots.get(key);
		if (known !== undefined) return known;
		const slot = this.#engine.reserveSlot();
		slots.set(key, slot);
		this.#count++;
		this.#wanted.push({ slot, key, insn, modeKey });
		return slot;
	}

	#slotsOf(id: number): Map<number | string, number> {
		while (this.#slots.length <= id) this.#slots.push(undefined);
		return (this.#slots[id] ??= new Map());
	}

	/** Compiles what `slotFor` has promised. */
	flush(): void {
		if (this.#wanted.length === 0) return;
		this.#emit(this.#wanted).instantiate();
		this.#made?.push(...this.#wanted);
		this.#wanted = [];
	}

	#emit(wanted: readonly Wanted[]): GeneratedModule {
		const module = this.#engine.newModule();
		for (const { slot, key, insn, modeKey } of wanted) {
			const ops = new InterpreterOps(module, modeKey);
			ops.insn = insn;
			meaningOf(insn)?.emit(ops);
			module.add(slot, ops.finish(), `${insn.mnemonic} ${insn.opBytes} ${insn.row.id}`, `${slot} ${insn.row.id} ${key}`);
		}
		return module;
	}

	/** From now on remembers what it makes, for `made`. */
	remember(): void {
		this.#made ??= [];
	}

	get madeCount(): number {
		return this.#made?.length ?? 0;
	}

	/** All that has been made since `remember`, as one module for `adopt`. */
	made(): Uint8Array {
		return this.#emit(this.#made ?? []).bytes();
	}

	/** Takes in the handlers of a module that another factory made, into the slots that they had there. Nothing has been made or adopted in these yet. */
	adopt(modules: readonly WebAssembly.Module[]): void {
		const handlers = modules.flatMap((module) =>
			Object.entries(this.#engine.exportsOf(module)).map(([exported, handler]) => {
				const [slot, id, key] = exported.split(" ") as [string, string, string];
				return { slot: Number(slot), id: Number(id), key: /^\d+$/.test(key) ? Number(key) : key, handler };
			}),
		);
		this.#engine.claimSlots(handlers.map(({ slot }) => slot));
		for (const { slot, id, key, handler } of handlers) {
			this.#engine.table.set(slot, handler);
			this.#slotsOf(id).set(key, slot);
		}
		this.#count += handlers.length;
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

/** The bytes behind this record have changed: leave so that they are decoded again. */
function buildStale(): FunctionBuilder {
	const f = params();
	f.store("i32Store", f.param(0), f.param(1), at("exitRecord"));
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
