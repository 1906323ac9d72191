import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { EngineUnderTest } from "./engine.ts";
import { decodeResults, encodeBatch, type Mode, RESULT_BYTES, type TestCase, TestResult } from "./format.ts";
import { baseMemory } from "./values.ts";

const SOURCES = fileURLToPath(new URL("native/", import.meta.url));
const FILES = ["runner.c", "format.h", "frame.h", "sys.h"];
/** The runner stands where neither small pointers nor multiples of the areas' addresses lead, without any library. */
const FLAGS =
	"-O2 -static -nostdlib -ffreestanding -fno-stack-protector -fcf-protection=none -fno-pic -no-pie -mgeneral-regs-only " +
	"-fno-tree-loop-distribute-patterns -Wl,-Ttext-segment=0x57a50000 -Wl,-z,noexecstack -Wl,--build-id=none";

export class CompileError extends Error {
	override readonly name = "CompileError";
}

/** Compiles the runner with gcc, unless these sources have been compiled before. @throws CompileError without gcc or multilib */
export function compileRunner(bits: 64 | 32): string {
	const hash = createHash("sha256").update(FLAGS);
	for (const file of FILES) hash.update(readFileSync(join(SOURCES, file)));
	const folder = workFolder();
	const path = join(folder, `runner${bits}-${hash.digest("hex").slice(0, 16)}`);
	if (existsSync(path)) return path;
	const partial = `${path}.${process.pid}`;
	const gcc = spawnSync("gcc", [`-m${bits}`, ...FLAGS.split(" "), join(SOURCES, "runner.c"), "-o", partial], { encoding: "utf8" });
	if (gcc.status !== 0) throw new CompileError(gcc.error?.message ?? gcc.stderr);
	renameSync(partial, path);
	return path;
}

/** For compiled runners and batches; the latter are gone when a run ends. */
export function workFolder(): string {
	const folder = join(tmpdir(), `basenji-cpu-tests-${userInfo().username}`);
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	return folder;
}

let batchSerial = 0;

/** The host's processor; or another one that can run a Linux program in user mode, as QEMU's can (`wrapper`). */
export class NativeEngine implements EngineUnderTest {
	readonly name: string;
	readonly reportsFaults: boolean;
	readonly #wrapper: (mode: Mode) => readonly string[];
	readonly #memory = baseMemory();
	readonly #modes: readonly Mode[];

	constructor(
		name = "native",
		modes: readonly Mode[] = [64, 32, 16],
		wrapper: (mode: Mode) => readonly string[] = () => [],
		reportsFaults = true,
	) {
		this.name = name;
		this.reportsFaults = reportsFaults;
		this.#modes = modes;
		this.#wrapper = wrapper;
	}

	supports(mode: Mode): boolean {
		return this.#modes.includes(mode);
	}

	run(cases: readonly TestCase[]): TestResult[] {
		if (cases.length === 0) return [];
		const mode = (cases[0] as TestCase).mode;
		const command = [...this.#wrapper(mode), compileRunner(mode === 64 ? 64 : 32)];
		const results = this.#spawn(command, cases);
		while (results.length < cases.length) {
			// The process died. Once more from there, writing each result at once: the one missing then is the culprit.
			const rest = cases.slice(results.length);
			const careful = this.#spawn([...command, "careful"], rest);
			results.push(...careful);
			if (careful.length < rest.length) results.push(new TestResult(new Uint8Array(RESULT_BYTES)));
			if (results.length < cases.length) results.push(...this.#spawn(command, cases.slice(results.length)));
		}
		return results;
	}

	#spawn(command: readonly string[], cases: readonly TestCase[]): TestResult[] {
		const stem = join(workFolder(), `batch-${process.pid}-${batchSerial++}`);
		const inputPath = `${stem}.in`;
		const outputPath = `${stem}.out`;
		writeFileSync(inputPath, encodeBatch(cases, this.#memory));
		const input = openSync(inputPath, "r");
		const output = openSync(outputPath, "w+");
		try {
			spawnSync(command[0] as string, command.slice(1), {
				stdio: [input, output, command.length > 2 ? "ignore" : "inherit"],
				timeout: 120_000,
			});
			return decodeResults(readFileSync(outputPath));
		} finally {
			closeSync(input);
			closeSync(output);
			rmSync(inputPath);
			rmSync(outputPath);
		}
	}
}

/** QEMU's user-mode emulators, where they are installed: a check of the tester, and a list of QEMU's own differences. */
export function qemuUserEngine(): NativeEngine {
	const folder = process.env.QEMU_USER_BIN ?? "";
	const path = (name: string): string => (folder === "" ? name : join(folder, name));
	const wrapper = (mode: Mode): string[] => [path(mode === 64 ? "qemu-x86_64" : "qemu-i386"), "-cpu", "max"];
	return new NativeEngine("qemu-user", [64, 32], wrapper, false);
}
