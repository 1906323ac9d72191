/**
 * What is made of instructions and regions, as text, so that a change of code generation is seen. To take over what is made now:
 * `npx vitest run --project unit src/cpu/translator/golden.test.ts -u`.
 */
import { describe, expect, it } from "vitest";
import { GuestMemory } from "../../machine/memory.ts";
import { disassemble } from "../../wasm/disassemble.ts";
import { decode } from "../../x86/decode/decode.ts";
import { disassemble as disassembleInsn } from "../../x86/decode/disassemble.ts";
import type { CodeBits, Insn } from "../../x86/decode/insn.ts";
import type { Callables } from "../emit/ops.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { SoftwareEngine } from "../software-engine.ts";
import { MODE } from "../state/layout.ts";
import { noEffects } from "./effects.ts";
import { emitRegion } from "./emit-region.ts";
import { CodeFixture } from "./fixture.ts";
import { atEntry } from "./region-flow.ts";
import type { RegionGraph } from "./region-graph.ts";
import { RegionOps } from "./region-ops.ts";
import { ShapeTable } from "./shapes.ts";

const MODE64 = MODE.code64 | MODE.stack32 | MODE.flat;
const MODE32 = MODE.code32 | MODE.stack32 | MODE.flat;

const REGISTERS = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
/** A region's locals in the order in which they are made. */
const LOCALS_32 = [
	...["cpu", "record", ...REGISTERS, "budget", "entryRip", "tlb", "exitDelta", "exitTarget", "exitUndo", "exitSite"],
	...["ccOp", "ccX", "ccY", "ccZ", "carry", "turned", "stackTag", "stackAddend"],
];
const LOCALS_64 = [...LOCALS_32.slice(0, -4), "ccX32", "ccY32", "ccZ32", ...LOCALS_32.slice(-4)];

const { module: engine } = new SoftwareEngine(new GuestMemory(1 << 20));

/** Core functions get numbers as they are asked for, and are called by name in the text. */
class NamedCalls implements Callables {
	readonly module = engine.newModule();
	readonly #names: string[] = [];
	readonly #locals: readonly string[];

	constructor(modeKey: number) {
		this.#locals = modeKey === MODE64 ? LOCALS_64 : LOCALS_32;
	}

	index(name: string): number {
		const n = this.module.index(name);
		this.#names[n] = name;
		return n;
	}

	text(bytes: Uint8Array): string {
		const locals = this.#locals;
		return disassemble(bytes, { call: (n) => this.#names[n] as string, local: (n) => locals[n] ?? `t${n - locals.length}` });
	}
}

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], (byte) => Number.parseInt(byte, 16));

function decoded(bytes: Uint8Array, at: number, codeBits: CodeBits): Insn {
	const insn = decode(bytes, at, bytes.length - at, codeBits);
	if (insn.fault !== undefined) throw new Error(`${codeBits}-bit code ${bytes}: ${insn.fault}`);
	return insn;
}

function instruction(hex: string, modeKey: number): string {
	const insn = decoded(bytesOf(hex), 0, modeKey === MODE64 ? 64 : 32);
	const calls = new NamedCalls(modeKey);
	const ops = new RegionOps(calls, modeKey, { gpr: 0, xmm: 0 }, atEntry());
	ops.effects = noEffects();
	ops.insn = insn;
	ops.left = 1;
	meaningOf(insn)?.emit(ops);
	if (!ops.isEnded) ops.commit();
	return `; ${hex}  ${disassembleInsn(insn)}\n${calls.text(ops.f.bytes())}`;
}

function emit(title: string, graph: RegionGraph, shapes: ShapeTable) {
	const calls = new NamedCalls(graph.modeKey);
	const emitted = emitRegion(graph, calls, shapes, 7);
	if (emitted === undefined) throw new Error(`${title}: not translated`);
	return { emitted, calls, text: calls.text(emitted.code.bytes()) };
}

function region(title: string, hex: string, modeKey: number): string {
	const code = bytesOf(hex);
	const graph = new CodeFixture(code).graph(0, modeKey);
	if (graph === undefined) throw new Error(`${title}: no region`);
	const listing: string[] = [];
	for (let at = 0; at < code.length; ) {
		const insn = decoded(code, at, modeKey === MODE64 ? 64 : 32);
		listing.push(`;   ${at.toString(16).padStart(2, "0")}  ${disassembleInsn(insn)}`);
		at += insn.lengthBytes;
	}
	const shapes = new ShapeTable();
	const { emitted, calls, text } = emit(title, graph, shapes);
	// The second time everything that can be is written by templates.
	expect(emit(title, graph, shapes).text, title).toBe(text);
	const heading = `; ${title}: ${graph.insnCount} instructions, ${emitted.code.length} bytes`;
	calls.module.add(7, emitted.code, title);
	// Throws where it is not valid.
	calls.module.instantiate();
	return `${heading}\n${listing.join("\n")}\n${text}`;
}

