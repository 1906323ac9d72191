/**
 * Cases and results, and the binary format in which they travel to the native runner (native/format.h says the same in C).
 *
 * A case is a short piece of code at `codeAddress` in an area otherwise filled with INT3, a processor state to start it
 * with and patches to memory. It ends with the first exception; the state at that moment is the result.
 */
export type Mode = 64 | 32 | 16;
export const MODES: readonly Mode[] = [64, 32, 16];

export const CODE_ADDRESS = 0x1000_0000;
export const CODE_BYTES = 0x2000;
export const DATA_ADDRESS = 0x2000_0000;
export const DATA_BYTES = 0x2000;
export const STACK_ADDRESS = 0x3000_0000;
export const STACK_BYTES = 0x1000;
/** 64-bit mode: the bases behind null FS and GS selectors. */
export const FS_BASE = DATA_ADDRESS + 0x100;
export const GS_BASE = DATA_ADDRESS + 0x1000;
export const CODE_FILL = 0xcc;

export interface Area {
	readonly address: number;
	readonly sizeBytes: number;
	/** Where the area stands in a memory image. */
	readonly imageOffset: number;
}

/** Everything mapped; an unmapped page stands before and after each. */
export const AREAS: readonly Area[] = [
	{ address: CODE_ADDRESS, sizeBytes: CODE_BYTES, imageOffset: 0 },
	{ address: DATA_ADDRESS, sizeBytes: DATA_BYTES, imageOffset: CODE_BYTES },
	{ address: STACK_ADDRESS, sizeBytes: STACK_BYTES, imageOffset: CODE_BYTES + DATA_BYTES },
];
export const IMAGE_BYTES = CODE_BYTES + DATA_BYTES + STACK_BYTES;

/** Linux's user selectors. */
export const USER_CS32 = 0x23;
export const USER_DS = 0x2b;
export const USER_CS64 = 0x33;

export interface LdtEntry {
	readonly base: number;
	readonly limit: number;
	readonly kind: "data" | "expand-down" | "code";
	readonly is32: boolean;
	readonly isReadOnly: boolean;
	readonly isPresent: boolean;
}

const ldtEntry = (
	base: number,
	limit: number,
	kind: LdtEntry["kind"],
	is32: boolean,
	isReadOnly: boolean,
	isPresent: boolean,
): LdtEntry => ({
	base,
	limit,
	kind,
	is32,
	isReadOnly,
	isPresent,
});

/** The local descriptor table of the 32- and 16-bit modes; selector of entry n: n × 8 + 7. In 64-bit mode there is none. */
export const LDT: readonly LdtEntry[] = [
	ldtEntry(CODE_ADDRESS, CODE_BYTES - 1, "code", false, false, true),
	ldtEntry(DATA_ADDRESS, DATA_BYTES - 1, "data", false, false, true),
	ldtEntry(STACK_ADDRESS, STACK_BYTES - 1, "data", false, false, true),
	ldtEntry(DATA_ADDRESS, DATA_BYTES - 1, "data", true, false, true),
	ldtEntry(DATA_ADDRESS, DATA_BYTES / 2 - 1, "data", false, true, true),
	ldtEntry(DATA_ADDRESS, DATA_BYTES / 2 - 1, "expand-down", false, false, true),
	ldtEntry(DATA_ADDRESS, DATA_BYTES - 1, "data", true, false, false),
	ldtEntry(CODE_ADDRESS, CODE_BYTES - 1, "code", false, true, true),
	ldtEntry(CODE_ADDRESS, CODE_BYTES - 1, "code", true, false, true),
];

/** Selectors at the start of a case, in the order ES CS SS DS FS GS. */
export function initialSelectors(mode: Mode): readonly number[] {
	if (mode === 64) return [USER_DS, USER_CS64, USER_DS, USER_DS, 0, 0];
	if (mode === 32) return [USER_DS, USER_CS32, USER_DS, USER_DS, 0x1f, 0];
	return [0x0f, 0x07, 0x17, 0x0f, 0x27, 0x2f];
}

