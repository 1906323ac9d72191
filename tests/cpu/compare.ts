import { Decoder, DecoderOptions, FlowControl, type Instruction, Mnemonic, OpKind } from "iced-x86";
import {
	AREAS,
	CODE_ADDRESS,
	codeOf,
	initialIp,
	initialSelectors,
	type Patch,
	type TestCase,
	type TestResult,
	USER_CS64,
} from "./format.ts";
import { RSP } from "./registers.ts";
import { ARITHMETIC, COMPARED_FLAGS, flagEffects, fromIced } from "./undefined.ts";
import { baseMemory } from "./values.ts";

/** A case, and memory in it that is nobody's to promise. */
export type ComparedCase = TestCase & { readonly ignored?: readonly { readonly address: number; readonly length: number }[] };

export interface Difference {
	/** `rax`, `flags`, `vector`, `memory 20000010`, `xmm3`, … */
	readonly where: string;
	readonly expected: string;
	readonly actual: string;
}

const CS = 1;
const GPR_NAMES = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const SEGMENT_NAMES = ["es", "cs", "ss", "ds", "fs", "gs"];
const VECTOR_PAGE_FAULT = 14;
/** #SS, #GP, #PF. */
const ACCESS_FAULTS: ReadonlySet<number> = new Set([12, 13, VECTOR_PAGE_FAULT]);
const ERROR_PRESENT = 1;
/** Linux says "present" of every fault beyond user space, so as not to tell what is mapped there. */
const FIRST_KERNEL_ADDRESS = 0x0000_7fff_ffff_f000n;

/** What memory holds when nothing has run: made once. */
const base = baseMemory();

/** All that the architecture promises and the two results do not share. */
export function compare(testCase: ComparedCase, expected: TestResult, actual: TestResult, comparesFaults = true): Difference[] {
	if (sameBytes(expected.bytes, actual.bytes)) return [];
	const differences: Difference[] = [];
	const note = (where: string, a: bigint | number | string, b: bigint | number | string): void => {
		if (a !== b) differences.push({ where, expected: shown(a), actual: shown(b) });
	};
	note("status", expected.status, actual.status);
	// Where a loop is caught is chance.
	if (expected.status !== "fault" || actual.status !== "fault") return differences;
	const isPageFault = expected.vector === VECTOR_PAGE_FAULT && actual.vector === VECTOR_PAGE_FAULT;
	// Which part of a long operand is touched first, and what has been written when a later part faults, is nobody's promise.
	const isLongAccess = expected.vector === actual.vector && ACCESS_FAULTS.has(expected.vector) && hasAny(testCase, LONG_ACCESSES);
	if (comparesFaults) {
		note("vector", expected.vector, actual.vector);
		if (isPageFault && !(isLongAccess && isNear(expected.cr2, actual.cr2))) note("cr2", expected.cr2, actual.cr2);
		const errorMask = expected.vector === VECTOR_PAGE_FAULT && expected.cr2 >= FIRST_KERNEL_ADDRESS ? ~ERROR_PRESENT : ~0;
		note("error", expected.errorCode & errorMask, actual.errorCode & errorMask);
	}
	if (!(expected.vector === 1 && actual.vector === 1 && isInt1At(testCase, expected.rip))) note("rip", expected.rip, actual.rip);
	// Upper halves do not survive a switch from 64-bit to compatibility mode (Intel SDM Vol. 1 §3.4.1.1).
	const gprMask = testCase.mode === 64 && expected.selector(CS) !== USER_CS64 ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
	// POPA loads registers as it goes; when it faults half way it starts over, so they do not matter.
	const isPopAll = isLongAccess && hasAny(testCase, POP_ALL);
	for (let register = 0; register < 16; register++)
		if (!isPopAll || register === RSP)
			note(GPR_NAMES[register] as string, expected.gpr(register) & gprMask, actual.gpr(register) & gprMask);
	for (let segment = 0; segment < 6; segment++)
		note(
			SEGMENT_NAMES[segment] as string,
			shownSelector(testCase, expected.selector(segment)),
			shownSelector(testCase, actual.selector(segment)),
		);
	if (((expected.rflags ^ actual.rflags) & COMPARED_FLAGS) !== 0) {
		const isAstray = expected.selector(CS) !== initialSelectors(testCase.mode)[CS] || hasStrayBranch(testCase);
		const mask = COMPARED_FLAGS & ~(isAstray ? ARITHMETIC : openFlagsAt(testCase, expected.rip));
		note("flags", expected.rflags & mask, actual.rflags & mask);
	}
	compareFx(testCase, expected.fx, actual.fx, note);
	if (!isLongAccess) compareMemory(testCase, expected.diffs, actual.diffs, note);
	return differences;
}

