import { describe, expect, test } from "vitest";
import { EngineModule } from "../engine-module.ts";
import { CR0, CR4 } from "../mmu/access.ts";
import { poke32, poke64, ramAt, type TestCpu } from "../mmu/fixture.ts";
import { CC, FLAG } from "../state/flags.ts";
import { EXIT, FIELD, FIELDS_BYTES, MODE } from "../state/layout.ts";
import {
	descriptor,
	GDT,
	gateDescriptor,
	IDT,
	KIND,
	longCpu,
	protectedCpu,
	putDescriptor,
	SELECTOR,
	STACK0,
	TSS,
} from "../system/fixture.ts";
import { SYSTEM_HELPERS } from "../system/helpers.ts";
import { deliverEvent, EVENT } from "../system/interrupts.ts";
import { SEG, updateMode } from "../system/mode.ts";
import { readRflags, writeRflags } from "../system/rflags.ts";
import { setSegment } from "../system/segments.ts";
import { getAddress, RIP } from "../system/words.ts";

// What the core does by itself must be what the helpers in TypeScript do, or nothing.

const RAM_COMPARED = 0x1_4000;
const USER_CODE64 = SELECTOR.free | 3;
const TLS = (SELECTOR.free + 8) | 3;
const STACK = 0x9100;
/** Present, accessed, dirty, 4 KiB, for everybody. */
const PTE = 0x67n;

type Pick = (count: number) => number;

function randomFrom(seed: number): Pick {
	let state = seed;
	return (count) => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return Math.floor((state / 0x1_0000_0000) * count);
	};
}

const NOT_COMPARED: ReadonlySet<string> = new Set([
	...["arg0", "arg1", "arg2", "arg3", "faultVector", "faultErrorCode", "localCount", "globalCount", "scratch", "scratchVector"],
	...["x87Image", "x87Fixed", "flags", "ccOp", "ccX", "ccY", "ccZ", "exitRecord"],
]);

interface Outcome {
	readonly exit: number;
	readonly rflags: number;
	readonly fault: readonly number[];
	readonly fields: Uint8Array;
	readonly ram: Uint8Array;
}

const WORDS = { i32: 1, u64: 2, v128: 4 } as const;

/** Words of the state block that count. */
const COMPARED: readonly { readonly name: string; readonly word: number }[] = Object.values(FIELD)
	.filter(({ name }) => !NOT_COMPARED.has(name))
	.flatMap(({ name, type, count, offset }) =>
		Array.from({ length: WORDS[type] * count }, (_, n) => ({ name: `${name}+${4 * n}`, word: offset / 4 + n })),
	);

const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

/** What differs, in words; empty where nothing does. */
function differences(got: Outcome, wanted: Outcome): string[] {
	const found: string[] = [];
	const note = (what: string, a: number | undefined, b: number | undefined) => {
		if (a !== b) found.push(`${what}: ${a?.toString(16)}, not ${b?.toString(16)}`);
	};
	note("exit", got.exit, wanted.exit);
	note("rflags", got.rflags, wanted.rflags);
	for (const n of [0, 1]) note("fault", got.fault[n], wanted.fault[n]);
	const [a, b] = [words(got.fields), words(wanted.fields)];
	for (const { name, word } of COMPARED) note(name, a[word], b[word]);
	const [c, d] = [words(got.ram), words(wanted.ram)];
	for (let word = 0; word < c.length; word++) if (c[word] !== d[word]) note(`RAM ${(4 * word).toString(16)}`, c[word], d[word]);
	return found;
}

/** A processor with both ways of doing things, either of which starts from the same state. */
class Rig {
	readonly cpu: TestCpu;
	readonly module: EngineModule;
	slowCalls = 0;
	#fields = new Uint8Array(0);
	#ram = new Uint8Array(0);

	constructor(cpu: TestCpu) {
		this.cpu = cpu;
		const helpers: Record<string, (base: number, a: number, b: number, c: number) => number> = {
			slowLoad: () => 0,
			slowStore: () => 0,
			slowProbe: () => 0,
		};
		for (const [name, helper] of Object.entries(SYSTEM_HELPERS))
			helpers[name] = (_, a, b, c) => {
				this.slowCalls++;
				return helper(cpu, a, b, c);
			};
		this.module = new EngineModule(cpu.memory.memory, helpers);
	}

