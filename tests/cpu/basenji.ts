import { PAGE_BYTES } from "../../src/base/units.ts";
import type { Block } from "../../src/cpu/interpreter/block-cache.ts";
import { HEAD } from "../../src/cpu/interpreter/record.ts";
import type { Mmu } from "../../src/cpu/mmu/mmu.ts";
import { SoftwareCpu } from "../../src/cpu/software-cpu.ts";
import { SoftwareEngine, type SoftwareEngineOptions } from "../../src/cpu/software-engine.ts";
import { at, type FieldName } from "../../src/cpu/state/layout.ts";
import { SEG, updateMode } from "../../src/cpu/system/mode.ts";
import { RFLAGS_MASK, writeRflags } from "../../src/cpu/system/rflags.ts";
import { setSegment } from "../../src/cpu/system/segments.ts";
import type { Translator } from "../../src/cpu/translator/translator.ts";
import { IoBus } from "../../src/machine/bus.ts";
import { SteppedClock } from "../../src/machine/clock.ts";
import { ENGINE_BYTES, GuestMemory } from "../../src/machine/memory.ts";
import type { CpuBoard } from "../../src/machine/processor.ts";
import type { EngineUnderTest } from "./engine.ts";
import {
	AREAS,
	CODE_ADDRESS,
	CODE_BYTES,
	codeOf,
	encodeResult,
	FS_BASE,
	FXSAVE_BYTES,
	GS_BASE,
	initialIp,
	initialSelectors,
	LDT,
	type Mode,
	type Patch,
	RESULT_BYTES,
	type TestCase,
	TestResult,
} from "./format.ts";
import * as world from "./guest-world.ts";
import { baseMemory } from "./values.ts";

/** A board with nothing on it. */
const emptyBoard: CpuBoard = {
	acknowledgeInterrupt: () => 0xff,
	readTaskPriority: () => 0,
	writeTaskPriority: () => {},
	readApicMsr: () => undefined,
	writeApicMsr: () => false,
	isA20Enabled: true,
	shutdown: () => {},
};

/** What Linux sets, as far as user mode can tell. */
const CR0 = 0x8005_0033n;
const CR4 = 0x6e8n | 0x200n;
const EFER = 0xd01n;
/** Enough for any case that ends; native loops are cut off by time. */
const BUDGET = 400_000;
/** What a processor gets done before a native case is cut off. */
const LONG_BUDGET = 200_000_000;

/** More than enough slices spent in a region for its second translation. */
const SLICES_TO_SECOND = 8;

const AREA_PHYS = [world.CODE_PHYS, world.DATA_PHYS, world.STACK_PHYS];
const ATTR_CODE32 = 0xc0fb00;
const ATTR_CODE64 = 0xa0fb00;
const ATTR_DATA = 0xc0f300;

/** Never translated, always, or when code has become hot, as in a machine. */
export type BasenjiMode = "interpret" | "translate" | "normal";
export const BASENJI_MODES: readonly BasenjiMode[] = ["interpret", "translate", "normal"];

const HOT_THRESHOLDS: Record<BasenjiMode, SoftwareEngineOptions> = {
	interpret: { hotThreshold: 0 },
	translate: { hotThreshold: 1 },
	normal: {},
};

/** One of the project's engines. An exception of the engine's own is a result too: the case counts as not run. */
export class BasenjiEngine implements EngineUnderTest {
	readonly name: BasenjiMode;
	readonly reportsFaults = true;
	/** Exceptions by message, with the stack of the first. */
	readonly crashes = new Map<string, { count: number; readonly stack: string }>();
	#guest: Guest;
	#translatedBefore = 0;

	constructor(name: BasenjiMode) {
		this.name = name;
		this.#guest = new Guest(name);
	}

	/** Cases whose first block is known to have run as a translated region when the result was taken. */
	get translatedCount(): number {
		return this.#translatedBefore + this.#guest.translatedCount;
	}

	supports(): boolean {
		return true;
	}