/** Whether INT1 stands there: some hypervisors report its trap at the instruction, silicon behind it. */
function isInt1At(testCase: TestCase, rip: bigint): boolean {
	const at = Number(rip) + (testCase.mode === 16 ? CODE_ADDRESS : 0);
	const code = memoryOf(testCase, at, 8);
	let byte = 0;
	while (byte < 7 && PREFIXES.has(code[byte] as number)) byte++;
	return code[byte] === 0xf1;
}

const PREFIXES: ReadonlySet<number> = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3]);

/** Returning to user mode clears a null selector's privilege bits, and the 64-bit runner looks after that. */
function shownSelector(testCase: ComparedCase, selector: number): number {
	return testCase.mode === 64 && (selector & ~3) === 0 ? 0 : selector;
}

function isNear(a: bigint, b: bigint): boolean {
	const distance = a - b;
	return distance > -FXSAVE_SIZE && distance < FXSAVE_SIZE;
}

const FXSAVE_SIZE = 512n;

const POP_ALL = new Set(["Popa", "Popad"]);

/** Instructions that move more than one operand's worth of memory, in an order of their own. */
const LONG_ACCESSES = new Set([
	"Fxsave",
	"Fxsave64",
	"Fxrstor",
	"Fxrstor64",
	"Fnsave",
	"Fnstenv",
	"Frstor",
	"Fldenv",
	"Retf",
	"Iret",
	"Iretd",
	"Iretq",
	"Pusha",
	"Pushad",
	"Popa",
	"Popad",
	"Enter",
	"Call",
	"Jmp",
	"Bound",
	"Lds",
	"Les",
	"Lfs",
	"Lgs",
	"Lss",
]);

type Note = (where: string, expected: bigint | number | string, actual: bigint | number | string) => void;

const shown = (value: bigint | number | string): string => (typeof value === "string" ? value : value.toString(16));

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
	return a.length === b.length && Buffer.compare(a, b) === 0;
}

/**
 * Flags that are open where the case ended. The instruction at that place may have done part of its work (a repeated
 * comparison), so what it leaves open counts, but what it defines does not. After a branch, whatever was open ever is.
 */
function openFlagsAt(testCase: TestCase, rip: bigint): number {
	let open = 0;
	let everOpen = 0;
	let hasBranch = false;
	forEachInstruction(testCase, (instruction) => {
		const effects = flagEffects(instruction);
		everOpen |= effects.undefined;
		if (instruction.flowControl !== FlowControl.Next && instruction.flowControl !== FlowControl.Interrupt) hasBranch = true;
		if (instruction.ip < rip) open &= ~effects.defined;
		if (instruction.ip <= rip) open |= effects.undefined;
	});
	return hasBranch ? everOpen : open;
}

/** Whether a branch leads into the midst of an instruction: what runs then is nobody's plan, and may leave any flag open. */
function hasStrayBranch(testCase: TestCase): boolean {
	const starts = new Set<bigint>();
	const targets: bigint[] = [];
	let end = 0n;
	forEachInstruction(testCase, (instruction) => {
		starts.add(instruction.ip);
		end = instruction.nextIP;
		if (NEAR_BRANCHES.has(instruction.op0Kind)) targets.push(instruction.nearBranchTarget);
	});
	return targets.some((target) => target < end && !starts.has(target) && target >= BigInt(initialIp(testCase)));
}

const NEAR_BRANCHES: ReadonlySet<number> = new Set([OpKind.NearBranch16, OpKind.NearBranch32, OpKind.NearBranch64]);