/** Linear base of a segment (0–5: ES CS SS DS FS GS) at the start of a case. */
export function initialBase(mode: Mode, segment: number): number {
	if (mode === 64) return segment === 4 ? FS_BASE : segment === 5 ? GS_BASE : 0;
	const selector = initialSelectors(mode)[segment] as number;
	return (selector & 4) === 0 ? 0 : (LDT[selector >> 3] as LdtEntry).base;
}

export interface Patch {
	readonly address: number;
	readonly bytes: Uint8Array;
}

export interface TestCase {
	readonly mode: Mode;
	/** Linear. */
	readonly codeAddress: number;
	/** The code, cut at the borders of instructions as the generator meant them. What does not fit the area is lost. */
	readonly instructions: readonly Uint8Array[];
	/** rax rcx rdx rbx rsp rbp rsi rdi r8–r15; 32-bit modes use the low halves of the first eight. */
	readonly gpr: BigUint64Array;
	readonly rflags: number;
	/** An FXSAVE image (64-bit format), Intel SDM Vol. 1 §10.5.1. */
	readonly fx: Uint8Array;
	readonly patches: readonly Patch[];
}

export const FXSAVE_BYTES = 512;
const CASE_HEADER_BYTES = 672;
export const RESULT_BYTES = 704;
const BATCH_MAGIC = 0x31545842;
/** The runner puts segment registers and bases back after every case. */
const CASE_RESETS_SEGMENTS = 1;

const padded = (bytes: number): number => (bytes + 7) & ~7;

/** The code as it stands in memory: cut off at the end of the area. */
export function codeOf(testCase: TestCase): Uint8Array {
	let length = 0;
	for (const instruction of testCase.instructions) length += instruction.length;
	const code = new Uint8Array(length);
	let at = 0;
	for (const instruction of testCase.instructions) {
		code.set(instruction, at);
		at += instruction.length;
	}
	return code.subarray(0, Math.min(length, CODE_ADDRESS + CODE_BYTES - testCase.codeAddress));
}

/** IP at the start: linear, or in 16-bit mode the offset in the code segment. */
export function initialIp(testCase: TestCase): number {
	return testCase.mode === 16 ? testCase.codeAddress - CODE_ADDRESS : testCase.codeAddress;
}

/** One file for the runner: the memory image, then the cases. */
export function encodeBatch(cases: readonly TestCase[], memoryImage: Uint8Array): Uint8Array {
	let size = 8 + IMAGE_BYTES;
	const codes = cases.map(codeOf);
	for (let index = 0; index < cases.length; index++) {
		size += CASE_HEADER_BYTES + padded((codes[index] as Uint8Array).length);
		for (const patch of (cases[index] as TestCase).patches) size += 8 + padded(patch.bytes.length);
	}
	const bytes = new Uint8Array(size);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, BATCH_MAGIC, true);
	view.setUint32(4, cases.length, true);
	bytes.set(memoryImage, 8);
	let at = 8 + IMAGE_BYTES;
	for (let index = 0; index < cases.length; index++) {
		const testCase = cases[index] as TestCase;
		const code = codes[index] as Uint8Array;
		const start = at;
		view.setUint16(at + 4, testCase.mode, true);
		view.setUint16(at + 6, CASE_RESETS_SEGMENTS, true);
		view.setUint32(at + 8, testCase.codeAddress, true);
		view.setUint16(at + 12, code.length, true);
		view.setUint16(at + 14, testCase.patches.length, true);
		for (let register = 0; register < 16; register++) view.setBigUint64(at + 16 + register * 8, testCase.gpr[register] as bigint, true);
		view.setUint32(at + 144, initialIp(testCase), true);
		view.setUint32(at + 152, testCase.rflags, true);
		bytes.set(testCase.fx, at + 160);
		bytes.set(code, at + CASE_HEADER_BYTES);
		at += CASE_HEADER_BYTES + padded(code.length);
		for (const patch of testCase.patches) {
			view.setUint32(at, patch.address, true);
			view.setUint32(at + 4, patch.bytes.length, true);
			bytes.set(patch.bytes, at + 8);
			at += 8 + padded(patch.bytes.length);
		}
		view.setUint32(start, at - start, true);
	}
	return bytes;
}

