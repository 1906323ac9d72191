import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pvhKernel } from "../board/pvh-kernel.ts";

const main = fileURLToPath(new URL("../../src/cli/basenji.js", import.meta.url));
const ENTRY = 0x10_0000;

/** Eight bits a character, then each as soon as the port has sent the one before (16550: LCR, LSR, THR). */
function print(text: string): number[] {
	// mov dx, LCR; mov al, 3; out dx, al
	const setUp = [0x66, 0xba, 0xfb, 0x03, 0xb0, 0x03, 0xee];
	// mov dx, LSR; wait: in al, dx; test al, THRE; jz wait; mov dx, THR; mov al, character; out dx, al
	const send = (char: string): number[] => [
		...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb],
		...[0x66, 0xba, 0xf8, 0x03, 0xb0, char.charCodeAt(0), 0xee],
	];
	return [...setUp, ...[...text].flatMap(send)];
}

/** hlt; jmp back: a guest that has nothing more to do. */
const REST = [0xf4, 0xeb, 0xfd];
const KERNELS: Readonly<Record<string, readonly number[]>> = {
	// mov al, 42; out 0xf4, al
	"debug-exit": [...print("bye\n"), 0xb0, 42, 0xe6, 0xf4, ...REST],
	// mov dx, 0x604; mov ax, S5 and SLP_EN; out dx, ax
	"power-off": [...print("off\n"), 0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, ...REST],
	// mov dx, 0xcf9; mov al, 2; out; mov al, 6; out
	reset: [...print("again\n"), 0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x02, 0xee, 0xb0, 0x06, 0xee, ...REST],
	// lidt of an empty table (the six zeros behind); int3
	"triple-fault": [...print("oops\n"), 0x0f, 0x01, 0x1d, 0x00, 0x08, 0x10, 0x00, 0xcc, ...REST],
	rest: [...print("resting\n"), ...REST],
	// jmp to itself
	spin: [...print("spinning\n"), 0xeb, 0xfe],
};

let directory = "";