/** Whether the sequence reads no flag that is open by then: otherwise results may differ and nobody be wrong. */
export function isSound(testCase: TestCase): boolean {
	let open = 0;
	let isStraight = true;
	let sound = true;
	const starts = new Set<bigint>();
	/** Where branches lead while a flag is open: what stands in the middle of an instruction may be one that reads it. */
	const targets: bigint[] = [];
	forEachInstruction(testCase, (instruction) => {
		starts.add(instruction.ip);
		if (open !== 0 && NEAR_BRANCHES.has(instruction.op0Kind)) targets.push(instruction.nearBranchTarget);
		if ((fromIced(instruction.rflagsRead) & open) !== 0) sound = false;
		const effects = flagEffects(instruction);
		if (isStraight) open &= ~effects.defined;
		open |= effects.undefined;
		if (instruction.flowControl !== FlowControl.Next) isStraight = false;
	});
	const first = BigInt(initialIp(testCase));
	const end = first + BigInt(codeOf(testCase).length);
	if (targets.some((target) => target >= first && target < end && !starts.has(target))) sound = false;
	return sound;
}

export function forEachInstruction(testCase: TestCase, visit: (instruction: Instruction) => void): void {
	const code = codeOf(testCase);
	const decoder = new Decoder(testCase.mode, code, DecoderOptions.None);
	decoder.ip = BigInt(initialIp(testCase));
	while (decoder.canDecode) {
		const instruction = decoder.decode();
		visit(instruction);
		instruction.free();
	}
	decoder.free();
}

/** The vendors' own approximations: 12 bits of a reciprocal are promised, no more. */
const RECIPROCALS = new Set(["Rcpps", "Rcpss", "Rsqrtps", "Rsqrtss"]);
const TRANSCENDENTALS = new Set(["Fsin", "Fcos", "Fsincos", "Fptan", "Fpatan", "F2xm1", "Fyl2x", "Fyl2xp1"]);

/** C1: whether a result was rounded up; of an approximation nobody knows. */
const FSW_C1 = 1 << 9;

function hasAny(testCase: TestCase, names: ReadonlySet<string>): boolean {
	let has = false;
	forEachInstruction(testCase, (instruction) => {
		if (names.has(Mnemonic[instruction.mnemonic] as string)) has = true;
	});
	return has;
}

function compareFx(testCase: TestCase, expected: Uint8Array, actual: Uint8Array, note: Note): void {
	const a = new DataView(expected.buffer, expected.byteOffset, expected.byteLength);
	const b = new DataView(actual.buffer, actual.byteOffset, actual.byteLength);
	note("fcw", a.getUint16(0, true), b.getUint16(0, true));
	const fswMask = hasAny(testCase, TRANSCENDENTALS) ? ~FSW_C1 : ~0;
	note("fsw", a.getUint16(2, true) & fswMask, b.getUint16(2, true) & fswMask);
	note("ftw", a.getUint8(4), b.getUint8(4));
	note("mxcsr", a.getUint32(24, true), b.getUint32(24, true));
	for (let register = 0; register < 8; register++) {
		const at = 32 + register * 16;
		const text = (view: DataView): string => `${hex(view.getUint16(at + 8, true), 4)}:${hex(view.getBigUint64(at, true), 16)}`;
		if (text(a) === text(b)) continue;
		if (isSameButLastBits(a, b, at) && hasAny(testCase, TRANSCENDENTALS)) continue;
		note(`st${register}`, text(a), text(b));
	}
	for (let register = 0; register < 16; register++) {
		const at = 160 + register * 16;
		const text = (view: DataView): string => `${hex(view.getBigUint64(at + 8, true), 16)}:${hex(view.getBigUint64(at, true), 16)}`;
		if (text(a) === text(b)) continue;
		if (isSameReciprocal(a, b, at) && hasAny(testCase, RECIPROCALS)) continue;
		note(`xmm${register}`, text(a), text(b));
	}
}

const hex = (value: number | bigint, digits: number): string => value.toString(16).padStart(digits, "0");

