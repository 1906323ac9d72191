import { describe, expect, it } from "vitest";
import { CardBench } from "../../../tests/suites/card-bench.ts";
import { buildEthernet, buildIpv4, buildTcp, frameCheckSequence } from "../../net/frames/index.ts";
import { isTransportChecksumGood } from "../../net/offload/index.ts";
import { E1000 } from "./device.ts";
import * as reg from "./registers.ts";

const MAC = 0x5254_0012_3456;
const TX = 0x1_0000;
const RX = 0x2_0000;
const BUFFERS = 0x4_0000;

function start() {
	const bench = new CardBench((port, clock) => new E1000(port, { name: "e1000", mac: MAC, clock }));
	const { memory } = bench;
	for (const [base, low] of [
		[TX, reg.TDBAL],
		[RX, reg.RDBAL],
	] as const) {
		bench.write(low, base);
		bench.write(low + 8, 128);
	}
	for (let index = 0; index < 8; index++) memory.writePhys(RX + 16 * index, 4, BUFFERS + 0x1000 * index);
	bench.write(reg.RDT, 7);
	bench.write(reg.RCTL, reg.RCTL_EN | reg.RCTL_BAM);
	bench.write(reg.TCTL, reg.TCTL_EN);
	bench.write(reg.IMS, reg.INT_ALL);
	bench.read(reg.ICR);
	let tail = 0;
	const descriptor = (words: readonly number[]) => {
		for (const [index, word] of words.entries()) memory.writePhys(TX + 16 * tail + 4 * index, 4, word);
		tail = (tail + 1) % 8;
	};
	return { bench, memory, descriptor, kick: () => bench.write(reg.TDT, tail) };
}

function tcpFrame(payloadBytes: number): Uint8Array {
	const payload = new Uint8Array(payloadBytes).fill(7);
	const tcp = buildTcp(
		{ sourcePort: 1, destinationPort: 2, sequence: 3, acknowledgment: 4, flags: 0x10, window: 5, options: {}, payload },
		1,
		2,
	);
	return buildEthernet({
		destination: MAC,
		source: 9,
		etherType: 0x800,
		payload: buildIpv4({ protocol: 6, source: 1, destination: 2, payload: tcp }),
	});
}

