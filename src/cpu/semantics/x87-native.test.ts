import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { DONE, IMAGE_BYTES, MEMORY_BYTES, X87Fixture } from "./x87-fixture.ts";

/**
 * Every x87 instruction on random states, compared with the host's own x87, status word included. X87_CASES sets how many
 * states each instruction gets. Where the manuals leave something open (condition codes after FFREE, FCOMI, F2XM1 of 2), we do
 * as AMD's processors do, so only those are asked.
 */
const CASES = Number(process.env.X87_CASES ?? 400);

const CASE_BYTES = IMAGE_BYTES + MEMORY_BYTES + 8;

/** For each batch: state in, one instruction at [rbx] = memory, state out. FNSAVE does not wait, so nothing traps. */
const ORACLE = `
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
struct state { uint8_t image[${IMAGE_BYTES}]; uint8_t memory[${MEMORY_BYTES}]; uint64_t flags; } __attribute__((packed));
static const uint8_t before[] = { 0x53, 0x48, 0x89, 0xd3, 0xdd, 0x27, 0xff, 0xb7, 0xec, 0, 0, 0, 0x9d };
static const uint8_t after[] = { 0x9c, 0x8f, 0x86, 0xec, 0, 0, 0, 0xdd, 0x36, 0x5b, 0xc3 };
int main(void) {
	uint8_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t head[2];
	if (code == MAP_FAILED) return 2;
	while (fread(head, 4, 2, stdin) == 2) {
		struct state *in = malloc(head[0] * sizeof *in), *out = malloc(head[0] * sizeof *out);
		memcpy(code, before, sizeof before);
		if (fread(code + sizeof before, 1, head[1], stdin) != head[1]) return 3;
		memcpy(code + sizeof before + head[1], after, sizeof after);
		if (fread(in, sizeof *in, head[0], stdin) != head[0]) return 4;
		for (uint32_t i = 0; i < head[0]; i++) {
			memcpy(out[i].memory, in[i].memory, ${MEMORY_BYTES});
			((void (*)(void *, void *, void *))code)(&in[i], &out[i], out[i].memory);
		}
		fwrite(out, sizeof *out, head[0], stdout);
		free(in), free(out);
	}
	return 0;
}
`;

function compileOracle(): { path: string; folder: string } | string {
	if (process.platform !== "linux" || process.arch !== "x64") return "the host is not x86-64 Linux";
	if (!readFileSync("/proc/cpuinfo", "utf8").includes("AuthenticAMD")) return "not an AMD host, whose choices ours are";
	const folder = mkdtempSync(join(tmpdir(), "x87-"));
	writeFileSync(join(folder, "oracle.c"), ORACLE);
	const path = join(folder, "oracle");
	if (spawnSync("gcc", ["-O1", "-o", path, join(folder, "oracle.c")]).status === 0) return { path, folder };
	rmSync(folder, { recursive: true });
	return "gcc is missing";
}

const oracle = compileOracle();
if (typeof oracle === "string") console.warn(`x87 not compared with the host: ${oracle}`);

// ---- random states ----

let seed = 20_240_607;
function below(n: number): number {
	seed ^= seed << 13;
	seed ^= seed >>> 17;
	seed ^= seed << 5;
	return (seed >>> 0) % n;
}
const one = <T>(choices: readonly T[]): T => choices[below(choices.length)] as T;
const quadword = (): bigint => (BigInt(below(0x1_0000_0000)) << 32n) | BigInt(below(0x1_0000_0000));
const TOP = 1n << 63n;

function bits(): bigint {
	const n = BigInt(below(64));
	return one([() => 1n << n, () => (1n << n) - 1n, () => BigInt.asUintN(64, -1n << n), () => quadword() & ~0x7ffn, quadword, quadword])();
}

type Ext = readonly [se: number, mantissa: bigint];

/** Mostly normal values within some 70 binades of `near`; the rest of every kind there is. */
function extended(near: number, kind = below(100)): Ext {
	const sign = below(2) << 15;
	const clamp = (e: number) => sign | Math.max(1, Math.min(0x7ffe, e));
	if (kind < 60) return [clamp(near + below(140) - 70), bits() | TOP];
	if (kind < 68) return [clamp(near + below(4) - 2), bits() | TOP];
	if (kind < 72) return [clamp(below(0x7fff)), bits() | TOP];
	if (kind < 76) return [clamp(one([below(100), 0x7ffe - below(100)])), bits() | TOP];
	if (kind < 80) return [sign, 0n];
	if (kind < 86) return [sign, one([bits() & ~TOP, bits() | TOP])];
	if (kind < 89) return [sign | 0x7fff, TOP];
	if (kind < 96) return [sign | 0x7fff, bits() | TOP | (BigInt(below(2)) << 62n)];
	return [sign | below(0x8000), bits()];
}