const INSTRUCTIONS_64 = [
	...["4889c8", "89c8", "6689c8", "88c8", "88e5", "48c7c0ffffffff", "48b8efcdab8967452301"], // mov
	...["488b4310", "8b0491", "418a00", "65488b042528000000", "488b0510000000", "48894310", "c6430801", "66a30000000000000080"],
	...["4801d8", "83c001", "480143f8", "29d8", "4839d8", "11d8", "6619d8", "48ffc0", "fe4b01", "48f7d8"], // arithmetic
	...["31c0", "4821d8", "a801", "48c1e004", "d3e0", "48c1f83f", "c1c003", "480fafc3", "48f7e3", "f7f9", "0fa3c8"],
	...["480fbec0", "0fb603", "4898", "4893", "480fb10b", "f0480fc103", "0f44c3", "0f94c0"],
	...["53", "5b", "ff7310", "c9", "488d4408f0", "f3a4", "f348ab", "fd"],
	...["660f6fc1", "f30f6f03", "0f290b", "660fefc0", "660ffec1", "f20f58c1", "f3480f2ac0", "f20f1103", "660f70c04e", "660fd7c0"],
	...["d94304", "dec1", "0fa2", "0f05", "fa", "fb", "0f0b"],
];

const INSTRUCTIONS_32 = ["89c8", "8b4310", "648b0d00000000", "01430c", "50", "59", "66890b", "0fb603", "60", "f3a5", "40", "0f44c3"];

const REGIONS: readonly [title: string, hex: string, modeKey: number][] = [
	["a counted loop", "31c001c8ffc975faf4", MODE64],
	["a copy", "31c98a040e88040f48ffc14839d175f2f4", MODE64],
	["two ways that come together", "4885ff7405488b07eb0431c0eb0048890650f4", MODE64],
	["flags that one way sets and another leaves alone", "85c0740201c80f94c3f4", MODE64],
	["a loop in a loop", "31db31c901cbffc139f17cf8ffc239fa7cf0f4", MODE64],
	["a call followed, and its return", "e801000000f48d4701c3", MODE64],
	["a call to elsewhere, and computed jumps", "e800100000ffd0ffe0", MODE64],
	["vectors", "660fefc0f30f6f0c06660ffec14883c0104839d075eef30f7f07f4", MODE64],
	["a list followed, counting down", "31c9498b1c8b75faf4", MODE32],
	["fib(n) of 32 bits", "83f80272145048e8f4ffffff5b508d43fee8eaffffff5b01d8c3", MODE32],
	["a string instruction among others", "89cafc89d1f3a489d0f4", MODE64],
];

describe("what the translator makes", () => {
	it("of instructions in 64-bit code", async () => {
		await expect(INSTRUCTIONS_64.map((hex) => instruction(hex, MODE64)).join("\n")).toMatchFileSnapshot("golden/instructions-64.txt");
	});

	it("of instructions in 32-bit code", async () => {
		await expect(INSTRUCTIONS_32.map((hex) => instruction(hex, MODE32)).join("\n")).toMatchFileSnapshot("golden/instructions-32.txt");
	});

	it("of regions", async () => {
		const texts = REGIONS.map(([title, hex, modeKey]) => region(title, hex, modeKey));
		await expect(texts.join("\n")).toMatchFileSnapshot("golden/regions.txt");
	});

	it("is the same by templates as from meanings, whatever came before", () => {
		const plain = INSTRUCTIONS_64.filter((hex) => decoded(bytesOf(hex), 0, 64).row.flow === "none");
		const shared = new ShapeTable();
		let state = 1;
		const pick = (count: number): number => {
			state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
			return Math.floor((state / 2 ** 32) * count);
		};
		for (let n = 0; n < 40; n++) {
			const title = `program ${n}`;
			const code = bytesOf(Array.from({ length: 24 }, () => plain[pick(plain.length)] as string).join(""));
			const graph = new CodeFixture(code).graph(0, MODE64) as RegionGraph;
			expect(graph.insnCount).toBeGreaterThan(20);
			expect(emit(title, graph, shared).text, title).toBe(emit(title, graph, new ShapeTable()).text);
		}
	});
});