beforeAll(() => {
	directory = mkdtempSync(join(tmpdir(), "basenji-ends-"));
	for (const [name, code] of Object.entries(KERNELS)) {
		const bytes = new Uint8Array(0x1000);
		bytes.set(code);
		writeFileSync(join(directory, name), pvhKernel(ENTRY, [{ addr: ENTRY, bytes }]));
	}
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Outcome {
	readonly code: number | null;
	readonly stdout: string;
	readonly stderr: string;
}

function run(kernel: string, ...args: readonly string[]): Outcome {
	const all = [main, "run", "--kernel", join(directory, kernel), "--memory", "16M", ...args];
	const { status, stdout, stderr } = spawnSync(process.execPath, all, { encoding: "utf8", timeout: 60_000 });
	return { code: status, stdout, stderr };
}

describe("a run ends", () => {
	test("with the byte written to port 0xF4, where --debug-exit says so", () => {
		expect(run("debug-exit", "--debug-exit")).toEqual({ code: 42, stdout: "bye\n", stderr: "" });
		expect(run("debug-exit", "--timeout", "1s")).toEqual({ code: 124, stdout: "bye\n", stderr: "basenji: time is up\n" });
	});

	test("with 0 when the guest powers off", () => {
		expect(run("power-off")).toEqual({ code: 0, stdout: "off\n", stderr: "" });
	});

	test.each(["16M", "2100M", "3900M"])("with %s of memory", (memory) => {
		expect(run("power-off", "--memory", memory)).toMatchObject({ code: 0, stderr: "" });
	});

	test.each(["rest", "spin"])("with 124 at --timeout (%s)", (kernel) => {
		const startedMs = Date.now();
		expect(run(kernel, "--timeout", "1s")).toMatchObject({ code: 124, stderr: "basenji: time is up\n" });
		expect(Date.now() - startedMs).toBeLessThan(20_000);
	});

	test("with 0 at --until; with 1 if the guest ends first, saying so", () => {
		expect(run("spin", "--until", "spinn", "--timeout", "30s")).toMatchObject({ code: 0, stderr: "" });
		const { code, stderr } = run("power-off", "--until", "login:");
		expect({ code, stderr }).toEqual({ code: 1, stderr: 'basenji: the guest ended (power-off) before it printed "login:"\n' });
	});

	test("with a reset, where --no-reboot says so; else the guest starts over", () => {
		expect(run("reset", "--no-reboot")).toEqual({ code: 0, stdout: "again\n", stderr: "" });
		const { code, stdout, stderr } = run("reset", "--timeout", "2s");
		expect(code).toBe(124);
		expect(stdout.startsWith("again\nagain\nagain\n")).toBe(true);
		expect(stderr).toMatch(/^basenji: the guest asked for a reset; it starts over\n/);
	});

	test("with 1 at a triple fault, where --no-reboot says so; else the guest starts over", () => {
		expect(run("triple-fault", "--no-reboot")).toEqual({ code: 1, stdout: "oops\n", stderr: "basenji: the guest triple-faulted\n" });
		const { code, stdout, stderr } = run("triple-fault", "--timeout", "2s");
		expect(code).toBe(124);
		expect(stdout.startsWith("oops\noops\noops\n")).toBe(true);
		expect(stderr).toMatch(/^basenji: the guest triple-faulted; it starts over\n/);
		// A guest that does nothing else must not fill whatever standard error goes to.
		expect(stderr.split("\n").length).toBeLessThan(20);
	});

	test("with figures in the file that --stats names", () => {
		const file = join(directory, "stats.json");
		expect(run("power-off", "--stats", file).code).toBe(0);
		const stats = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
		expect(stats).toMatchObject({ engine: "translate", cpus: 1, exit: { reason: "power-off", code: 0 } });
		for (const key of ["wallSeconds", "guestInstructions", "translatedRegions", "peakMemoryBytes"]) expect(stats[key]).toBeTypeOf("number");
		expect(stats.exits).toBeTypeOf("object");
	});
});

describe("what cannot be booted is one line and code 125", () => {
	test.each([
		["a kernel that is missing", () => ["--kernel", "/nonexistent/vmlinuz"], /^basenji: kernel: \/nonexistent\/vmlinuz: no such file\n$/],
		["a kernel that is a directory", () => ["--kernel", directory], /^basenji: kernel: .* is a directory\n$/],
		["a kernel that is cut short", () => ["--kernel", cut("power-off", 0x300)], /^basenji: [^\n]*truncated[^\n]*\n$/],
		["a kernel of nothing", () => ["--kernel", cut("power-off", 0)], /^basenji: [^\n]*kernel[^\n]*\n$/],
		["a kernel that is none", () => ["--kernel", main], /^basenji: [^\n]*kernel[^\n]*\n$/],
		["an initrd that is missing", () => [...kernel(), "--initrd", "/nonexistent/i"], /^basenji: initrd: \/nonexistent\/i: no such file\n$/],
		["a disk that is missing", () => [...kernel(), "--disk", "/nonexistent/d"], /^basenji: \/nonexistent\/d[^\n]*\n$/],
		["a disk that is a directory", () => [...kernel(), "--disk", folder()], /^basenji: [^\n]*directory[^\n]*\n$/],
		["memory below the minimum", () => [...kernel(), "--memory", "8M"], /^basenji: memory: 8M is below the minimum of 16M\n$/],
		["memory above the maximum", () => [...kernel(), "--memory", "64G"], /^basenji: memory: 64G is above the maximum of [^\n]*\n$/],
		["memory that is no size", () => [...kernel(), "--memory", "lots"], /^basenji: memory: a size such as 512M is wanted[^\n]*\n$/],
		["no CPUs", () => [...kernel(), "--cpus", "0"], /^basenji: cpus: a whole number from 1 to 32[^\n]*\n$/],
		["an unknown option", () => [...kernel(), "--colour", "red"], /^basenji: unknown option '--colour'[^\n]*\n$/],
		["a time that is none", () => [...kernel(), "--timeout", "soon"], /^basenji: [^\n]*--timeout[^\n]*\n$/],
		["statistics into nowhere", () => [...kernel(), "--stats", "/nonexistent/s"], /^basenji: [^\n]*\/nonexistent\/s[^\n]*\n$/],
	] as const)("%s", (_what, args, message) => {
		const { status, stdout, stderr } = spawnSync(process.execPath, [main, "run", ...args()], { encoding: "utf8", timeout: 60_000 });
		expect(stderr).toMatch(message);
		expect({ status, stdout }).toEqual({ status: 125, stdout: "" });
	});
});

const kernel = (): string[] => ["--kernel", join(directory, "power-off")];

function cut(name: string, lengthBytes: number): string {
	const path = join(directory, `cut-${lengthBytes}`);
	writeFileSync(path, readFileSync(join(directory, name)).subarray(0, lengthBytes));
	return path;
}

function folder(): string {
	const path = join(directory, "folder");
	mkdirSync(path, { recursive: true });
	return path;
}
