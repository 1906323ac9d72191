import { type ComparedCase, type Difference, disassemble } from "./compare.ts";
import { encodeResult, type Mode, type Status, type TestResult } from "./format.ts";
import { defaultFx } from "./values.ts";

/** A case and what the host's processor made of it, in a form for people and for hosts without a compiler. */
export interface Regression {
	/** Instructions as text, for reading. */
	readonly assembly: readonly string[];
	readonly mode: Mode;
	readonly codeAddress: string;
	/** Hex, one string per instruction. */
	readonly code: readonly string[];
	/** Hardware order; those left out are zero. */
	readonly gpr: Readonly<Record<string, string>>;
	readonly rflags: string;
	/** Bytes of the FXSAVE image that are not as after FNINIT with MXCSR 1F80: offset → hex. */
	readonly fx: Readonly<Record<string, string>>;
	readonly patches: readonly { readonly address: string; readonly bytes: string }[];
	readonly ignored?: readonly { readonly address: number; readonly length: number }[];
	readonly expected: {
		readonly status: Status;
		readonly vector: number;
		readonly errorCode: string;
		readonly cr2: string;
		readonly gpr: Readonly<Record<string, string>>;
		readonly rip: string;
		readonly rflags: string;
		readonly selectors: readonly string[];
		readonly fx: Readonly<Record<string, string>>;
		readonly diffs: readonly { readonly address: string; readonly bytes: string }[];
	};
	/** What was wrong when it was found, and on which engine. */
	readonly found: { readonly engine: string; readonly differences: readonly Difference[] };
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));

function sparseFx(fx: Uint8Array): Record<string, string> {
	const plain = defaultFx();
	const parts: Record<string, string> = {};
	for (let at = 0; at < fx.length; at += 8)
		if (fx.subarray(at, at + 8).some((byte, index) => byte !== plain[at + index])) parts[at] = hexOf(fx.subarray(at, at + 8));
	return parts;
}

function denseFx(parts: Readonly<Record<string, string>>): Uint8Array {
	const fx = defaultFx();
	for (const [at, bytes] of Object.entries(parts)) fx.set(bytesOf(bytes), Number(at));
	return fx;
}

function sparseGpr(value: (register: number) => bigint): Record<string, string> {
	const parts: Record<string, string> = {};
	for (let register = 0; register < 16; register++) if (value(register) !== 0n) parts[register] = value(register).toString(16);
	return parts;
}

function denseGpr(parts: Readonly<Record<string, string>>): BigUint64Array {
	const gpr = new BigUint64Array(16);
	for (const [register, value] of Object.entries(parts)) gpr[Number(register)] = BigInt(`0x${value}`);
	return gpr;
}

export function toRegression(testCase: ComparedCase, expected: TestResult, found: Regression["found"]): Regression {
	return {
		assembly: disassemble(testCase),
		mode: testCase.mode,
		codeAddress: testCase.codeAddress.toString(16),
		code: testCase.instructions.map(hexOf),
		gpr: sparseGpr((register) => testCase.gpr[register] as bigint),
		rflags: testCase.rflags.toString(16),
		fx: sparseFx(testCase.fx),
		patches: testCase.patches.map(({ address, bytes }) => ({ address: address.toString(16), bytes: hexOf(bytes) })),
		...(testCase.ignored !== undefined && testCase.ignored.length > 0 ? { ignored: testCase.ignored } : {}),
		expected: {
			status: expected.status,
			vector: expected.vector,
			errorCode: expected.errorCode.toString(16),
			cr2: expected.cr2.toString(16),
			gpr: sparseGpr((register) => expected.gpr(register)),
			rip: expected.rip.toString(16),
			rflags: expected.rflags.toString(16),
			selectors: [0, 1, 2, 3, 4, 5].map((segment) => expected.selector(segment).toString(16)),
			fx: sparseFx(expected.fx),
			diffs: expected.diffs.map(({ address, bytes }) => ({ address: address.toString(16), bytes: hexOf(bytes) })),
		},
		found,
	};
}

export function fromRegression(regression: Regression): {
	testCase: ComparedCase;
	expected: TestResult;
} {
	const { expected } = regression;
	const patches = (list: readonly { readonly address: string; readonly bytes: string }[]) =>
		list.map(({ address, bytes }) => ({ address: Number.parseInt(address, 16), bytes: bytesOf(bytes) }));
	return {
		testCase: {
			mode: regression.mode,
			codeAddress: Number.parseInt(regression.codeAddress, 16),
			instructions: regression.code.map(bytesOf),
			gpr: denseGpr(regression.gpr),
			rflags: Number.parseInt(regression.rflags, 16),
			fx: denseFx(regression.fx),
			patches: patches(regression.patches),
			ignored: regression.ignored ?? [],
		},
		expected: encodeResult({
			status: expected.status,
			vector: expected.vector,
			errorCode: Number.parseInt(expected.errorCode, 16),
			cr2: BigInt(`0x${expected.cr2}`),
			gpr: denseGpr(expected.gpr),
			rip: BigInt(`0x${expected.rip}`),
			rflags: Number.parseInt(expected.rflags, 16),
			selectors: expected.selectors.map((text) => Number.parseInt(text, 16)),
			fx: denseFx(expected.fx),
			diffs: patches(expected.diffs),
		}),
	};
}