	run(cases: readonly TestCase[]): TestResult[] {
		const results: TestResult[] = [];
		for (let at = 0; at < cases.length; at += world.CODE_COPIES) {
			const group = cases.slice(at, at + world.CODE_COPIES);
			const together = this.#attempt(group, false);
			// One of them has thrown: which?
			results.push(
				...(together ?? group.map((testCase) => this.#attempt([testCase], true)?.[0] ?? new TestResult(new Uint8Array(RESULT_BYTES)))),
			);
		}
		return results;
	}

	runLong(testCase: TestCase): TestResult {
		const [result] = this.#attempt([testCase], true, LONG_BUDGET) ?? [];
		return result ?? new TestResult(new Uint8Array(RESULT_BYTES));
	}

	/** undefined: the engine has thrown, and there is a new one. */
	#attempt(group: readonly TestCase[], isNoted: boolean, budget = BUDGET): TestResult[] | undefined {
		try {
			return this.#guest.run(group, budget);
		} catch (error) {
			const { message, stack = "" } = error as Error;
			const known = this.crashes.get(message);
			if (known !== undefined && isNoted) known.count++;
			else if (known === undefined && isNoted) this.crashes.set(message, { count: 1, stack });
			this.#translatedBefore += this.#guest.translatedCount;
			this.#guest = new Guest(this.name);
			return undefined;
		}
	}
}

/** A processor in compatibility or 64-bit mode at privilege 3, under tables like Linux's. */
class Guest {
	readonly #engine: SoftwareEngine;
	readonly #cpu: SoftwareCpu;
	readonly #memory = new GuestMemory(world.RAM_BYTES);
	readonly #image = baseMemory();
	/** What the areas should hold if the case writes nothing; and the areas themselves, as views. */
	readonly #shadow: Uint8Array;
	readonly #areas: Uint8Array[];
	#mode: Mode | undefined;
	/** See `BasenjiEngine.translatedCount`. */
	translatedCount = 0;
	/** Of the code area. */
	#copy = 0;
	readonly #areaPhys = [...AREA_PHYS];
	readonly #isEager: boolean;
	#budget = BUDGET;

