import { describe, expect, it } from "vitest";
import { ENGINE_BYTES, GuestMemory } from "./memory.ts";
import { PAGE_FLAG, RamPages } from "./ram-pages.ts";

const KIB = 1024;

describe("RamPages", () => {
	it("seals what was written, and only that", () => {
		const pages = new RamPages(0, new Uint8Array(16));
		pages.willWrite(3);
		pages.willWrite(9);
		pages.willRead(5);
		expect([...pages.seal()]).toEqual([3, 9]);
		expect([...pages.seal()]).toEqual([]);
		pages.willWrite(9);
		expect([...pages.seal()]).toEqual([9]);
	});

	it("has the contents of a sealed page kept before it changes, once", () => {
		const pages = new RamPages(0, new Uint8Array(16));
		const kept: number[] = [];
		pages.onHeld = (page) => kept.push(page);
		pages.willWrite(1);
		pages.willWrite(2);
		pages.seal();
		pages.willWrite(1);
		pages.willWrite(1);
		pages.release(2);
		pages.willWrite(2);
		expect(kept).toEqual([1]);
	});

	it("brings an absent page in when it is read or written", () => {
		const pages = new RamPages(0, new Uint8Array(16));
		const brought: number[] = [];
		pages.onAbsent = (page) => brought.push(page);
		for (const page of [1, 2, 3]) pages.markAbsent(page);
		pages.willRead(1);
		pages.willRead(1);
		pages.willWrite(2);
		expect(brought).toEqual([1, 2]);
		expect(pages.isDirty(1)).toBe(false);
		expect(pages.isDirty(2)).toBe(true);
		expect(pages.flags[3]).toBe(PAGE_FLAG.absent);
	});
});

describe("GuestMemory", () => {
	it("marks every page that a device writes, and brings in every page that one reads", () => {
		const memory = new GuestMemory(4 * 1024 * KIB);
		const brought: number[] = [];
		memory.pages.onAbsent = (page) => {
			brought.push(page);
			memory.bytes.fill(page, memory.pages.offsetOf(page), memory.pages.offsetOf(page + 1));
		};
		memory.write(0x2ff0, new Uint8Array(0x2000));
		memory.writePhys(0x10_0000, 4, 1);
		// Nobody's: lost.
		memory.writePhys(0xb_8000, 4, 1);
		expect([...memory.pages.seal()]).toEqual([2, 3, 4, 0x100]);
		memory.pages.markAbsent(7);
		memory.pages.markAbsent(8);
		memory.pages.markAbsent(9);
		const bytes = new Uint8Array(2);
		memory.read(0x7fff, bytes);
		expect([...bytes]).toEqual([7, 8]);
		expect(memory.readPhys(0x9000, 1)).toBe(9);
		expect(memory.pageAt(0x9000)).toEqual({ kind: "ram", hostOffset: ENGINE_BYTES + 0x9000 });
		expect(brought).toEqual([7, 8, 9]);
	});
});