	keep(): void {
		const { cpu } = this;
		this.#fields = cpu.state.bytes.slice(0, FIELDS_BYTES);
		this.#ram = cpu.memory.bytes.slice(ramAt(0), ramAt(RAM_COMPARED));
	}

	restore(): void {
		const { cpu } = this;
		cpu.state.bytes.set(this.#fields, 0);
		cpu.memory.bytes.set(this.#ram, ramAt(0));
		updateMode(cpu);
		cpu.mmu.clear();
	}

	call(name: string, a: number, b: number, c: number): number {
		return this.module.coreFunction(name)(this.cpu.state.base, a, b, c) as number;
	}

	/** What came of it. */
	outcome(exit: number): Outcome {
		const { state, memory } = this.cpu;
		const isFault = exit === EXIT.fault;
		return {
			...{ exit, rflags: readRflags(state), fault: isFault ? [state.get("faultVector"), state.get("faultErrorCode")] : [] },
			fields: state.bytes.slice(0, FIELDS_BYTES),
			ram: memory.bytes.slice(ramAt(0), ramAt(RAM_COMPARED)),
		};
	}

	/** Compares one helper; true when the core did without it. */
	compare(name: string, a = 0, b = 0, c = 0): boolean {
		this.keep();
		this.restore();
		const wanted = this.outcome((SYSTEM_HELPERS[name] as (typeof SYSTEM_HELPERS)[string])(this.cpu, a, b, c));
		this.restore();
		this.slowCalls = 0;
		expect(differences(this.outcome(this.call(name, a, b, c)), wanted)).toEqual([]);
		return this.slowCalls === 0;
	}

	compareEvent(vector: number, errorCode: number, kind: number): boolean {
		const { cpu } = this;
		this.keep();
		this.restore();
		const rip = getAddress(cpu.state.i32, RIP);
		const untouched = this.outcome(EXIT.lookup);
		const wanted = this.outcome(deliverEvent(cpu, vector, errorCode, kind, rip));
		this.restore();
		cpu.state.set64("arg0", cpu.state.get64("rip"));
		const isDone = this.call("deliver", vector, errorCode, kind) === 1;
		expect(differences(this.outcome(EXIT.lookup), isDone ? wanted : untouched)).toEqual([]);
		return isDone;
	}
}

function put64Frame(cpu: TestCpu, at: number, frame: readonly (number | bigint)[]): void {
	for (const [n, value] of frame.entries()) poke64(cpu, at + 8 * n, BigInt(value));
}

/** 64-bit code at CPL 0 or 3 with gates, a TSS and a frame to return by. */
function long(pick: Pick, cpl: 0 | 3): TestCpu {
	const cpu = longCpu();
	const { state } = cpu;
	poke64(cpu, 0x10000, 0x11000n | PTE);
	poke64(cpu, 0x11000, 0x12000n | PTE);
	// The first 80 KiB by 4 KiB pages, so that some of them can be taken away.
	poke64(cpu, 0x12000, 0x13000n | PTE);
	for (let page = 0; page < 0x14; page++) poke64(cpu, 0x13000 + 8 * page, (BigInt(page) << 12n) | PTE);
	putDescriptor(cpu, USER_CODE64, descriptor(0, 0xfffff, KIND.code3, 0xa));
	putDescriptor(cpu, TLS, descriptor(0x1234_5678, 0xfffff, KIND.data3));
	for (let vector = 0; vector < 64; vector++) {
		const access = (vector & 1) === 0 ? 0x8e : 0x8f;
		const dpl = vector >= 32 ? 0x60 : 0;
		poke64(cpu, IDT + 16 * vector, gateDescriptor(SELECTOR.code64, 0x8123_4560 + vector, access | dpl, vector === 18 ? 2 : 0));
		poke64(cpu, IDT + 16 * vector + 8, 0xffff_ffffn);
	}
	setSegment(cpu, SEG.TR, SELECTOR.tss, TSS, 0x67, 0x8b00);
	poke64(cpu, TSS + 4, BigInt(STACK0 - 8 * pick(3)));
	poke64(cpu, TSS + 0x24, 0x7800n);
	poke64(cpu, TSS + 0x2c, 0x7c08n);
	const isUser = pick(2) === 1;
	put64Frame(cpu, STACK, [
		0x5432,
		isUser ? USER_CODE64 : SELECTOR.code64,
		0x202,
		0x6678,
		isUser ? SELECTOR.data3 : pick(2) * SELECTOR.data0,
	]);
	state.setLow("gpr", STACK, 4);
	state.set64("star", 0x0033_0008n << 32n);
	state.set64("lstar", 0xffff_ffff_8000_1000n);
	state.setLow("sfmask", 0x4_7700);
	if (cpl === 3) {
		setSegment(cpu, SEG.CS, USER_CODE64, 0, -1, 0xa0fb00);
		setSegment(cpu, SEG.SS, SELECTOR.data3, 0, -1, 0xc0f300);
		state.set("cpl", 3);
	}
	for (const seg of [SEG.ES, SEG.DS, SEG.FS, SEG.GS]) setSegment(cpu, seg, 0, seg === SEG.FS ? 0x7777_0000 : 0, 0, 0);
	return cpu;
}

/** The same in flat 32-bit protected mode, without paging. */
function legacy(pick: Pick, cpl: 0 | 3): TestCpu {
	const cpu = protectedCpu(cpl);
	const { state } = cpu;
	putDescriptor(cpu, TLS, descriptor(0x1234_5678, 0xfffff, KIND.data3));
	for (let vector = 0; vector < 64; vector++) {
		const access = ((vector & 1) === 0 ? 0x8e : 0x8f) | (vector >= 32 ? 0x60 : 0);
		poke64(cpu, IDT + 8 * vector, gateDescriptor(SELECTOR.code0, 0xc123_4560 + vector, access));
	}
	const isUser = pick(2) === 1;
	const frame = [0x5432, isUser ? SELECTOR.code3 : SELECTOR.code0, 0x202, 0x6678, SELECTOR.data3];
	for (const [n, value] of frame.entries()) poke32(cpu, STACK + 4 * n, value);
	state.setLow("gpr", STACK, 4);
	state.setLow("gpr", 0xbfff_0000, 1);
	state.setLow("gpr", 0x0804_8000, 2);
	state.setLow("sysenterCs", 8);
	state.setLow("sysenterEsp", 0x7f00);
	state.setLow("sysenterEip", 0xc100_0000);
	for (const seg of [SEG.ES, SEG.DS]) setSegment(cpu, seg, SELECTOR.data3, 0, -1, 0xc0f300);
	setSegment(cpu, SEG.FS, 0, 0, 0, 0);
	setSegment(cpu, SEG.GS, TLS, 0x1234_5678, -1, 0xc0f300);
	return cpu;
}

const FLAG_BITS = [FLAG.TF, FLAG.IF, FLAG.DF, 1 << 12, 2 << 12, FLAG.NT, FLAG.RF, FLAG.AC, FLAG.VIF, FLAG.VIP, FLAG.ID, FLAG.CF];

/** Anything that a fast way could forget to look at. */
const CHANGES: readonly ((cpu: TestCpu, pick: Pick, is64: boolean) => void)[] = [
	({ state }, pick) => writeRflags(state, -1, FLAG_BITS[pick(FLAG_BITS.length)] as number),
	({ state }, _, is64) => writeRflags(state, is64 ? 0 : FLAG.VM, FLAG.VM),
	(cpu, pick, is64) => cpu.memory.bytes.set([pick(256)], ramAt(STACK + pick(is64 ? 40 : 20))),
	(cpu, pick, is64) => cpu.memory.view.setUint16(ramAt(STACK + (is64 ? 8 : 4) * (1 + 3 * pick(2))), pick(0x60), true),
	(cpu, pick) => cpu.memory.bytes.set([1 << pick(8)], ramAt(GDT + 8 + pick(0x48))),
	(cpu, pick) => {
		const at = ramAt(GDT + 8 + pick(0x48));
		cpu.memory.bytes.set([(cpu.memory.bytes[at] as number) ^ (1 << pick(8))], at);
	},
	(cpu, pick, is64) => {
		const at = ramAt(IDT + pick(64 * (is64 ? 16 : 8)));
		cpu.memory.bytes.set([(cpu.memory.bytes[at] as number) ^ (1 << pick(8))], at);
	},
	(cpu, pick) => cpu.memory.bytes.set([pick(256)], ramAt(TSS + 4 + pick(0x30))),
	({ state }, pick) => state.set("idtrLimit", pick(0x400)),
	({ state }, pick) => state.set("gdtrLimit", pick(0x60)),
	({ state }, pick) => state.set("segLimit", pick(0x40), SEG.TR),
	({ state }, pick) => state.set("segAttr", pick(2) === 0 ? 0x8300 : 0x8b00, SEG.TR),
	({ state }, pick) => state.set64("gpr", BigInt(0x8fe0 + 4 * pick(16)), 4),
	({ state }, pick) => state.set64("gpr", [0x7fff_ffff_fff8n, 0x8000_0000_0000n, 0xffff_fff8n, 4n, 0n][pick(5)] as bigint, 4),
	({ state }, pick) => state.set("cpl", pick(4)),
	({ state }) => state.set("modeKey", state.get("modeKey") | MODE.step),
	({ state }) => state.set("debugPending", 1),
	({ state }, pick) => state.setLow("dr", 1 << pick(2), 7),
	({ state }) => state.set("nmiPending", 1),
	({ state }) => state.set("intrLine", 1),
	({ state }) => state.set("nmiBlocked", 1),
	({ state }, pick) => state.set("interruptShadow", 1 + pick(2)),
	({ state }) => state.set("activity", 1),
	(cpu, pick) =>
		setSegment(cpu, pick(6), 0x10 + pick(3), pick(2) * 0x1000, pick(2) === 0 ? -1 : 0xffff, 0xc09300 | (pick(4) << 13) | (pick(2) << 10)),
	({ state }, pick) => state.setLow("cr4", state.getLow("cr4") | (pick(2) === 0 ? CR4.SMAP : CR4.PVI)),
	({ state }) => state.setLow("cr0", state.getLow("cr0") | CR0.AM),
	({ state }) => state.setLow("efer", state.getLow("efer") & ~1),
	({ state }, pick) => state.setLow("sysenterCs", pick(4) * 0x7ffc),
	({ state }, pick) => state.set64("star", BigInt(pick(0x1_0000)) << 48n),
	({ state }, pick) => state.set64("gpr", BigInt(pick(0x1_0000)) << 44n, [1, 11][pick(2)] as number),
	({ state }, pick) => {
		state.set("ccOp", CC.add | (pick(4) << 4));
		state.set64("ccX", BigInt.asUintN(64, -BigInt(pick(3))));
		state.set64("ccY", BigInt(pick(3)));
	},
	// A page of tables or stacks: absent, read-only, the supervisor's, not yet accessed or written.
	(cpu, pick, is64) => {
		if (is64)
			poke64(cpu, 0x13000 + 8 * (1 + pick(9)), (BigInt(1 + pick(9)) << 12n) | (PTE ^ (1n << BigInt([0, 1, 2, 5, 6][pick(5)] as number))));
	},
];

const TRIALS = 300;

interface Case {
	readonly name: string;
	readonly bits: readonly (32 | 64)[];
	readonly cpls: readonly (0 | 3)[];
	/** Share of the trials that the core must have managed by itself. */
	readonly share: number;
	run(rig: Rig, pick: Pick, is64: boolean): boolean;
}

const selectors = [0, 1, 3, SELECTOR.data0, SELECTOR.data3, SELECTOR.data3, TLS, TLS, SELECTOR.code3, SELECTOR.tss, 0x7c, 0x83];
const cases: readonly Case[] = [
	{ name: "syscall", bits: [64], cpls: [3], share: 0.3, run: (rig) => rig.compare("syscall", 2) },
	{ name: "sysret", bits: [64], cpls: [0], share: 0.3, run: (rig, pick) => rig.compare("sysret", 3, pick(8) === 0 ? 0 : 1) },
	{ name: "sysenter", bits: [32], cpls: [0, 3], share: 0.3, run: (rig) => rig.compare("sysenter", 2) },
	{ name: "sysexit", bits: [32], cpls: [0], share: 0.3, run: (rig) => rig.compare("sysexit", 2) },
	{ name: "sti", bits: [32, 64], cpls: [0, 3], share: 0.2, run: (rig) => rig.compare("sti", 1) },
	{ name: "setAc", bits: [32, 64], cpls: [0, 3], share: 0.2, run: (rig, pick) => rig.compare("setAc", 3, pick(2)) },
	{ name: "checkPopf", bits: [32], cpls: [3], share: 0.5, run: (rig, pick) => rig.compare("checkPopf", 2 + 2 * pick(2)) },
	{
		name: "popf",
		bits: [32, 64],
		cpls: [0, 3],
		share: 0.2,
		run(rig, pick, is64) {
			const near = readRflags(rig.cpu.state) ^ ((FLAG_BITS[pick(FLAG_BITS.length)] as number) * pick(2));
			rig.cpu.state.setLow("arg0", pick(4) === 0 ? pick(0x40_0000) : near);
			return rig.compare("popf", 1, pick(8) === 0 ? 2 : is64 ? 8 : 4);
		},
	},
	{
		name: "segmentLoad",
		bits: [32, 64],
		cpls: [0, 3],
		share: 0.2,
		run: (rig, pick) =>
			rig.compare("segmentLoad", [0, 2, 3, 4, 5][pick(5)] as number, selectors[pick(selectors.length)] as number, pick(2)),
	},
	{
		name: "iret",
		bits: [32, 64],
		cpls: [0],
		share: 0.3,
		run: (rig, pick, is64) => rig.compare("iret", 2, pick(16) === 0 ? 2 : is64 ? 8 : 4),
	},
	{
		name: "interrupt",
		bits: [32, 64],
		cpls: [0, 3],
		share: 0.2,
		run: (rig, pick) => rig.compare("interrupt", 2, pick(4) === 0 ? pick(70) : 32 + pick(32)),
	},
	...(["xsave", "xrstor"] as const).map(
		(name): Case => ({
			...{ name, bits: [32, 64], cpls: [0, 3], share: 0.2 },
			run(rig, pick) {
				const { cpu } = rig;
				const { state } = cpu;
				const area = 0x4000 + 64 * pick(6) + 0x800 * pick(3) + pick(30) * pick(2) * pick(2);
				for (const field of ["fpr", "xmm"] as const)
					for (let n = 0; n < 16 * FIELD[field].count; n++) state.bytes[FIELD[field].offset + n] = pick(256);
				for (const field of ["fcw", "fsw", "ftop", "ftagValid", "fop", "fipSelector", "mxcsr"] as const) state.set(field, pick(0x1_0000));
				for (let n = 0; n < 512; n++) cpu.memory.bytes[ramAt(area) + n] = pick(256);
				poke32(cpu, area + 24, pick(8) === 0 ? pick(0x2_0000) : 0x1f80);
				poke64(cpu, area + 512, BigInt(pick(10) === 0 ? pick(16) : pick(4)));
				for (let n = 8; n < 24; n++) cpu.memory.bytes[ramAt(area) + 512 + n] = pick(200) === 0 ? 1 : 0;
				state.setLow("arg0", area);
				state.setLow("gpr", pick(4));
				state.setLow("xcr0", pick(2) === 0 ? 3 : 1);
				state.setLow("cr4", state.getLow("cr4") | (pick(16) === 0 ? 0 : CR4.OSXSAVE));
				state.setLow("cr0", state.getLow("cr0") | (pick(16) === 0 ? CR0.TS : 0));
				return rig.compare(name, 4, pick(2));
			},
		}),
	),
	{
		name: "deliver",
		bits: [32, 64],
		cpls: [0, 3],
		share: 0.3,
		run: (rig, pick) =>
			rig.compareEvent(
				pick(64),
				pick(2) === 0 ? -1 : pick(0x1_0000),
				[EVENT.external, EVENT.exception, EVENT.exception][pick(3)] as number,
			),
	},
];

describe("what the core does of the system's instructions is what the helpers do", () => {
	for (const { name, bits, cpls, share, run } of cases)
		for (const width of bits)
			for (const cpl of cpls)
				test(`${name}, ${width} bits, CPL ${cpl}`, () => {
					const is64 = width === 64;
					const pick = randomFrom(0x5eed + width + cpl);
					let done = 0;
					const rig = new Rig((is64 ? long : legacy)(pick, cpl));
					const { cpu } = rig;
					const blank = { fields: cpu.state.bytes.slice(0, FIELDS_BYTES), ram: cpu.memory.bytes.slice(ramAt(0), ramAt(RAM_COMPARED)) };
					for (let trial = 0; trial < TRIALS; trial++) {
						cpu.state.bytes.set(blank.fields, 0);
						cpu.memory.bytes.set(blank.ram, ramAt(0));
						for (let changes = pick(4); changes > 0; changes--) CHANGES[pick(CHANGES.length)]?.(cpu, pick, is64);
						updateMode(cpu);
						if (run(rig, pick, is64)) done++;
					}
					// Only what user code may do at all can go through at CPL 3.
					const isRefused = cpl === 3 && (name === "sti" || name === "setAc");
					expect(done / TRIALS).toBeGreaterThan(isRefused ? -1 : share);
				});
});
