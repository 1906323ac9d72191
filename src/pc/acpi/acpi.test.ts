import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { pirqOf } from "../pci/irq-router.ts";
import * as aml from "./aml.ts";
import type { AcpiBoard } from "./board.ts";
import { buildAcpi, placeAcpi } from "./tables.ts";

const BOARD: AcpiBoard = {
	apicIds: [0, 1, 2, 3],
	ioapic: { id: 0, address: 0xfec0_0000 },
	lapicAddress: 0xfee0_0000,
	hpetAddress: 0xfed0_0000,
	hpetId: 0x8086_a201,
	pm: {
		eventPort: 0x600,
		controlPort: 0x604,
		timerPort: 0x608,
		isTimer32Bit: false,
		gpe0Port: 0x620,
		gpe0Bytes: 4,
		s5Type: 5,
		firstPort: 0x600,
		portCount: 0x40,
	},
	smi: { port: 0xb2, enable: 0xf1, disable: 0xf0 },
	sciIrq: 9,
	reset: { port: 0xcf9, value: 6 },
	pciMemory: { first: 0xc000_0000, last: 0xfebf_ffff },
	pirqOf,
	firstPirqGsi: 16,
	isaBridgeSlot: 1,
	serialPorts: [
		{ port: 0x3f8, irq: 4 },
		{ port: 0x2f8, irq: 3 },
	],
	hasKeyboardController: true,
	hasVga: false,
	generationGpe: 5,
	replug: { gpe: 6, port: 0x630, slots: [2, 3] },
};

function sum(bytes: Uint8Array): number {
	return bytes.reduce((total, byte) => total + byte, 0) & 0xff;
}

describe("AML encoding", () => {
	test("ACPI 6.5 §20.2.4: package lengths of one to four bytes count themselves", () => {
		const content = (bytes: number) => aml.buffer(new Uint8Array(bytes));
		expect([...content(1)]).toEqual([0x11, 3, 0x01, 0]);
		const medium = content(100);
		expect(((medium[2] as number) << 4) | ((medium[1] as number) & 15)).toBe(medium.length - 1);
		const large = content(70_000);
		expect(((large[3] as number) << 12) | ((large[2] as number) << 4) | ((large[1] as number) & 15)).toBe(large.length - 1);
	});

	test("names take root, parent and multi-segment prefixes", () => {
		expect(String.fromCharCode(...aml.nameString("\\_SB.PCI0"))).toBe("\\._SB_PCI0");
		expect([...aml.nameString("\\_SB.PCI0.ISA")].slice(0, 3)).toEqual([0x5c, 0x2f, 3]);
		expect(String.fromCharCode(...aml.nameString("^FOO"))).toBe("^FOO_");
		expect(() => aml.nameString("lower")).toThrow();
	});

	test("EISA ids are compressed big-endian", () => {
		expect([...aml.eisaId("PNP0A03")]).toEqual([0x0c, 0x41, 0xd0, 0x0a, 0x03]);
	});

	test("integers take their shortest form", () => {
		expect([...aml.integer(0)]).toEqual([0]);
		expect([...aml.integer(0x1234)]).toEqual([0x0b, 0x34, 0x12]);
		expect(aml.integer(2n ** 40n)).toHaveLength(9);
	});
});

describe("ACPI tables", () => {
	const block = buildAcpi(BOARD);
	const placed = placeAcpi(block, 0xe0000);

	test("every checksum is zero and every pointer leads to a table", () => {
		for (const { at, sizeBytes } of block.tables) expect(sum(placed.bytes.subarray(at, at + sizeBytes))).toBe(0);
		expect(sum(placed.rsdp.subarray(0, 20))).toBe(0);
		expect(sum(placed.rsdp)).toBe(0);
		const view = new DataView(placed.bytes.buffer);
		const xsdt = new DataView(placed.rsdp.buffer).getUint32(24, true) - 0xe0000;
		const signatures = [36, 44, 52].map((at) => {
			const target = view.getUint32(xsdt + at, true) - 0xe0000;
			return String.fromCharCode(...placed.bytes.subarray(target, target + 4));
		});
		expect(signatures).toEqual(["FACP", "APIC", "HPET"]);
	});

	const hasIasl = spawnSync("iasl", ["-v"]).status === 0;
	const skipped = hasIasl ? "" : " (skipped: iasl of acpica-tools is not installed)";

	function inScratch<T>(use: (folder: string) => T): T {
		const folder = mkdtempSync(join(tmpdir(), "acpi-"));
		try {
			return use(folder);
		} finally {
			rmSync(folder, { recursive: true });
		}
	}

	function writeTables(folder: string): string[] {
		return block.tables.map(({ signature, at, sizeBytes }) => {
			const path = join(folder, `${signature.toLowerCase()}.aml`);
			writeFileSync(path, placed.bytes.subarray(at, at + sizeBytes));
			return path;
		});
	}

	test.skipIf(!hasIasl)(`iasl disassembles every table and compiles the DSDT again without a word${skipped}`, () => {
		inScratch((folder) => {
			for (const path of writeTables(folder)) {
				const disassembly = spawnSync("iasl", ["-d", path], { cwd: folder, encoding: "utf8" });
				expect(disassembly.stdout + disassembly.stderr).toMatch(/ASL Output|decoded/);
				expect(readFileSync(path.replace(/aml$/, "dsl"), "utf8")).not.toMatch(/Incorrect checksum|\*\*\*\*|Invalid|Unknown/);
			}
			const compiled = spawnSync("iasl", ["-p", "again", "dsdt.dsl"], { cwd: folder, encoding: "utf8" });
			expect(compiled.stdout + compiled.stderr).toMatch(/Compilation successful. 0 Errors, 0 Warnings/);
		});
	});

	const hasAcpiexec = spawnSync("acpiexec", ["-v"]).status === 0;

	test.skipIf(!hasAcpiexec)("acpiexec runs the methods", () => {
		inScratch((folder) => {
			writeTables(folder);
			const run = (commands: string) => spawnSync("acpiexec", ["-b", commands, "dsdt.aml"], { cwd: folder, encoding: "utf8" }).stdout;
			const paths = ["LNKA._PRS", "LNKA._CRS", "LNKD._STA", "LNKB._DIS", "VGEN.ADDR", "C001._UID"];
			const output = run(paths.map((path) => `evaluate \\_SB.${path}`).join(";"));
			expect(output.match(/returned object/g)).toHaveLength(paths.length - 1);
			expect(output).not.toMatch(/AE_[A-Z_]+|failed/);
			expect(output).toMatch(/Integer.*E0040/i);
		});
	});
});
