import { expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import { smbiosEntryPoint, smbiosTable } from "./smbios.ts";

const BOARD = {
	cpuCount: 2,
	ram: [
		{ first: 0, sizeBytes: 0xa0000 },
		{ first: MIB, sizeBytes: 255 * MIB },
	],
	ramBytes: 256 * MIB,
	uuid: Uint8Array.from({ length: 16 }, (_, i) => i),
};

/** Walks the structures as an operating system does. */
function structures(table: Uint8Array): { type: number; handle: number; at: number; lengthBytes: number }[] {
	const found = [];
	let at = 0;
	while (at < table.length) {
		const lengthBytes = table[at + 1] as number;
		found.push({ type: table[at] as number, handle: (table[at + 2] as number) | ((table[at + 3] as number) << 8), at, lengthBytes });
		at += lengthBytes;
		while (table[at] !== 0 || table[at + 1] !== 0) at++;
		at += 2;
	}
	expect(at).toBe(table.length);
	return found;
}

test("DSP0134 §6.2: required structures are there, with distinct handles and the lengths of their versions", () => {
	const all = structures(smbiosTable(BOARD));
	expect(all.map(({ type }) => type)).toEqual([0, 1, 3, 4, 4, 16, 17, 19, 19, 32, 127]);
	expect(new Set(all.map(({ handle }) => handle)).size).toBe(all.length);
	expect(all.map(({ lengthBytes }) => lengthBytes)).toEqual([0x1a, 0x1b, 0x16, 0x30, 0x30, 0x0f, 0x28, 0x1f, 0x1f, 0x0b, 4]);
});

test("DSP0134 §5.2.2: the entry point sums to zero and gives the table's place", () => {
	const entry = smbiosEntryPoint(0xf1000, 345);
	expect(entry).toHaveLength(24);
	expect(entry.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
	expect(new DataView(entry.buffer).getBigUint64(16, true)).toBe(0xf1000n);
});
