import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { findTool } from "../command.ts";
import { CpioWriter } from "./cpio.ts";

test("a header holds magic, thirteen 8-digit fields and the padded name", () => {
	const archive = new CpioWriter().file("a", "xyz", 0o600).toBytes();
	const text = Buffer.from(archive).toString("latin1");
	expect(text.slice(0, 6)).toBe("070701");
	expect(text.slice(14, 22)).toBe("00008180");
	expect(text.slice(54, 62)).toBe("00000003");
	expect(text.slice(94, 102)).toBe("00000002");
	expect(text.slice(110, 112)).toBe("a\0");
	expect(text.slice(112, 115)).toBe("xyz");
	expect(archive.length % 4).toBe(0);
	expect(text).toContain("TRAILER!!!\0");
});

test("parents appear before their children, once", () => {
	const text = Buffer.from(new CpioWriter().file("a/b/c", "1").file("a/b/d", "2").toBytes()).toString("latin1");
	expect(text.split("a/b\0").length).toBe(2);
	expect(text.indexOf("a\0")).toBeLessThan(text.indexOf("a/b\0"));
});

test("paths that leave the archive are refused", () => {
	expect(() => new CpioWriter().file("../x", "")).toThrow(RangeError);
	expect(() => new CpioWriter().file("/x", "")).toThrow(RangeError);
});

test.skipIf(findTool("cpio") === undefined)("cpio(1) lists what was written", () => {
	const archive = new CpioWriter().file("bin/tool", "#!", 0o755).symlink("sh", "bin/tool").directory("proc").toBytes();
	const listing = execFileSync("cpio", ["-itv", "--quiet"], { input: archive, encoding: "utf8" });
	expect(listing).toMatch(/^-rwxr-xr-x.*bin\/tool$/m);
	expect(listing).toMatch(/^lrwxrwxrwx.*sh -> bin\/tool$/m);
	expect(listing).toMatch(/^drwxr-xr-x.*proc$/m);
});