const NEAR = [0x3fff, 0x3fff, 0x3fff, 0x3c00, 0x4400, 0x3f80, 0x4080, 40, 0x7fd0, 0x2000, 0x5fff] as const;

type Memory = "single" | "double" | "extended" | "integer" | "decimal" | "environment" | "environment16";

interface Instruction {
	readonly name: string;
	readonly code: readonly number[];
	readonly memory?: Memory;
	readonly near?: readonly number[];
	/** Results may differ by one unit in the last place, and with them C1. */
	readonly isApproximate?: boolean;
}

function fillMemory(view: DataView, offset: number, kind: Memory, near: number): void {
	for (let i = 0; i < 16; i += 8) view.setBigUint64(offset + i, below(3) ? bits() : BigInt.asUintN(64, BigInt(below(200) - 100)), true);
	const exponent = (bias: number, max: number) =>
		one([0, max, below(max + 1), near - 0x3fff + bias + below(80) - 40, bias + below(20) - 10]) & max;
	const sign = below(2);
	if (kind === "single") view.setInt32(offset, (sign << 31) | (exponent(127, 255) << 23) | (below(4) ? below(1 << 23) : 0), true);
	else if (kind === "double")
		view.setBigUint64(offset, (BigInt((sign << 11) | exponent(1023, 2047)) << 52n) | (below(4) ? bits() >> 12n : 0n), true);
	else if (kind === "extended") {
		const [se, mantissa] = extended(near);
		view.setBigUint64(offset, mantissa, true);
		view.setUint16(offset + 8, se, true);
	} else if (kind === "decimal") {
		for (let i = 0; i < 9; i++) view.setUint8(offset + i, below(10) * 16 + below(10));
		view.setUint8(offset + 9, sign << 7);
	} else if (kind !== "integer") {
		const image = new DataView(new ArrayBuffer(CASE_BYTES));
		fillCase(image, 0, { name: "", code: [] });
		for (let i = 28; i < IMAGE_BYTES; i++) view.setUint8(offset + (kind === "environment" ? i : i - 14), image.getUint8(i));
		for (let i = 0; i < 7; i++)
			if (kind === "environment") view.setUint32(offset + 4 * i, image.getUint32(4 * i, true), true);
			else view.setUint16(offset + 2 * i, image.getUint16(4 * i, true), true);
	}
}

function fillCase(view: DataView, offset: number, instruction: Instruction): void {
	const near = one(instruction.near ?? NEAR);
	const masks = below(3) === 0 ? below(64) : 63;
	const top = below(8);
	let tags = 0;
	if (below(4) === 0) for (let i = 0; i < 8; i++) if (below(3) === 0) tags |= 3 << (2 * i);
	if (below(2) === 0) tags |= 3 << (2 * ((top - 1) & 7));
	view.setUint32(offset, 0x40 | masks | ((below(3) ? 3 : below(4)) << 8) | (below(2) * below(4) * 0x400), true);
	// Only masked exceptions may stand already: anything else would trap at once.
	view.setUint32(offset + 4, (below(64) & masks & -below(2)) | (below(2) << 6) | (below(8) << 8) | (top << 11) | (below(2) << 14), true);
	view.setUint32(offset + 8, tags, true);
	for (let k = 0; k < 8; k++) {
		const [se, mantissa] = extended(near);
		view.setBigUint64(offset + 28 + 10 * k, mantissa, true);
		view.setUint16(offset + 36 + 10 * k, se, true);
	}
	fillMemory(view, offset + IMAGE_BYTES, instruction.memory ?? "integer", near);
	view.setUint32(offset + IMAGE_BYTES + MEMORY_BYTES, 0x202 | (below(0x1000) & 0x8d5), true);
}

// ---- instructions ----

const INSTRUCTIONS: Instruction[] = [];
const add = (name: string, code: number[], memory?: Memory, more: Partial<Instruction> = {}) =>
	INSTRUCTIONS.push({ name, code, ...(memory === undefined ? {} : { memory }), ...more });

