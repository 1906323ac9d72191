import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { DiskError } from "../disk/disk.ts";
import { MachineError } from "../vm/error.ts";
import { describeFailure, UsageError } from "./failure.ts";
import { parseDisk, parseSerial, parseTimeout } from "./run-options.ts";

const main = fileURLToPath(new URL("basenji.js", import.meta.url));

function basenji(args: readonly string[], env: Record<string, string> = {}): { code: number | null; stdout: string; stderr: string } {
	const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env: { ...process.env, ...env } });
	return { code: status, stdout, stderr };
}

describe("option values", () => {
	test("--disk takes a file and keys; a comma in the name is written twice", () => {
		expect(parseDisk("a.raw")).toEqual({ path: "a.raw" });
		expect(parseDisk("a,,b.img,format=raw,mode=nonpersistent,bus=virtio")).toEqual({
			path: "a,b.img",
			format: "raw",
			mode: "nonpersistent",
			bus: "virtio",
		});
		expect(() => parseDisk("a,colour=red")).toThrow(/unknown key "colour"/);
		expect(() => parseDisk("a,mode=no")).toThrow(/mode is one of persistent/);
		expect(() => parseDisk(",format=raw")).toThrow(/a file is wanted/);
		expect(() => parseDisk("a,bus=ide")).toThrow(UsageError);
	});

	test("--serial", () => {
		expect(["stdio", "none", "file=x=y", "tcp=:4000"].map(parseSerial)).toEqual([
			{ kind: "stdio" },
			{ kind: "none" },
			{ kind: "file", path: "x=y" },
			{ kind: "tcp", port: 4000 },
		]);
		for (const bad of ["tcp=4000", "tcp=:99999", "file=", "pty", ""]) expect(() => parseSerial(bad)).toThrow(/one of stdio/);
	});

	test("--timeout", () => {
		expect(parseTimeout("1.5m")).toBe(90e9);
		expect(() => parseTimeout("soon")).toThrow(/a time such as 60s/);
		expect(() => parseTimeout("0")).toThrow();
	});
});

describe("mistakes end with one line and code 125", () => {
	test.each([
		[["run", "--bogus"], "unknown option '--bogus'"],
		[["frobnicate"], "unknown command 'frobnicate'"],
		[["run", "--engine", "magic"], "argument 'magic' is invalid"],
		[["run", "--disk", "x,end=commit"], "end=commit is for mode=undoable"],
		[["run", "--bios", main, "--disk", "/nonexistent/x.vmdk"], "/nonexistent/x.vmdk: no such file"],
		[["run", "--net", "sw1"], "only a lab has switches"],
		[["run", "--net", "nat,model=rtl"], "model is one of virtio, e1000, ne2k-pci"],
		[["run", "--net", "nat", "--allow", "all"], "allow"],
		[["run", "--net", "nat", "--forward", "80"], "[tcp:|udp:][ADDRESS:]PORT:GUESTPORT"],
		[["run", "--forward", "8080:80"], "--forward needs --net nat"],
		[["run", "--display", "vnc=:1"], "displays are not there yet"],
		[["run", "--floppy", "x"], "floppy drives are not there yet"],
		[["image", "build", "nonesuch"], 'no image is called "nonesuch"'],
		[["image", "build", "default", "--include", "vim"], "image default has no disk"],
	])("%j", (args, message) => {
		const { code, stdout, stderr } = basenji(args);
		expect(stderr).toContain(message);
		expect(stderr).toMatch(/^basenji: [^\n]*\n$/);
		expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
	});

	test("an environment variable stands for a flag", () => {
		expect(basenji(["run"], { BASENJI_ENGINE: "magic" }).stderr).toMatch(/BASENJI_ENGINE/);
	});

	test("errors that we know are one line; others show where they come from", () => {
		expect(describeFailure(new MachineError("config", "memory: 8M is\nbelow"), {})).toBe("basenji: memory: 8M is below");
		expect(describeFailure(new DiskError("not-found", "x.img", "no such file"), {})).toBe("basenji: x.img: no such file");
		expect(describeFailure(new TypeError("oops"), {})).toMatch(/^basenji: internal error: oops\n.*cli\.test/s);
	});
});

describe("doctor and image ls", () => {
	test("print JSON that a script can read", () => {
		const report = JSON.parse(basenji(["doctor", "--json"]).stdout) as { findings: { name: string; verdict: string }[] };
		expect(report.findings.find(({ name }) => name === "WebAssembly SIMD")?.verdict).toBe("ok");
		const images = JSON.parse(basenji(["image", "ls", "--json"], { XDG_DATA_HOME: "/nonexistent" }).stdout) as {
			name: string;
			isBuilt: boolean;
		}[];
		expect(images.map(({ name }) => name)).toContain("debian-full");
		expect(images.every(({ isBuilt }) => !isBuilt)).toBe(true);
	});

	test("help goes to standard output with code 0", () => {
		const { code, stdout } = basenji(["run", "--help"]);
		expect(code).toBe(0);
		for (const flag of ["--kernel", "--disk", "--until", "--stats", "--serial"]) expect(stdout).toContain(flag);
	});
});
