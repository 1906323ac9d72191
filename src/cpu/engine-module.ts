import type { FunctionBody } from "../wasm/function-code.ts";
import { ModuleBuilder } from "../wasm/module-builder.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import { buildCoreModule, coreFunctions, HANDLER_PARAMS, importEngine } from "./core/registry.ts";
import type { Callables } from "./emit/ops.ts";
import type { KeptCode } from "./kept-code.ts";
import "./core/flags.ts";
import "./core/integer.ts";
import "./core/deliver.ts";
import "./core/fast-calls.ts";
import "./core/decode-block.ts";
import "./core/find-code.ts";
import "./core/fpu-image.ts";
import "./core/interrupt-return.ts";
import "./core/memory.ts";
import "./core/page-walk.ts";
import "./core/privilege.ts";
import "./core/segment-loads.ts";
import "./core/sse.ts";

/** A helper in TypeScript: (offset of the CPU's block, three arguments) → status. */
export type Helper = (cpu: number, a: number, b: number, c: number) => number;

/** Helpers that the core module itself calls: whoever makes an engine brings at least these. */
export const CORE_HELPERS = [
	...["slowLoad", "slowStore", "slowProbe", "syscall", "sysret", "sysenter", "sysexit"],
	...["sti", "checkPopf", "popf", "setAc", "segmentLoad", "iret", "interrupt", "xsave", "xrstor"],
] as const;

/** Memory helpers take fewer arguments than system ones, because they are called so often. */
const ARGUMENT_COUNTS: Readonly<Record<string, number>> = { slowLoad: 2, slowStore: 2, slowProbe: 2 };

type Entry = (cpu: number, record: number) => number;

const cores = new Map<string, WebAssembly.Module>();

/** The core module; compiled once for all machines, since forks have to be quick, and emitted once for all processes. */
function compiledCore(counts: ReadonlyMap<string, number>, isNamed: boolean, kept: KeptCode | undefined): WebAssembly.Module {
	const key = `${isNamed} ${[...counts].join(" ")}`;
	const known = cores.get(key);
	if (known !== undefined) return known;
	const name = isNamed ? "core-named" : "core";
	let bytes = kept?.read(name);
	if (bytes === undefined) {
		bytes = buildCoreModule(counts, isNamed);
		kept?.write(name, [bytes]);
	}
	const module = new WebAssembly.Module(bytes);
	cores.set(key, module);
	return module;
}

/**
 * What generated code lives in: the memory, the function table, the core module's functions and the helpers. One for all
 * CPUs that run in a worker.
 */
export class EngineModule {
	readonly memory: WebAssembly.Memory;
	readonly table: WebAssembly.Table;
	readonly #helpers: Readonly<Record<string, Helper>>;
	readonly #core: Record<string, unknown>;
	readonly #freeSlots: number[] = [];
	#slotCount = 0;
	/** Modules instantiated so far (engines have limits). */
	moduleCount = 0;
	/** Generated functions carry names, for profilers: `region…`, `handler…`. */
	readonly isNamed: boolean;