/** Transcendental functions are within one unit in the last place (Intel SDM Vol. 1 §8.3.10); two processors, within two. */
function isSameButLastBits(a: DataView, b: DataView, at: number): boolean {
	const value = (view: DataView): bigint =>
		(BigInt(view.getUint16(at + 8, true) & 0x7fff) << 63n) + (view.getBigUint64(at, true) & 0x7fff_ffff_ffff_ffffn);
	if (((a.getUint16(at + 8, true) ^ b.getUint16(at + 8, true)) & 0x8000) !== 0) return false;
	const distance = value(a) - value(b);
	return distance >= -2n && distance <= 2n;
}

/** Relative error up to 1.5 × 2⁻¹² each (Intel SDM Vol. 2, RCPPS): 2⁻¹⁰ between two of them. */
function isSameReciprocal(a: DataView, b: DataView, at: number): boolean {
	for (let lane = 0; lane < 4; lane++) {
		const left = a.getFloat32(at + lane * 4, true);
		const right = b.getFloat32(at + lane * 4, true);
		if (a.getUint32(at + lane * 4, true) === b.getUint32(at + lane * 4, true)) continue;
		if (!(Math.abs(left - right) <= Math.abs(left) / 1024)) return false;
	}
	return true;
}

/** Word by word, so that it does not matter how an engine cuts its list. */
function compareMemory(testCase: ComparedCase, expected: Patch[], actual: Patch[], note: Note): void {
	const a = wordsOf(expected);
	const b = wordsOf(actual);
	const addresses = [...new Set([...a.keys(), ...b.keys()])].sort((left, right) => left - right);
	for (const address of addresses) {
		const left = a.get(address) ?? before(testCase, address);
		const right = b.get(address) ?? before(testCase, address);
		const mask = ignoreMask(testCase.ignored ?? [], address);
		if ((left & mask) !== (right & mask)) note(`memory ${hex(address, 8)}`, hex(left & mask, 16), hex(right & mask, 16));
	}
}

function wordsOf(diffs: readonly Patch[]): Map<number, bigint> {
	const words = new Map<number, bigint>();
	for (const { address, bytes } of diffs) {
		const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		for (let at = 0; at + 8 <= bytes.length; at += 8) words.set(address + at, view.getBigUint64(at, true));
	}
	return words;
}

/** The word as the case found it. */
function before(testCase: TestCase, address: number): bigint {
	const memory = memoryOf(testCase, address, 8);
	return new DataView(memory.buffer).getBigUint64(0, true);
}

/** A few bytes of memory at the start of a case. */
export function memoryOf(testCase: TestCase, address: number, count: number): Uint8Array {
	const bytes = new Uint8Array(count);
	for (const area of AREAS)
		if (address >= area.address && address + count <= area.address + area.sizeBytes) {
			const at = area.imageOffset + address - area.address;
			bytes.set(base.subarray(at, at + count));
		}
	overlay(bytes, address, testCase.codeAddress, codeOf(testCase));
	for (const patch of testCase.patches) overlay(bytes, address, patch.address, patch.bytes);
	return bytes;
}

function overlay(bytes: Uint8Array, address: number, patchAddress: number, patch: Uint8Array): void {
	for (let index = 0; index < bytes.length; index++) {
		const at = address + index - patchAddress;
		if (at >= 0 && at < patch.length) bytes[index] = patch[at] as number;
	}
}

function ignoreMask(ignored: NonNullable<ComparedCase["ignored"]>, address: number): bigint {
	let mask = 0xffff_ffff_ffff_ffffn;
	for (const range of ignored)
		for (let byte = 0; byte < 8; byte++)
			if (address + byte >= range.address && address + byte < range.address + range.length) mask &= ~(0xffn << BigInt(byte * 8));
	return mask;
}

/** One line per instruction of the code as it was laid down. */
export function disassemble(testCase: TestCase): string[] {
	const lines: string[] = [];
	forEachInstruction(testCase, (instruction) => lines.push(instruction.toString()));
	return lines;
}

/** For messages: the address in the case's code, relative to its start. */
export function codeOffset(testCase: TestCase, rip: bigint): number {
	return Number(rip) + (testCase.mode === 16 ? CODE_ADDRESS : 0) - testCase.codeAddress;
}
