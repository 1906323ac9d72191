import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createMachine } from "../../src/host/node/machine.ts";
import type { MachineExit } from "../../src/vm/machine-face.ts";
import { bootFiles, imageOrReason, qemu, runQemu } from "./images.ts";

const IMAGES = ["default", "cloud", "default-i386", "686-pae"];
const COMPLAINTS = /BUG:|Oops|Call Trace|nobody cared|unstable/;

let directory = "";
let disk = "";

beforeAll(async () => {
	directory = await mkdtemp(join(tmpdir(), "basenji-guest-"));
	disk = join(directory, "scratch.raw");
	const bytes = Buffer.alloc(16 * 1024 * 1024);
	bytes.write("basenji scratch disk\n");
	await writeFile(disk, bytes);
});

afterAll(() => rm(directory, { recursive: true, force: true }));

describe.each(IMAGES)("image %s", (name) => {
	test.skipIf(qemu === undefined)("passes its self-check on QEMU, disk included", async ({ skip }) => {
		const image = await imageOrReason(name);
		if (typeof image === "string") return skip(image);
		const { output, code } = await runQemu(bootFiles(image, "panic=-1 basenji.check"), ["-drive", `file=${disk},format=raw,if=virtio`]);
		expect(output).toContain("basenji-check: PASS");
		expect(output).toMatch(/check: PASS disk .* written and read back/);
		expect(code).toBe(0);
	});

	test("passes its self-check on Basenji, with no complaint from the kernel", async ({ skip }) => {
		const image = await imageOrReason(name);
		if (typeof image === "string") return skip(image);
		const { output, exit } = await runBasenji({ ...bootFiles(image, "panic=-1 basenji.check"), disks: [{ path: disk }] });
		expect(output).toContain("basenji-check: PASS");
		expect(output).toMatch(/check: PASS disk .* written and read back/);
		expect(output).not.toMatch(COMPLAINTS);
		expect(exit).toMatchObject({ reason: "power-off", code: 0 });
	});
});

async function runBasenji(options: Parameters<typeof createMachine>[0]): Promise<{ output: string; exit: MachineExit }> {
	await using machine = await createMachine({ memory: "256M", debugExit: true, onReset: "stop", ...options });
	await machine.start();
	const exit = await machine.finished();
	return { output: machine.console.text, exit };
}
