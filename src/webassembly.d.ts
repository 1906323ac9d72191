/** The part of the WebAssembly JavaScript API that the core uses; core projects load no DOM and no Node types. */
declare namespace WebAssembly {
	class Memory {
		constructor(descriptor: { initial: number; maximum?: number; shared?: boolean });
		readonly buffer: SharedArrayBuffer;
	}
	class Table {
		constructor(descriptor: { element: "anyfunc"; initial: number; maximum?: number });
		readonly length: number;
		get(index: number): unknown;
		set(index: number, value: unknown): void;
		grow(delta: number): number;
	}
	class Global {
		constructor(descriptor: { value: "i32" | "i64" | "f64"; mutable?: boolean }, value: number | bigint);
		value: number | bigint;
	}
	class Module {
		constructor(bytes: Uint8Array);
	}
	class Instance {
		constructor(module: Module, imports?: Record<string, Record<string, unknown>>);
		readonly exports: Record<string, unknown>;
	}
	function compile(bytes: Uint8Array): Promise<Module>;
	function validate(bytes: Uint8Array): boolean;
}
