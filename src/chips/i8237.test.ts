import { beforeEach, describe, expect, it } from "vitest";
import type { DmaPort } from "../machine/memory.ts";
import { I8237 } from "./i8237.ts";

const memory = new Uint8Array(0x40000);
const port: DmaPort = {
	read: (from, into) => into.set(memory.subarray(from, from + into.length)),
	write: (to, from) => memory.set(from, to),
};
let dma: I8237;
const write = (offset: number, ...values: number[]) => {
	for (const value of values) dma.registers.write(offset, 1, value);
};

function program(n: number, page: number, address: number, count: number, mode: number): void {
	write(12, 0);
	write(2 * n, address & 0xff, address >> 8);
	write(2 * n + 1, count & 0xff, count >> 8);
	write(11, mode | n);
	dma.page(n).write(0, 1, page);
	write(10, n);
}

beforeEach(() => {
	memory.fill(0);
	dma = new I8237({ name: "dma1", memory: port, unitBytes: 1 });
});

describe("8237A", () => {
	it("moves a peripheral's bytes to memory until terminal count", () => {
		program(2, 0x01, 0x1000, 511, 0x44);
		expect(dma.writeMemory(2, new Uint8Array(300).fill(0xaa))).toBe(300);
		expect(dma.registers.read(8, 1)).toBe(0);
		expect(dma.writeMemory(2, new Uint8Array(300).fill(0xbb))).toBe(212);
		expect([memory[0x11000], memory[0x1112b], memory[0x1112c], memory[0x111ff], memory[0x11200]]).toEqual([0xaa, 0xaa, 0xbb, 0xbb, 0]);
		expect(dma.registers.read(8, 1)).toBe(0x04);
		expect(dma.registers.read(8, 1)).toBe(0x00);
		expect(dma.isReady(2)).toBe(false);
		expect(dma.writeMemory(2, new Uint8Array(1))).toBe(0);
	});

	it("fetches, wraps within its page, and starts over with autoinitialise", () => {
		for (let i = 0; i < 16; i++) memory[0x1fff8 + i] = i + 1;
		memory[0x10000] = 0x99;
		program(1, 0x01, 0xfff8, 8, 0x58);
		const into = new Uint8Array(9);
		expect(dma.readMemory(1, into)).toBe(9);
		expect([...into]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0x99]);
		expect(dma.isReady(1)).toBe(true);
		write(12, 0);
		expect(dma.registers.read(2, 1) | (dma.registers.read(2, 1) << 8)).toBe(0xfff8);
		expect(dma.writeMemory(1, into)).toBe(0);
	});

	it("counts words and downwards", () => {
		dma = new I8237({ name: "dma2", memory: port, unitBytes: 2 });
		program(1, 0x03, 0x0001, 1, 0x64);
		expect(dma.writeMemory(1, Uint8Array.of(1, 2, 3, 4, 5, 6))).toBe(4);
		expect([...memory.subarray(0x20000, 0x20004)]).toEqual([3, 4, 1, 2]);
	});

	it("round-trips its state", () => {
		program(3, 0x02, 0x1234, 99, 0x48);
		dma.dreq(0).set(true);
		const state = structuredClone(dma.save());
		const other = new I8237({ name: "dma1", memory: port, unitBytes: 1 });
		other.load(state);
		expect(other.save()).toEqual(state);
		expect(other.registers.read(8, 1)).toBe(0x10);
		write(13, 0);
		expect(dma.registers.read(15, 1)).toBe(0xff);
	});
});