for (const [i, name] of ["FADD", "FMUL", "FCOM", "FCOMP", "FSUB", "FSUBR", "FDIV", "FDIVR"].entries()) {
	add(`${name} m32`, [0xd8, 3 | (i << 3)], "single");
	add(`${name} m64`, [0xdc, 3 | (i << 3)], "double");
	add(`${name} m32int`, [0xda, 3 | (i << 3)], "integer");
	add(`${name} m16int`, [0xde, 3 | (i << 3)], "integer");
	add(`${name} ST0,ST1`, [0xd8, 0xc1 | (i << 3)]);
	add(`${name} ST0,ST0`, [0xd8, 0xc0 | (i << 3)]);
	add(`${name} (DC) ST2`, [0xdc, 0xc2 | (i << 3)]);
	add(`${name} (DE) ST1`, [0xde, i === 3 ? 0xd9 : 0xc1 | (i << 3)]);
}
const REGISTER_FORMS: Record<string, number[]> = {
	"FLD ST3": [0xd9, 0xc3],
	"FLD ST7": [0xd9, 0xc7],
	"FST ST2": [0xdd, 0xd2],
	"FSTP ST1": [0xdd, 0xd9],
	"FSTP ST0": [0xdd, 0xd8],
	"FSTPNCE ST1": [0xd9, 0xd9],
	"FXCH ST1": [0xd9, 0xc9],
	"FXCH ST0": [0xd9, 0xc8],
	FUCOM: [0xdd, 0xe1],
	FUCOMP: [0xdd, 0xe9],
	FUCOMPP: [0xda, 0xe9],
	FCOMI: [0xdb, 0xf1],
	FCOMIP: [0xdf, 0xf1],
	FUCOMI: [0xdb, 0xe9],
	FUCOMIP: [0xdf, 0xe9],
	FTST: [0xd9, 0xe4],
	FXAM: [0xd9, 0xe5],
	FCHS: [0xd9, 0xe0],
	FABS: [0xd9, 0xe1],
	FSQRT: [0xd9, 0xfa],
	FSCALE: [0xd9, 0xfd],
	FXTRACT: [0xd9, 0xf4],
	FPREM: [0xd9, 0xf8],
	FPREM1: [0xd9, 0xf5],
	FINCSTP: [0xd9, 0xf7],
	FDECSTP: [0xd9, 0xf6],
	FFREE: [0xdd, 0xc2],
	FFREEP: [0xdf, 0xc1],
	FNOP: [0xd9, 0xd0],
	FNINIT: [0xdb, 0xe3],
	FNCLEX: [0xdb, 0xe2],
	FWAIT: [0x9b],
	EMMS: [0x0f, 0x77],
};
for (const [name, code] of Object.entries(REGISTER_FORMS)) add(name, code);
for (let i = 0; i < 7; i++) add(`constant ${i}`, [0xd9, 0xe8 + i]);
for (let i = 0; i < 4; i++) {
	add(`FCMOV ${i}`, [0xda, 0xc1 + 8 * i]);
	add(`FCMOVN ${i}`, [0xdb, 0xc1 + 8 * i]);
}
add("FRNDINT", [0xd9, 0xfc], undefined, { near: [0x3fff, 0x4010, 0x403f, 0x3fe0] });
const LOADS: readonly [string, number[], Memory][] = [
	["FLD m32", [0xd9, 3], "single"],
	["FLD m64", [0xdd, 3], "double"],
	["FLD m80", [0xdb, 0x2b], "extended"],
	["FILD m16", [0xdf, 3], "integer"],
	["FILD m32", [0xdb, 3], "integer"],
	["FILD m64", [0xdf, 0x2b], "integer"],
	["FBLD", [0xdf, 0x23], "decimal"],
	["FLDCW", [0xd9, 0x2b], "integer"],
	["FLDENV", [0xd9, 0x23], "environment"],
	["FLDENV 16", [0x66, 0xd9, 0x23], "environment16"],
	["FRSTOR", [0xdd, 0x23], "environment"],
	["FRSTOR 16", [0x66, 0xdd, 0x23], "environment16"],
];
for (const [name, code, memory] of LOADS) add(name, code, memory);
const STORES: Record<string, number[]> = {
	"FST m32": [0xd9, 0x13],
	"FSTP m32": [0xd9, 0x1b],
	"FST m64": [0xdd, 0x13],
	"FSTP m64": [0xdd, 0x1b],
	"FSTP m80": [0xdb, 0x3b],
	"FIST m16": [0xdf, 0x13],
	"FISTP m32": [0xdb, 0x1b],
	"FISTP m64": [0xdf, 0x3b],
	"FISTTP m16": [0xdf, 0x0b],
	"FISTTP m32": [0xdb, 0x0b],
	"FISTTP m64": [0xdd, 0x0b],
	FBSTP: [0xdf, 0x33],
	FNSTSW: [0xdd, 0x3b],
	FNSTCW: [0xd9, 0x3b],
	FNSTENV: [0xd9, 0x33],
	"FNSTENV 16": [0x66, 0xd9, 0x33],
	FNSAVE: [0xdd, 0x33],
	"FNSAVE 16": [0x66, 0xdd, 0x33],
};
for (const [name, code] of Object.entries(STORES)) add(name, code);
const TRANSCENDENTAL: Record<string, number> = {
	F2XM1: 0xf0,
	FYL2X: 0xf1,
	FPTAN: 0xf2,
	FPATAN: 0xf3,
	FYL2XP1: 0xf9,
	FSINCOS: 0xfb,
	FSIN: 0xfe,
	FCOS: 0xff,
};
for (const [name, second] of Object.entries(TRANSCENDENTAL))
	add(name, [0xd9, second], undefined, { isApproximate: true, near: [0x3fff, 0x3ffc, 0x3fe0, 0x4003, 0x4020] });

