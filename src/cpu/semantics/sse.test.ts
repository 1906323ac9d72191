import { expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/units.ts";
import { GuestMemory } from "../../machine/memory.ts";
import { decode } from "../../x86/decode/decode.ts";
import type { CodeBits, Insn } from "../../x86/decode/insn.ts";
import { CORE_HELPERS, EngineModule } from "../engine-module.ts";
import { InterpreterOps } from "../interpreter/interpreter-ops.ts";
import { MODE } from "../state/layout.ts";
import { meaningOf } from "./meaning.ts";
import { semanticsOf } from "./registry.ts";

const PREFIXES = [[], [0x66], [0xf3], [0xf2]];
const MAPS = [[0x0f], [0x0f, 0x38], [0x0f, 0x3a]];

/** One instruction for each row of the vector units, operand kind and width. */
function vectorInsns(codeBits: CodeBits): Insn[] {
	const found = new Map<string, Insn>();
	for (const prefix of PREFIXES)
		for (const rex of codeBits === 64 ? [[], [0x48]] : [[]])
			for (const map of MAPS)
				for (let opcode = 0; opcode < 256; opcode++)
					for (let modrm = 0; modrm < 256; modrm += modrm % 8 === 0 ? 1 : 7) {
						const bytes = Uint8Array.from([...prefix, ...rex, ...map, opcode, modrm, ...new Array(15).fill(0x1b)]);
						const insn = decode(bytes, 0, 15, codeBits);
						if (insn.fault !== undefined) continue;
						if (insn.row.unit !== "sse" && insn.row.unit !== "mmx") continue;
						const key = `${insn.row.id},${insn.rexW},${insn.operands.map(({ kind }) => kind)}`;
						if (!found.has(key)) found.set(key, insn);
					}
	return [...found.values()];
}

const helpers = Object.fromEntries([...CORE_HELPERS, "floatError"].map((name) => [name, () => 0]));

for (const [codeBits, modeKey] of [
	[64, MODE.code64 | MODE.flat | MODE.stack32],
	[32, MODE.code32 | MODE.stack32],
] as const)
	it(`compiles every MMX and SSE handler for ${codeBits}-bit code`, () => {
		const engine = new EngineModule(new GuestMemory(PAGE_BYTES).memory, helpers);
		const insns = vectorInsns(codeBits);
		expect(insns.length).toBeGreaterThan(400);
		expect(insns.filter(({ mnemonic }) => semanticsOf(mnemonic) === undefined).map(({ mnemonic }) => mnemonic)).toEqual([]);
		const module = engine.newModule();
		for (const insn of insns) {
			const ops = new InterpreterOps(module, modeKey);
			ops.insn = insn;
			meaningOf(insn)?.emit(ops);
			module.add(engine.reserveSlot(), ops.finish(), "under test");
		}
		module.instantiate();
		expect(module.functionCount).toBe(insns.length);
	});
