import { ENGINE_BYTES } from "../../machine/memory.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { ModuleBuilder } from "../../wasm/module-builder.ts";
import type { ValueType } from "../../wasm/opcodes.ts";
import type { Callables } from "../emit/ops.ts";

/** A function written once with the builder, compiled into the core module, called by handlers and regions by name. */
export interface CoreFunction {
	readonly name: string;
	readonly params: readonly ValueType[];
	readonly result: ValueType | undefined;
	build(f: FunctionBuilder, calls: Callables): void;
}

/** Handlers and regions are (cpu, record) → exit: type 0 of every module that calls through the table. */
export const HANDLER_PARAMS: readonly ValueType[] = ["i32", "i32"];
export const HANDLER_TYPE = 0;

/** What every module imports: the machine's memory, whose first part the engine takes up whatever the guest's RAM, and the function table. */
export function importEngine(module: ModuleBuilder): void {
	module.importMemory("engine", "memory", ENGINE_BYTES / 65536, 65536);
	module.importTable("engine", "table");
}

const functions = new Map<string, CoreFunction>();

export function defineCore(
	name: string,
	params: readonly ValueType[],
	result: ValueType | undefined,
	build: (f: FunctionBuilder, calls: Callables) => void,
): void {
	if (functions.has(name)) throw new Error(`core function ${name} is defined twice`);
	functions.set(name, { name, params, result, build });
}

export function coreFunctions(): ReadonlyMap<string, CoreFunction> {
	return functions;
}

/**
 * Builds the core module: every core function exported under its name; `imports` are JavaScript helpers of type
 * (i32 cpu, i32, i32, i32) → i32 or narrower, from module "helpers".
 */
export function buildCoreModule(imports: ReadonlyMap<string, number>, isNamed = false): Uint8Array {
	const module = new ModuleBuilder();
	module.type(HANDLER_PARAMS, "i32"); // type 0: what the function table holds
	importEngine(module);
	const indices = new Map<string, number>();
	for (const [name, argCount] of imports)
		indices.set(name, module.importFunction("helpers", name, new Array<ValueType>(argCount).fill("i32"), "i32"));
	for (const { name, params, result } of functions.values()) indices.set(name, module.declare(params, result));
	const calls: Callables = {
		index(name) {
			const index = indices.get(name);
			if (index === undefined) throw new Error(`no core function or helper ${name}`);
			return index;
		},
	};
	for (const { name, params, result, build } of functions.values()) {
		const f = new FunctionBuilder(params, result);
		build(f, calls);
		module.define(indices.get(name) as number, f);
		module.export(name, indices.get(name) as number);
		if (isNamed) module.nameFunction(indices.get(name) as number, name);
	}
	return module.finish();
}