// ---- comparison ----

const C1 = 0x200;

function native(code: readonly number[], input: Uint8Array, count: number): DataView {
	const head = Buffer.alloc(8);
	head.writeUInt32LE(count, 0);
	head.writeUInt32LE(code.length, 4);
	const { path } = oracle as { path: string };
	const { stdout, status, signal } = spawnSync(path, { input: Buffer.concat([head, Buffer.from(code), input]), maxBuffer: 1 << 30 });
	if (status !== 0) throw new Error(`the host's x87 ended with ${status ?? signal}`);
	return new DataView(stdout.buffer, stdout.byteOffset, stdout.length);
}

/** Two registers a unit in the last place apart, or equal. */
function isNear(a: DataView, b: DataView, offset: number): boolean {
	const order = (v: DataView) => (BigInt(v.getUint16(offset + 8, true) & 0x7fff) << 64n) | v.getBigUint64(offset, true);
	const gap = order(a) - order(b);
	const sameSign = a.getUint16(offset + 8, true) >> 15 === b.getUint16(offset + 8, true) >> 15;
	// Beside a power of two the integer bit makes the gap look like 2^63.
	return sameSign && (gap * gap <= 1n || gap * gap === ((1n << 63n) + 1n) ** 2n);
}

function differences(got: DataView, want: DataView, isApproximate: boolean): string[] {
	const found: string[] = [];
	const word = (name: string, offset: number, mask = 0xffff) => {
		const [a, b] = [got.getUint16(offset, true), want.getUint16(offset, true)];
		if (((a ^ b) & mask) !== 0) found.push(`${name} ${a.toString(16)}, host ${b.toString(16)}`);
	};
	word("FCW", 0);
	word("FSW", 4, isApproximate ? ~C1 : 0xffff);
	if (!isApproximate) word("FTW", 8);
	for (let k = 0; k < 8; k++) {
		const offset = 28 + 10 * k;
		const show = (v: DataView) => `${v.getUint16(offset + 8, true).toString(16)}:${v.getBigUint64(offset, true).toString(16)}`;
		if (show(got) !== show(want) && !(isApproximate && isNear(got, want, offset))) found.push(`ST${k} ${show(got)}, host ${show(want)}`);
	}
	for (let i = 0; i < MEMORY_BYTES; i++) {
		const [a, b] = [got.getUint8(IMAGE_BYTES + i), want.getUint8(IMAGE_BYTES + i)];
		if (a !== b) found.push(`memory[${i}] ${a}, host ${b}`);
	}
	word("flags", IMAGE_BYTES + MEMORY_BYTES, 0x8d5);
	return found;
}

describe.skipIf(typeof oracle === "string")("the host's x87 agrees", () => {
	const fixture = new X87Fixture();
	afterAll(() => {
		if (typeof oracle !== "string") rmSync(oracle.folder, { recursive: true });
	});

	test.each(INSTRUCTIONS.map((instruction) => [instruction.name, instruction] as const))("%s", (_name, instruction) => {
		const input = new Uint8Array(CASES * CASE_BYTES);
		const view = new DataView(input.buffer);
		for (let i = 0; i < CASES; i++) fillCase(view, i * CASE_BYTES, instruction);
		const want = native(instruction.code, input, CASES);
		const run = fixture.compile(instruction.code);
		const got = new DataView(new ArrayBuffer(CASE_BYTES));
		for (let i = 0; i < CASES; i++) {
			fixture.load(view, i * CASE_BYTES);
			// The host's image has no pointers yet when the instruction stores it.
			for (const name of ["fip", "fdp", "fop"] as const) fixture.set(name, 0);
			expect(run()).toBe(DONE);
			fixture.save(got, 0);
			const host = new DataView(want.buffer, want.byteOffset + i * CASE_BYTES, CASE_BYTES);
			const found = differences(got, host, instruction.isApproximate ?? false);
			if (found.length > 0)
				expect.fail(
					`case ${i}: ${found.join("; ")} from ${Buffer.from(input.subarray(i * CASE_BYTES, (i + 1) * CASE_BYTES)).toString("hex")}`,
				);
		}
	});
});
