import { describe, expect, it } from "vitest";
import { CardBench } from "../../../tests/suites/card-bench.ts";
import { writeMac } from "../../net/frames/address.ts";
import { Ne2000Pci } from "./device.ts";

const MAC = 0x5254_0012_3456;
const DATA = 0x10;

function start() {
	const bench = new CardBench((port) => new Ne2000Pci(port, { name: "ne2k", mac: MAC }));
	const set = (at: number, value: number) => bench.write(at, value, 1);
	set(0, 0x21);
	for (const [at, value] of [
		[1, 0x46],
		[2, 0x80],
		[3, 0x46],
		[12, 0x04],
		[13, 0],
		[14, 0x49],
		[7, 0xff],
		[15, 0x3f],
	] as const)
		set(at, value);
	set(0, 0x61);
	[0x52, 0x54, 0, 0x12, 0x34, 0x56].forEach((byte, index) => {
		set(1 + index, byte);
	});
	set(7, 0x47);
	set(0, 0x22);
	const remote = (address: number, count: number, command: number) => {
		set(8, address & 0xff);
		set(9, address >> 8);
		set(10, count & 0xff);
		set(11, count >> 8);
		set(0, command);
	};
	const fetch = (address: number, count: number) => {
		remote(address, count, 0x0a);
		return Array.from({ length: count / 2 }, () => bench.read(DATA, 2)).flatMap((word) => [word & 0xff, word >> 8]);
	};
	const store = (address: number, bytes: Uint8Array) => {
		remote(address, bytes.length, 0x12);
		for (let at = 0; at < bytes.length; at += 2) bench.write(DATA, bytes[at]! | (bytes[at + 1]! << 8), 2);
	};
	return { bench, set, remote, fetch, store };
}

function frameTo(destination: number, bytes: number): Uint8Array {
	const frame = new Uint8Array(bytes).fill(7, 14);
	writeMac(frame, 0, destination);
	return frame;
}

describe("Ne2000Pci", () => {
	it("has its address in its PROM, every byte twice, and says what it is", () => {
		const { bench, fetch, remote } = start();
		expect(fetch(0, 32).filter((_, index) => index % 2 === 0)).toEqual([
			0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0x57, 0x57,
		]);
		remote(0, 32, 0x0a);
		expect(Array.from({ length: 6 }, () => bench.read(DATA, 1))).toEqual([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
		expect([bench.read(10, 1), bench.read(11, 1)]).toEqual([0x50, 0x43]);
		expect(bench.read(7, 1) & 0x40).toBe(0x40);
	});

	it("sends what lies in its memory, padded", () => {
		const { bench, set, store } = start();
		const frame = frameTo(1, 42);
		store(0x4000, frame);
		set(4, 0x40);
		set(5, frame.length);
		set(6, 0);
		set(0, 0x26);
		expect(bench.port.sent).toEqual([Uint8Array.from([...frame, ...new Uint8Array(18)])]);
		expect([bench.read(7, 1) & 2, bench.read(4, 1), bench.isInterrupting]).toEqual([2, 1, true]);
	});

	it("puts what is for it into its ring, round the end, until that is full", () => {
		const { bench, fetch, set } = start();
		bench.port.onFrame(frameTo(MAC, 300));
		bench.port.onFrame(frameTo(MAC + 1, 300));
		expect(bench.isInterrupting).toBe(true);
		expect(fetch(0x4700, 4)).toEqual([1, 0x49, 304 & 0xff, 304 >> 8]);
		expect(fetch(0x4704, 300)).toEqual([...frameTo(MAC, 300)]);
		for (let count = 0; count < 40; count++) bench.port.onFrame(frameTo(MAC, 1514));
		// 55 of the 58 pages are left, a frame takes six, and one must stay free.
		expect(bench.card.stats).toMatchObject({ receivedFrames: 10, droppedFrames: 31 });
		expect(bench.read(7, 1) & 0x10).toBe(0x10);
		set(3, 0x7f);
		bench.port.onFrame(frameTo(MAC, 1514));
		expect(bench.card.stats.receivedFrames).toBe(11);
	});
});
