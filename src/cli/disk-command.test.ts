import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const main = fileURLToPath(new URL("basenji.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "basenji-disk-"));
afterAll(() => rmSync(folder, { recursive: true }));

function disk(...args: readonly string[]): { code: number | null; stdout: string; stderr: string } {
	const { status, stdout, stderr } = spawnSync(process.execPath, [main, "disk", ...args], { encoding: "utf8", cwd: folder });
	return { code: status, stdout, stderr };
}

describe("basenji disk", () => {
	test("makes, overlays, describes, converts, grows, checks, commits", () => {
		expect(disk("create", "base.qcow2", "8M", "--cluster-size", "4K").stdout).toBe("base.qcow2: qcow2, 8M\n");
		const made = JSON.parse(disk("create", "top.qcow2", "--backing", "base.qcow2", "--json").stdout);
		expect(made).toMatchObject({ file: "top.qcow2", format: "qcow2", sizeBytes: 8 * 1024 ** 2, qcow2: { version: 3 } });
		expect(made.layers.map(({ place }: { place: string }) => place.slice(folder.length + 1))).toEqual(["top.qcow2", "base.qcow2"]);
		expect(disk("info", "top.qcow2").stdout).toMatch(/stands on {2}.*base\.qcow2 \(qcow2, 8M\)/);
		expect(disk("commit", "top.qcow2")).toMatchObject({ code: 0, stdout: expect.stringContaining("committed into") });
		expect(disk("convert", "top.qcow2", "flat.vmdk", "--vmdk-type", "monolithicFlat").stdout).toBe("flat.vmdk: vmdk\n");
		expect(disk("resize", "base.qcow2", "+1G").stdout).toBe("base.qcow2: 1032M\n");
		expect(disk("check", "base.qcow2", "--json")).toMatchObject({ code: 0, stdout: expect.stringContaining('"errorCount": 0') });
		expect(disk("compact", "base.qcow2")).toMatchObject({ code: 0 });
	});

	test("check's exit code tells leaks from errors, and repair mends", () => {
		disk("create", "leaky.qcow2", "1M");
		const path = join(folder, "leaky.qcow2");
		const bytes = readFileSync(path);
		const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
		bytes.writeUInt16BE(2, block);
		writeFileSync(path, bytes);
		expect(disk("check", "leaky.qcow2")).toMatchObject({ code: 3, stdout: expect.stringMatching(/leak at offset 0.*\n.*1 leaks/) });
		expect(disk("check", "leaky.qcow2", "--repair")).toMatchObject({ code: 0, stdout: expect.stringContaining("after the repair: clean") });
	});

	test.each([
		[["create", "x.raw"], "a size is wanted"],
		[["create", "x.raw", "1000"], "whole sectors of 512"],
		[["create", "x.vhd", "1M"], "vhd is only read"],
		[["create", "x.raw", "1M", "--cluster-size", "4K"], "are for qcow2, not for raw"],
		[["create", "x.qcow2", "1M", "--cluster-size", "5000"], "a power of two from 512 to 2M"],
		[["info", "nowhere.qcow2"], "nowhere.qcow2: no such file"],
		[["check", main], "checking is for qcow2"],
		[["commit", main], "has no changes"],
		[["resize", main, "1"], "--shrink allows it"],
	])("%j is one clear line and 125", (args, message) => {
		const { code, stdout, stderr } = disk(...args);
		expect(stderr).toContain(message);
		expect(stderr).toMatch(/^basenji: [^\n]*\n$/);
		expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
	});
});