	constructor(name: BasenjiMode) {
		this.#isEager = name === "translate";
		this.#engine = new SoftwareEngine(this.#memory, HOT_THRESHOLDS[name]);
		let seed = 1;
		this.#cpu = new SoftwareCpu(this.#engine, {
			index: 0,
			cpuCount: 1,
			io: new IoBus(),
			clock: new SteppedClock(),
			board: emptyBoard,
			entropy: { next32: () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) },
		});
		const { translator } = this.#engine;
		if (translator !== undefined && this.#isEager) {
			const heat = translator.heat.bind(translator);
			translator.heat = (record, met) => heat(record, { ...met, mmu: this.#mmuOf(this.#copy) });
		}
		this.#shadow = this.#image.slice();
		this.#areas = AREAS.map(({ sizeBytes }, index) => {
			const start = ENGINE_BYTES + (AREA_PHYS[index] as number);
			return this.#memory.bytes.subarray(start, start + sizeBytes);
		});
		world.buildWorld((physAddr, bytes) => this.#memory.write(physAddr, bytes));
		for (const [index, area] of AREAS.entries()) this.#areas[index]!.set(this.#imagePart(this.#image, area));
		for (let copy = 0; copy < world.CODE_COPIES; copy++)
			this.#memory.bytes.set(this.#imagePart(this.#image, AREAS[0]!), ENGINE_BYTES + world.codeCopyPhys(copy));
		this.#enterWorld();
	}

	/** At most as many cases as there are copies of the code area; `budget` instructions for each. */
	run(cases: readonly TestCase[], budget: number): TestResult[] {
		this.#budget = budget;
		const { translator } = this.#engine;
		if (!this.#isEager || translator === undefined)
			return cases.map((testCase) => {
				this.#putCode(testCase);
				const result = this.#runOnce(testCase);
				this.#unput(testCase.codeAddress, codeOf(testCase).length);
				return result;
			});
		// The first run finds and heats the blocks, the second runs what they were translated to: many cases' at once.
		for (const [copy, testCase] of cases.entries()) {
			this.#select(copy);
			this.#putCode(testCase);
			this.#runOnce(testCase);
			this.#forgetCode(testCase);
		}
		translator.compile();
		for (const [copy, testCase] of cases.entries()) if (copy % 4 === 3) this.#sample(copy, testCase, translator);
		translator.compile();
		return cases.map((testCase, copy) => {
			this.#select(copy);
			this.#shadow.set(codeOf(testCase), testCase.codeAddress - CODE_ADDRESS);
			const first = this.#firstBlock(testCase);
			const heat = first === undefined ? 0 : this.#heatOf(first);
			const result = this.#runOnce(testCase);
			// The interpreter takes off the heat of every block that it enters; a region does not.
			if (first !== undefined && first.regions.length > 0 && !first.isStale && this.#heatOf(first) === heat) this.translatedCount++;
			this.#unput(testCase.codeAddress, codeOf(testCase).length);
			return result;
		});
	}

	/** The code area is this copy from now on. */
	#select(copy: number): void {
		if (copy === this.#copy) return;
		this.#copy = copy;
		const phys = world.codeCopyPhys(copy);
		world.mapCode((physAddr, bytes) => this.#memory.write(physAddr, bytes), phys);
		this.#areaPhys[0] = phys;
		this.#areas[0] = this.#memory.bytes.subarray(ENGINE_BYTES + phys, ENGINE_BYTES + phys + CODE_BYTES);
		this.#cpu.context.mmu.flush(true);
	}

	/** What the translator asks of an MMU, as it is while a copy is selected. */
	#mmuOf(copy: number): Mmu {
		const { mmu } = this.#cpu.context;
		const probeCodePage = (lo: number, hi: number, pages: number): number => {
			const offset = ((lo & -PAGE_BYTES) >>> 0) + pages * PAGE_BYTES - CODE_ADDRESS;
			return hi === 0 && offset >= 0 && offset < CODE_BYTES ? world.codeCopyPhys(copy) + offset : mmu.probeCodePage(lo, hi, pages);
		};
		return { probeCodePage } as unknown as Mmu;
	}

	/** The block that the case starts with, if it has been decoded. */
	#firstBlock(testCase: TestCase): Block | undefined {
		this.#loadState(testCase);
		const phys = world.codeCopyPhys(this.#copy) + (testCase.codeAddress - CODE_ADDRESS);
		return this.#engine.blocks.at(phys, this.#cpu.state.get("modeKey"));
	}

	/** Has the region that a case starts with made once more, as the translator does where time is spent. */
	#sample(copy: number, testCase: TestCase, translator: Translator): void {
		this.#copy = copy;
		const region = this.#firstBlock(testCase)?.regions[0];
		this.#copy = -1;
		if (region === undefined) return;
		for (let slice = 0; slice < SLICES_TO_SECOND; slice++) translator.sample(region.slot, this.#mmuOf(copy), testCase.codeAddress, 0);
	}

	#heatOf(block: Block): number {
		return this.#memory.view.getInt32(block.record + HEAD.heat, true);
	}

	#imagePart(image: Uint8Array, area: { imageOffset: number; sizeBytes: number }): Uint8Array {
		return image.subarray(area.imageOffset, area.imageOffset + area.sizeBytes);
	}

	/** Control registers and tables, once. */
	#enterWorld(): void {
		const { state, context } = this.#cpu;
		state.set64("cr0", CR0);
		state.set64("cr3", world.CR3);
		state.set64("cr4", CR4);
		state.set64("efer", EFER);
		state.set64("gdtrBase", world.GDT.base);
		state.set("gdtrLimit", world.GDT.limit);
		state.set64("idtrBase", world.IDT.base);
		state.set("idtrLimit", world.IDT.limit);
		setSegment(context, SEG.TR, world.TSS.selector, Number(BigInt.asIntN(64, world.TSS.base)), world.TSS.limit, 0x8b00);
		state.set64("segBase", world.TSS.base, SEG.TR);
		context.mmu.clear();
	}

	#runOnce(testCase: TestCase): TestResult {
		for (const { address, bytes } of testCase.patches) this.#put(address, bytes);
		this.#loadState(testCase);
		const end = this.#cpu.run(this.#budget);
		const result = this.#collect(end === "halted" ? world.vectorOfStub(this.#cpu.state.get64("rip")) : -1);
		for (const { address, bytes } of testCase.patches) this.#unput(address, bytes.length);
		return result;
	}

	/** Writes memory and tells the engine, as a device would. */
	#put(address: number, bytes: Uint8Array): void {
		for (const [index, area] of AREAS.entries()) {
			const offset = address - area.address;
			if (offset < 0 || offset >= area.sizeBytes) continue;
			this.#memory.write((this.#areaPhys[index] as number) + offset, bytes);
			this.#shadow.set(bytes, area.imageOffset + offset);
		}
	}

	#unput(address: number, length: number): void {
		for (const area of AREAS) {
			const offset = address - area.address;
			if (offset < 0 || offset >= area.sizeBytes) continue;
			this.#put(address, this.#image.subarray(area.imageOffset + offset, area.imageOffset + offset + length));
		}
	}

	#putCode(testCase: TestCase): void {
		this.#put(testCase.codeAddress, codeOf(testCase));
	}

	/** The code stays where it is, in its copy; the next copy has none. */
	#forgetCode(testCase: TestCase): void {
		const { length } = codeOf(testCase);
		const offset = testCase.codeAddress - CODE_ADDRESS;
		this.#shadow.set(this.#image.subarray(offset, offset + length), offset);
	}

	#loadState(testCase: TestCase): void {
		const { state, context } = this.#cpu;
		for (let register = 0; register < 16; register++) state.set64("gpr", testCase.gpr[register] as bigint, register);
		state.set64("rip", BigInt(initialIp(testCase)));
		state.set64("cr2", 0n);
		for (const name of ["activity", "interruptShadow", "debugPending", "exitRecord", "nmiPending", "intrLine"] as FieldName[])
			state.set(name, 0);
		state.set64("dr", 0xffff0ff0n, 6);
		state.set64("dr", 0x400n, 7);
		state.set("cpl", 3);
		this.#loadSegments(testCase.mode);
		writeRflags(state, testCase.rflags, RFLAGS_MASK);
		this.#loadFx(testCase.fx);
		updateMode(context);
		if (this.#mode !== testCase.mode) context.mmu.clear();
		this.#mode = testCase.mode;
	}

	#loadSegments(mode: Mode): void {
		const { state, context } = this.#cpu;
		if (mode === 64) setSegment(context, SEG.LDTR, 0, 0, 0, 0);
		else {
			setSegment(context, SEG.LDTR, world.LDT_REGISTER.selector, 0, world.LDT_REGISTER.limit, 0x8200);
			state.set64("segBase", world.LDT_REGISTER.base, SEG.LDTR);
		}
		for (const [segment, selector] of initialSelectors(mode).entries()) {
			if ((selector & ~3) === 0) {
				// Null: unusable, except that in 64-bit mode FS and GS keep their bases.
				const base = mode !== 64 ? 0 : segment === SEG.FS ? FS_BASE : GS_BASE;
				setSegment(context, segment, selector, base, 0, 0);
			} else if ((selector & 4) === 0) {
				const attributes = segment !== SEG.CS ? ATTR_DATA : mode === 64 ? ATTR_CODE64 : ATTR_CODE32;
				setSegment(context, segment, selector, 0, -1, attributes);
			} else {
				const entry = LDT[selector >> 3]!;
				const attributes = Number((world.ldtDescriptor(entry) >> 32n) & 0xf0ff00n);
				setSegment(context, segment, selector, entry.base, entry.limit, attributes);
			}
		}
	}

	#loadFx(fx: Uint8Array): void {
		const { state } = this.#cpu;
		const view = new DataView(fx.buffer, fx.byteOffset, fx.byteLength);
		const status = view.getUint16(2, true);
		const top = (status >> 11) & 7;
		state.set("fcw", view.getUint16(0, true));
		state.set("fsw", status & ~0x3800);
		state.set("ftop", top);
		state.set("ftagValid", fx[4] as number);
		state.set("fop", 0);
		state.set("fipSelector", 0);
		state.set("fdpSelector", 0);
		state.set64("fip", 0n);
		state.set64("fdp", 0n);
		state.set("mxcsr", view.getUint32(24, true));
		for (let register = 0; register < 8; register++) {
			const place = at("fpr", (register + top) & 7);
			state.bytes.set(fx.subarray(32 + register * 16, 42 + register * 16), place);
		}
		state.bytes.set(fx.subarray(160, 160 + 256), at("xmm"));
	}

	#readFx(): Uint8Array {
		const { state } = this.#cpu;
		const fx = new Uint8Array(FXSAVE_BYTES);
		const view = new DataView(fx.buffer);
		const top = state.get("ftop") & 7;
		view.setUint16(0, state.get("fcw"), true);
		view.setUint16(2, (state.get("fsw") & ~0x3800) | (top << 11), true);
		fx[4] = state.get("ftagValid");
		view.setUint32(24, state.get("mxcsr"), true);
		for (let register = 0; register < 8; register++) {
			const place = at("fpr", (register + top) & 7);
			fx.set(state.bytes.subarray(place, place + 10), 32 + register * 16);
		}
		fx.set(state.bytes.subarray(at("xmm"), at("xmm") + 256), 160);
		return fx;
	}

	/** The exception's frame on the kernel stack says where the case stood: SS, RSP, RFLAGS, CS, RIP, and an error code. */
	#collect(vector: number): TestResult {
		const { state } = this.#cpu;
		const gpr = new BigUint64Array(16);
		for (let register = 0; register < 16; register++) gpr[register] = state.get64("gpr", register);
		const selectors = [0, 1, 2, 3, 4, 5].map((segment) => state.get("segSelector", segment));
		const frame = { rip: 0n, rflags: 0, errorCode: 0 };
		if (vector >= 0) {
			const slot = (index: number): bigint =>
				this.#memory.view.getBigUint64(ENGINE_BYTES + world.kernelPhys(world.KERNEL_STACK_TOP) - index * 8, true);
			selectors[SEG.SS] = Number(slot(1) & 0xffffn);
			gpr[4] = slot(2);
			frame.rflags = Number(slot(3));
			selectors[SEG.CS] = Number(slot(4) & 0xffffn);
			frame.rip = slot(5);
			if (world.hasErrorCode(vector)) frame.errorCode = Number(slot(6) & 0xffff_ffffn);
		}
		return encodeResult({
			...frame,
			status: vector < 0 ? "timeout" : "fault",
			vector,
			cr2: state.get64("cr2"),
			gpr,
			selectors,
			fx: this.#readFx(),
			diffs: this.#diffs(),
		});
	}

	/** Whole 8-byte words that have changed; they are put back. */
	#diffs(): Patch[] {
		const diffs: Patch[] = [];
		for (const [index, area] of AREAS.entries()) {
			const live = this.#areas[index]!;
			const was = this.#imagePart(this.#shadow, area);
			if (Buffer.compare(live, was) === 0) continue;
			for (let at = 0; at < live.length; at += 8) {
				if (!differs(live, was, at)) continue;
				diffs.push({ address: area.address + at, bytes: live.slice(at, at + 8) });
				this.#memory.write((this.#areaPhys[index] as number) + at, was.subarray(at, at + 8));
			}
		}
		return diffs;
	}
}

function differs(a: Uint8Array, b: Uint8Array, at: number): boolean {
	for (let index = at; index < at + 8; index++) if (a[index] !== b[index]) return true;
	return false;
}