export type Status = "not-run" | "fault" | "timeout";
const STATUSES: readonly Status[] = ["not-run", "fault", "timeout"];

/** How a case ended: a view of one result record. */
export class TestResult {
	readonly bytes: Uint8Array;
	readonly #view: DataView;

	constructor(bytes: Uint8Array) {
		this.bytes = bytes;
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	}

	get status(): Status {
		return STATUSES[this.#view.getUint16(4, true)] ?? "not-run";
	}
	/** The exception that ended it, or -1. */
	get vector(): number {
		return this.status === "fault" ? this.#view.getUint16(6, true) : -1;
	}
	get errorCode(): number {
		return this.#view.getUint32(8, true);
	}
	get cr2(): bigint {
		return this.#view.getBigUint64(16, true);
	}
	gpr(register: number): bigint {
		return this.#view.getBigUint64(24 + register * 8, true);
	}
	get rip(): bigint {
		return this.#view.getBigUint64(152, true);
	}
	get rflags(): number {
		return this.#view.getUint32(160, true);
	}
	/** 0–5: ES CS SS DS FS GS. */
	selector(segment: number): number {
		return this.#view.getUint16(168 + segment * 2, true);
	}
	get fx(): Uint8Array {
		return this.bytes.subarray(192, 192 + FXSAVE_BYTES);
	}
	/** What memory has become, in whole aligned 8-byte words. */
	get diffs(): Patch[] {
		const diffs: Patch[] = [];
		let at = RESULT_BYTES;
		for (let left = this.#view.getUint32(12, true); left > 0; left--) {
			const length = this.#view.getUint32(at + 4, true);
			diffs.push({ address: this.#view.getUint32(at, true), bytes: this.bytes.subarray(at + 8, at + 8 + length) });
			at += 8 + padded(length);
		}
		return diffs;
	}
}

export interface ResultFields {
	readonly status: Status;
	readonly vector: number;
	readonly errorCode: number;
	readonly cr2: bigint;
	readonly gpr: ArrayLike<bigint>;
	readonly rip: bigint;
	readonly rflags: number;
	readonly selectors: ArrayLike<number>;
	readonly fx: Uint8Array;
	readonly diffs: readonly Patch[];
}

/** For engines that make results themselves. */
export function encodeResult(fields: ResultFields): TestResult {
	let size = RESULT_BYTES;
	for (const diff of fields.diffs) size += 8 + padded(diff.bytes.length);
	const bytes = new Uint8Array(size);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, size, true);
	view.setUint16(4, STATUSES.indexOf(fields.status), true);
	view.setUint16(6, fields.vector & 0xffff, true);
	view.setUint32(8, fields.errorCode, true);
	view.setUint32(12, fields.diffs.length, true);
	view.setBigUint64(16, fields.cr2, true);
	for (let register = 0; register < 16; register++) view.setBigUint64(24 + register * 8, fields.gpr[register] ?? 0n, true);
	view.setBigUint64(152, fields.rip, true);
	view.setUint32(160, fields.rflags, true);
	for (let segment = 0; segment < 6; segment++) view.setUint16(168 + segment * 2, fields.selectors[segment] ?? 0, true);
	bytes.set(fields.fx, 192);
	let at = RESULT_BYTES;
	for (const diff of fields.diffs) {
		view.setUint32(at, diff.address, true);
		view.setUint32(at + 4, diff.bytes.length, true);
		bytes.set(diff.bytes, at + 8);
		at += 8 + padded(diff.bytes.length);
	}
	return new TestResult(bytes);
}

/** The runner's output, cut into results. A record cut short at the end (the process died) is dropped. */
export function decodeResults(bytes: Uint8Array): TestResult[] {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const results: TestResult[] = [];
	let at = 0;
	while (at + RESULT_BYTES <= bytes.length) {
		const size = view.getUint32(at, true);
		if (size < RESULT_BYTES || at + size > bytes.length) break;
		results.push(new TestResult(bytes.subarray(at, at + size)));
		at += size;
	}
	return results;
}