	constructor(memory: WebAssembly.Memory, helpers: Readonly<Record<string, Helper>>, isNamed = false, kept?: KeptCode) {
		this.isNamed = isNamed;
		this.memory = memory;
		this.table = new WebAssembly.Table({ element: "anyfunc", initial: 4096 });
		this.#helpers = withSlowOnes(helpers);
		const counts = new Map(Object.keys(this.#helpers).map((name) => [name, ARGUMENT_COUNTS[name] ?? 4]));
		const module = compiledCore(counts, isNamed, kept);
		const instance = new WebAssembly.Instance(module, { engine: { memory, table: this.table }, helpers: this.#helpers });
		this.#core = instance.exports;
	}

	/** Runs from the CPU's rip until something asks for the run loop. */
	get dispatch(): Entry {
		return this.#core.dispatch as Entry;
	}

	/** Runs a block from its head record on, without asking a jump cache. */
	get enterBlock(): Entry {
		return this.#core.enterBlock as Entry;
	}

	coreFunction(name: string): (...args: (number | bigint)[]) => number | bigint {
		return this.#core[name] as (...args: (number | bigint)[]) => number | bigint;
	}

	reserveSlot(): number {
		const free = this.#freeSlots.pop();
		if (free !== undefined) return free;
		if (this.#slotCount === this.table.length) this.table.grow(this.table.length);
		return this.#slotCount++;
	}

	/** Takes these very slots, of which none may have been given out. */
	claimSlots(slots: readonly number[]): void {
		const claimed = new Set(slots);
		const end = slots.reduce((last, slot) => Math.max(last, slot + 1), this.#slotCount);
		while (this.table.length < end) this.table.grow(this.table.length);
		for (let slot = end - 1; slot >= this.#slotCount; slot--) if (!claimed.has(slot)) this.#freeSlots.push(slot);
		this.#slotCount = end;
	}

	releaseSlot(slot: number): void {
		this.#freeSlots.push(slot);
	}

	newModule(): GeneratedModule {
		return new GeneratedModule(this);
	}

	/** @internal */
	signatureOf(name: string): { params: readonly ValueType[]; result: ValueType | undefined; from: "core" | "helpers" } {
		const core = coreFunctions().get(name);
		if (core !== undefined) return { ...core, from: "core" };
		if (!(name in this.#helpers)) throw new Error(`generated code calls ${name}, which does not exist`);
		return { params: new Array<ValueType>(ARGUMENT_COUNTS[name] ?? 4).fill("i32"), result: "i32", from: "helpers" };
	}

	/** The functions of a compiled module that are in no slots yet. */
	exportsOf(module: WebAssembly.Module): Record<string, unknown> {
		return new WebAssembly.Instance(module, this.imports).exports;
	}

	/** @internal */
	get imports(): Record<string, Record<string, unknown>> {
		this.moduleCount++;
		return { engine: { memory: this.memory, table: this.table }, core: this.#core, helpers: this.#helpers };
	}
}

/** Where the core has a function of a helper's name, that one is called, and calls the helper as `slow_…` when it must. */
function withSlowOnes(helpers: Readonly<Record<string, Helper>>): Readonly<Record<string, Helper>> {
	const all: Record<string, Helper> = {};
	for (const [name, helper] of Object.entries(helpers)) all[coreFunctions().has(name) ? `slow_${name}` : name] = helper;
	return all;
}

/** Functions to be put into the table together. Imports are gathered while bodies are written, so numbers are final at once. */
export class GeneratedModule implements Callables {
	readonly #engine: EngineModule;
	/** Numbers by name, and names by number. */
	readonly #imports = new Map<string, number>();
	readonly #names: string[] = [];
	readonly #bodies: { slot: number; body: FunctionBody; name: string; exported: string }[] = [];

	constructor(engine: EngineModule) {
		this.#engine = engine;
	}

	index(name: string): number {
		const known = this.#imports.get(name);
		if (known !== undefined) return known;
		this.#engine.signatureOf(name);
		const index = this.#imports.size;
		this.#imports.set(name, index);
		this.#names.push(name);
		return index;
	}

	/** Of the function with this number. */
	nameOf(index: number): string {
		return this.#names[index] as string;
	}

	/** `name` is for profilers, `exported` for whoever keeps the module. */
	add(slot: number, body: FunctionBody, name: string, exported = `f${this.#bodies.length}`): void {
		this.#bodies.push({ slot, body, name, exported });
	}

	get functionCount(): number {
		return this.#bodies.length;
	}

	bytes(): Uint8Array {
		const module = new ModuleBuilder();
		module.type(HANDLER_PARAMS, "i32"); // type 0: what the table holds
		importEngine(module);
		for (const name of this.#names) {
			const { params, result, from } = this.#engine.signatureOf(name);
			module.importFunction(from, name, params, result);
		}
		for (const { body, name, exported } of this.#bodies) {
			const index = module.function(body);
			module.export(exported, index);
			if (this.#engine.isNamed) module.nameFunction(index, name);
		}
		return module.finish();
	}

	/** Compiles the functions and puts them into their slots. Returns how many bytes the module has. */
	instantiate(): number {
		const bytes = this.bytes();
		const exports = this.#engine.exportsOf(new WebAssembly.Module(bytes));
		for (const { slot, exported } of this.#bodies) this.#engine.table.set(slot, exports[exported]);
		return bytes.length;
	}
}