describe("E1000", () => {
	it("gives its EEPROM bit by bit, with a sum of BABA", () => {
		const { bench } = start();
		const [SK, CS, DI, DO] = [1, 2, 4, 8];
		const word = (address: number) => {
			bench.write(reg.EECD, CS);
			for (const bit of (0b110_000000 | address).toString(2)) {
				bench.write(reg.EECD, CS | (bit === "1" ? DI : 0));
				bench.write(reg.EECD, CS | SK | (bit === "1" ? DI : 0));
				bench.write(reg.EECD, CS | (bit === "1" ? DI : 0));
			}
			let value = 0;
			for (let bit = 0; bit < 16; bit++) {
				bench.write(reg.EECD, CS | SK);
				value = (value << 1) | ((bench.read(reg.EECD) & DO) !== 0 ? 1 : 0);
				bench.write(reg.EECD, CS);
			}
			bench.write(reg.EECD, 0);
			return value;
		};
		const words = Array.from({ length: 64 }, (_, address) => word(address));
		expect(words.slice(0, 3)).toEqual([0x5452, 0x1200, 0x5634]);
		expect(words.reduce((sum, each) => sum + each, 0) & 0xffff).toBe(0xbaba);
		bench.write(reg.EERD, 0x201);
		expect(bench.read(reg.EERD) >>> 16).toBe(0x5634);
	});

	it("shows the cable in STATUS and transceiver, and tells when it changes", () => {
		const { bench } = start();
		const phy = (register: number) => {
			bench.write(reg.MDIC, (2 << 26) | (1 << 21) | (register << 16));
			return bench.read(reg.MDIC) & 0xffff;
		};
		expect([phy(2), phy(3), phy(1) & 4, bench.read(reg.STATUS) & 0xc3]).toEqual([0x141, 0xc20, 4, 0x83]);
		bench.port.speedBps = 10e6;
		bench.port.setCarrier(false);
		expect([phy(1) & 4, bench.read(reg.STATUS) & 2, bench.isInterrupting]).toEqual([0, 0, true]);
		expect(bench.read(reg.ICR) & reg.INT_LSC).toBe(reg.INT_LSC);
		expect(bench.isInterrupting).toBe(false);
		bench.port.setCarrier(true);
		expect(bench.read(reg.STATUS) & 0xc3).toBe(3);
	});

	it("sends by legacy descriptors, over several buffers, with a tag", () => {
		const { bench, memory, descriptor, kick } = start();
		const frame = tcpFrame(100);
		memory.write(BUFFERS, frame);
		descriptor([BUFFERS, 0, 20, 0]);
		descriptor([BUFFERS + 20, 0, (frame.length - 20) | (0x0b << 24), 0]);
		kick();
		expect(bench.port.sent).toEqual([frame]);
		expect(memory.readPhys(TX + 16 + 12, 1)).toBe(1);
		expect(bench.read(reg.ICR) & 3).toBe(3);
		bench.write(reg.CTRL, bench.read(reg.CTRL) | reg.CTRL_VME);
		descriptor([BUFFERS, 0, frame.length | (0x4b << 24), 5 << 16]);
		kick();
		expect([...bench.port.sent[1]!.subarray(12, 18)]).toEqual([0x81, 0, 0, 5, 8, 0]);
	});

	it("cuts TCP by context and data descriptors", () => {
		const { bench, memory, descriptor, kick } = start();
		memory.write(BUFFERS, tcpFrame(3000));
		descriptor([0x0021_180e, 0x0000_3222, ((0x21 << 24) | 3000) >>> 0, (1460 << 16) | (54 << 8)]);
		descriptor([BUFFERS, 0, ((0x2d << 24) | (1 << 20) | 3054) >>> 0, 3 << 8]);
		kick();
		expect(bench.port.sent.map((each) => each.length)).toEqual([1514, 1514, 134]);
		expect(bench.port.sent.every((each) => isTransportChecksumGood(each) === true)).toBe(true);
	});

	it("receives with check sequence and verdict; waits for descriptors, then drops", () => {
		const { bench } = start();
		bench.write(reg.RXCSUM, reg.RXCSUM_IPOFL | reg.RXCSUM_TUOFL);
		const frame = tcpFrame(10);
		bench.port.onFrame(frame);
		expect([...bench.bytes(RX + 8, 6)]).toEqual([frame.length + 4, 0, expect.anything(), expect.anything(), 0x63, 0]);
		const stored = bench.bytes(BUFFERS, frame.length + 4);
		expect(stored.subarray(0, frame.length)).toEqual(frame);
		expect(new DataView(stored.buffer).getUint32(frame.length, true)).toBe(frameCheckSequence(frame));
		const spoilt = frame.slice();
		spoilt[60]! ^= 1;
		bench.port.onFrame(spoilt);
		expect([...bench.bytes(RX + 16 + 12, 2)]).toEqual([0x63, 0x20]);
		for (let count = 0; count < 7; count++) bench.port.onFrame(frame);
		expect(bench.card.stats.receivedFrames).toBe(7);
		bench.write(reg.RDT, 3);
		expect(bench.card.stats).toMatchObject({ receivedFrames: 9, droppedFrames: 0 });
		const other = frame.slice();
		other[5]! ^= 1;
		bench.port.onFrame(other);
		expect(bench.card.stats.receivedFrames).toBe(9);
	});

	it("keeps interrupts apart by ITR", () => {
		const { bench } = start();
		bench.write(reg.ITR, 1000);
		const frame = tcpFrame(10);
		bench.port.onFrame(frame);
		expect(bench.interrupts).toBe(1);
		bench.read(reg.ICR);
		bench.port.onFrame(frame);
		expect(bench.isInterrupting).toBe(false);
		bench.clock.advance(255_000);
		expect(bench.interrupts).toBe(1);
		bench.clock.advance(1_000);
		expect(bench.interrupts).toBe(2);
	});
});
