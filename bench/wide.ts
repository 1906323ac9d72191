/**
 * A program as large as a compiler: at least 50 MB of code of which every part runs. C is generated for a few pieces of some megabyte,
 * thousands of functions that are all different, and each compiled piece is linked in many times under other names: what a processor,
 * or a translator, sees at another address is other code.
 */
import { spawnSync } from "node:child_process";
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BuildError } from "./build-error.ts";
import type { Bits } from "./guest.ts";

/** Phases of wide-guest/main.c, each timed for itself: everything once; again and again; as skewed as real programs are. */
export const WIDE_PROGRAMS: readonly string[] = ["wide-cold", "wide-warm", "wide-skewed"];
/** All of it. */
export const WIDE = "wide";
const DISTINCT_PIECES = 2;
const COPIES = 32;
/** Functions of a piece that others of it call, and those that are called from outside. Powers of two. */
const LEAVES = 64;
const ENTRIES = 512;
/** What all of it together has to have at least. */
const MIN_TEXT_BYTES = 50 * 1024 * 1024;

class Dice {
	#state: number;

	constructor(seed: number) {
		this.#state = seed;
	}

	below(limit: number): number {
		this.#state ^= this.#state << 13;
		this.#state ^= this.#state >>> 17;
		this.#state ^= this.#state << 5;
		return (this.#state >>> 0) % limit;
	}

	pick<T>(...choices: readonly T[]): T {
		return choices[this.below(choices.length)] as T;
	}

	constant(): string {
		return `0x${(this.below(0x7fffffff) * 2 + 1).toString(16)}u`;
	}
}

const VARIABLES = ["a", "b", "c", "d"] as const;

function simple(dice: Dice): string {
	const [to, from, other] = [dice.pick(...VARIABLES), dice.pick(...VARIABLES), dice.pick(...VARIABLES)];
	const by = 1 + dice.below(30);
	switch (dice.below(10)) {
		case 0:
			return `${to} = (${from} << ${by} | ${from} >> ${32 - by}) + ${other};`;
		case 1:
			return `${to} ^= ${from} >> ${by};`;
		case 2:
			return `${to} = ${from} * ${dice.constant()} + ${other};`;
		case 3:
			return `${to} -= ${from} & ${dice.constant()};`;
		case 4:
		case 5:
			return `${to} += data[(${from} >> ${dice.below(20)}) & 8191];`;
		case 6:
			return `${to} ^= ((const unsigned char *)data)[${from} & 32767];`;
		case 7:
			return `data[(${from} >> ${dice.below(20)}) & 8191] = ${to} + ${other};`;
		case 8:
			return `${to} += ${from} < ${other} ? ${dice.constant()} : ${from};`;
		default:
			return `${to} = ~${from} + (${other} << ${dice.below(8)});`;
	}
}

const several = (dice: Dice, count: number): string => Array.from({ length: count }, () => simple(dice)).join(" ");

/** One of what programs consist of; a loop runs few rounds, and of two ways either is taken now and then. */
function statement(dice: Dice): string {
	const [x, y] = [dice.pick(...VARIABLES), dice.pick(...VARIABLES)];
	const condition = dice.pick(`(${x} ^ ${y}) & ${1 << dice.below(8)}`, `(int)${x} < (int)${y}`, `${x} > ${dice.constant()}`, `${x} & 64`);
	switch (dice.below(12)) {
		case 0:
		case 1:
			return `if (${condition}) { ${several(dice, 1 + dice.below(3))} } else { ${several(dice, 1 + dice.below(3))} }`;
		case 2:
		case 3:
			return `if (${condition}) { ${several(dice, 1 + dice.below(2))} }`;
		case 4:
			return `for (unsigned i = 0; i < 1 + (${x} & 3); i++) { ${several(dice, 2)} }`;
		case 5:
			return `switch (${x} >> ${dice.below(24)} & 7) { ${[0, 1, 2, 3, 5].map((value) => `case ${value}: ${several(dice, 1)} break;`).join(" ")} default: ${several(dice, 1)} }`;
		default:
			return simple(dice);
	}
}

function body(dice: Dice, statements: number, calls: number): string {
	const lines = Array.from({ length: statements }, () => statement(dice));
	for (let call = 0; call < calls; call++) {
		const at = dice.below(lines.length);
		lines.splice(
			at,
			0,
			`${dice.pick(...VARIABLES)} += leaf${dice.below(LEAVES)}(${dice.pick(...VARIABLES)}, ${dice.pick(...VARIABLES)}, data);`,
		);
	}
	return `{ unsigned c = a ^ ${dice.constant()}, d = b + ${dice.constant()};\n${lines.join("\n")}\nreturn a ^ b ^ c ^ d; }`;
}

/** The C of a piece: functions that know nothing outside of it, and a table of those to call. */
function pieceSource(piece: number): string {
	const dice = new Dice(0x9e37_79b9 + piece * 7919);
	const functions: string[] = [];
	const head = "(unsigned a, unsigned b, unsigned *data)";
	for (let leaf = 0; leaf < LEAVES; leaf++)
		functions.push(`static __attribute__((noinline)) unsigned leaf${leaf}${head} ${body(dice, 8 + dice.below(10), 0)}`);
	for (let entry = 0; entry < ENTRIES; entry++)
		functions.push(`static unsigned entry${entry}${head} ${body(dice, 22 + dice.below(42), 3)}`);
	const table = Array.from({ length: ENTRIES }, (_, entry) => `entry${entry}`).join(", ");
	return `${functions.join("\n")}\nunsigned (*const entries[])${head} = {${table}};\n`;
}

function tool(name: string, args: readonly string[]): string {
	const { status, error, stdout, stderr } = spawnSync(name, args, { encoding: "utf8" });
	if (status !== 0) throw new BuildError(`${name}: ${error?.message ?? stderr.split("\n")[0]}`);
	return stdout;
}

/** Builds it, which takes some ten seconds; answers where it is. @throws BuildError without gcc and binutils */
export function compileWide(bits: Bits, folder: string): string {
	const target = bits === 64 ? ["-m64"] : ["-m32", "-march=i686"];
	const objects: string[] = [];
	for (let piece = 0; piece < DISTINCT_PIECES; piece++) {
		const source = join(folder, `piece${piece}.c`);
		const object = join(folder, `piece${piece}.o`);
		writeFileSync(source, pieceSource(piece));
		tool("gcc", ["-O1", "-w", "-fno-pic", "-fcf-protection=none", ...target, "-c", source, "-o", object]);
		for (let copy = 0; copy < COPIES; copy++) {
			const renamed = join(folder, `piece${piece}-${copy}.o`);
			tool("objcopy", ["--prefix-symbols", `p${piece * COPIES + copy}_`, object, renamed]);
			objects.push(renamed);
		}
		rmSync(source);
		rmSync(object);
	}
	const list = join(folder, "wide-pieces.h");
	const count = DISTINCT_PIECES * COPIES;
	const names = Array.from({ length: count }, (_, piece) => `p${piece}_entries`);
	writeFileSync(
		list,
		`#define PIECES ${count}\n#define ENTRIES ${ENTRIES}\n${names.map((name) => `extern const entry ${name}[];`).join("\n")}\nstatic const entry *const pieces[] = {${names.join(", ")}};\n`,
	);
	const output = join(folder, `wide${bits}`);
	const main = fileURLToPath(new URL("wide-guest/main.c", import.meta.url));
	tool("gcc", ["-O2", "-static", "-no-pie", ...target, `-I${folder}`, main, ...objects, "-o", output]);
	for (const object of objects) rmSync(object);
	tool("strip", [output]);
	const textBytes = Number(/^\s*(\d+)/.exec(tool("size", [output]).split("\n")[1] ?? "")?.[1]);
	if (!(textBytes >= MIN_TEXT_BYTES))
		throw new BuildError(
			`the large program has ${textBytes} bytes of code, in a file of ${statSync(output).size}: fewer than it is to have`,
		);
	return output;
}
