import { expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import { SteppedClock } from "../../machine/clock.ts";
import { GuestMemory } from "../../machine/memory.ts";
import { announceGeneration, bootFirmware } from "../boot.ts";
import { Pc } from "../pc.ts";

function build() {
	const image = new Uint8Array(128 * 1024).fill(0xea);
	const memory = new GuestMemory(8 * MIB);
	const pc = new Pc({
		memory,
		clock: new SteppedClock(),
		cpuCount: 2,
		wallTimeMs: 0,
		events: { onPowerOff: () => {}, onReset: () => {}, onDebugExit: () => {} },
		firmware: image,
	});
	return { pc, memory };
}

function readItem(pc: Pc, key: number, count: number): Uint8Array {
	pc.io.write(0x510, 2, key);
	return Uint8Array.from({ length: count }, () => pc.io.read(0x511, 1));
}

function directory(pc: Pc): Map<string, { key: number; sizeBytes: number }> {
	const count = new DataView(readItem(pc, 0x19, 4).buffer).getUint32(0);
	const bytes = readItem(pc, 0x19, 4 + 64 * count).subarray(4);
	const files = new Map<string, { key: number; sizeBytes: number }>();
	for (let i = 0; i < count; i++) {
		const view = new DataView(bytes.buffer, bytes.byteOffset + 64 * i, 64);
		const path = String.fromCharCode(...bytes.subarray(64 * i + 8, 64 * i + 64)).replace(/\0+$/, "");
		files.set(path, { key: view.getUint16(4), sizeBytes: view.getUint32(0) });
	}
	return files;
}

test("the processor starts at F000:FFF0, in the ROM below 4 GiB that also shows below 1 MiB", () => {
	const { pc, memory } = build();
	const cpu = bootFirmware(pc);
	expect(cpu.segments.cs.base + cpu.rip).toBe(0xffff_fff0n);
	expect(memory.readPhys(0xffff_fff0, 1)).toBe(0xea);
	expect(memory.readPhys(0xf_fff0, 1)).toBe(0xea);
	expect(memory.pageAt(0xe_0000).kind).toBe("rom");
	expect(memory.pageAt(0xd_0000).kind).toBe("none");
});

test("fw_cfg: signature, processor count and the directory of files", () => {
	const { pc } = build();
	expect(String.fromCharCode(...readItem(pc, 0, 4))).toBe("QEMU");
	expect([...readItem(pc, 5, 2)]).toEqual([2, 0]);
	const files = directory(pc);
	expect([...files.keys()]).toEqual([
		"etc/e820",
		"etc/smbios/smbios-tables",
		"etc/smbios/smbios-anchor",
		"etc/acpi/tables",
		"etc/acpi/rsdp",
		"etc/vmgenid_addr",
		"etc/table-loader",
	]);
	const e820 = readItem(pc, files.get("etc/e820")!.key, 21);
	expect(new DataView(e820.buffer).getUint32(8, true)).toBe(8 * MIB);
	expect(e820[20]).toBe(0);
});

test("fw_cfg DMA selects, reads, skips, and writes where that is meant to be", () => {
	const { pc, memory } = build();
	const command = (control: number, length: number, address: number) => {
		const bytes = new Uint8Array(16);
		const view = new DataView(bytes.buffer);
		view.setUint32(0, control);
		view.setUint32(4, length);
		view.setUint32(12, address);
		memory.write(0x5000, bytes);
		pc.io.write(0x514, 4, 0);
		pc.io.write(0x518, 4, 0x0050_0000);
		return memory.readPhys(0x5000, 4);
	};
	expect(pc.io.read(0x514, 4)).toBe(0x554d_4551);
	expect(command(0x0000_000a, 4, 0x6000)).toBe(0);
	expect(memory.readPhys(0x6000, 4)).toBe(0x554d_4551);
	expect(command(0x0000_000c, 2, 0)).toBe(0);
	expect(command(0x0000_0002, 2, 0x6000)).toBe(0);
	expect(memory.readPhys(0x6000, 2)).toBe(0x554d);
	expect(command(0x0000_0010, 4, 0x6000)).toBe(0x0100_0000);
	// But for the file that tells where the generation id lies.
	memory.write(0x6000, Uint8Array.of(0, 0x10, 0x20, 0, 0, 0, 0, 0));
	const { key } = directory(pc).get("etc/vmgenid_addr") ?? { key: 0 };
	expect(command(key * 0x10000 + 0x18, 16, 0x6000)).toBe(0x0100_0000);
	announceGeneration(pc, new Uint8Array(16).fill(0x77));
	expect(command(key * 0x10000 + 0x18, 8, 0x6000)).toBe(0);
	const saved = pc.save();
	pc.reset();
	announceGeneration(pc, new Uint8Array(16).fill(0x66));
	expect(memory.readPhys(0x20_1000, 4)).toBe(0);
	pc.load(structuredClone(saved) as typeof saved);
	announceGeneration(pc, new Uint8Array(16).fill(0x55));
	expect(memory.readPhys(0x20_1000, 4)).toBe(0x5555_5555);
});

test("the table loader's script leads to valid tables", () => {
	const { pc } = build();
	const files = directory(pc);
	const read = (path: string) => readItem(pc, files.get(path)!.key, files.get(path)!.sizeBytes);
	const memory = new Map<string, { bytes: Uint8Array; address: number }>();
	const script = read("etc/table-loader");
	let nextAddress = 0x70_0000;
	for (let at = 0; at < script.length; at += 128) {
		const view = new DataView(script.buffer, at, 128);
		const text = (offset: number) => String.fromCharCode(...script.subarray(at + offset, at + offset + 56)).replace(/\0+$/, "");
		const kind = view.getUint32(0, true);
		if (kind === 1) {
			memory.set(text(4), { bytes: read(text(4)), address: nextAddress });
			nextAddress += 0x10000;
		} else if (kind === 2) {
			const target = new DataView(memory.get(text(4))!.bytes.buffer);
			const offset = view.getUint32(116, true);
			const value = target.getUint32(offset, true) + memory.get(text(60))!.address;
			target.setUint32(offset, value, true);
		} else if (kind === 3) {
			const { bytes } = memory.get(text(4))!;
			const [checksumAt, start, length] = [60, 64, 68].map((offset) => view.getUint32(offset, true)) as [number, number, number];
			bytes[checksumAt] = 0;
			bytes[checksumAt] = -bytes.subarray(start, start + length).reduce((sum, byte) => sum + byte, 0) & 0xff;
		}
	}
	const rsdp = memory.get("etc/acpi/rsdp")!.bytes;
	const tables = memory.get("etc/acpi/tables")!;
	expect(rsdp.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
	const xsdt = new DataView(rsdp.buffer).getUint32(24, true) - tables.address;
	expect(String.fromCharCode(...tables.bytes.subarray(xsdt, xsdt + 4))).toBe("XSDT");
	const fadt = new DataView(tables.bytes.buffer).getUint32(xsdt + 36, true) - tables.address;
	expect(String.fromCharCode(...tables.bytes.subarray(fadt, fadt + 4))).toBe("FACP");
	expect(tables.bytes.subarray(fadt, fadt + 244).reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
});
