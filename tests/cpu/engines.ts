import type { EngineUnderTest } from "./engine.ts";
import { NativeEngine, qemuUserEngine } from "./native.ts";

/** Engines by the name a person types. @throws RangeError for a name that is none of them */
export async function openEngine(name: string): Promise<EngineUnderTest> {
	if (name === "qemu-user") return qemuUserEngine();
	if (name === "native") return new NativeEngine();
	throw new RangeError(`no engine called ${name}: native, qemu-user`);
}
