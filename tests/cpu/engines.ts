import { BasenjiEngine } from "./basenji.ts";
import type { EngineUnderTest } from "./engine.ts";
import { NativeEngine, qemuUserEngine } from "./native.ts";

/** Engines by the name a person types. @throws RangeError for a name that is none of them */
export function openEngine(name: string): EngineUnderTest {
	switch (name) {
		case "interpret":
		case "translate":
		case "normal":
			return new BasenjiEngine(name);
		case "qemu-user":
			return qemuUserEngine();
		case "native":
			return new NativeEngine();
		default:
			throw new RangeError(`no engine called ${name}: interpret, translate, normal, qemu-user, native`);
	}
}
