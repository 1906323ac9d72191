import { describe, expect, test } from "vitest";
import { E1000 } from "../../src/chips/e1000/device.ts";
import { Ne2000Pci } from "../../src/chips/ne2000/device.ts";
import type { IoHandler } from "../../src/machine/bus.ts";
import { readSplit, writeSplit } from "../../src/machine/bus.ts";
import { SteppedClock } from "../../src/machine/clock.ts";
import { ENGINE_BYTES, GuestMemory } from "../../src/machine/memory.ts";
import type { PciDevice } from "../../src/machine/pci.ts";
import { buildEthernet, buildIpv4, buildTcp } from "../../src/net/frames/index.ts";
import type { Port } from "../../src/net/port.ts";
import { VirtioNet } from "../../src/virtio/net/device.ts";
import { VirtioPci } from "../../src/virtio/pci-transport.ts";

/** Frames and accesses to registers, each. */
const ROUNDS = 1_000_000;
const RAM_BYTES = 1024 * 1024;
const MAC = 0x0200_0000_0001;

/** Xorshift (Marsaglia 2003), so that a failure repeats. */
function generator(seed: number): (below: number) => number {
	let state = seed;
	return (below) => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		return (state >>> 0) % below;
	};
}

class FuzzPort implements Port {
	hasCarrier = true;
	sent = 0;
	shortest = Number.POSITIVE_INFINITY;
	longest = 0;
	onFrame: (frame: Uint8Array) => void = () => {};
	onCarrier: (isUp: boolean) => void = () => {};
	send(frame: Uint8Array): void {
		this.sent++;
		this.shortest = Math.min(this.shortest, frame.length);
		this.longest = Math.max(this.longest, frame.length);
	}
}

const tcp = buildTcp(
	{ sourcePort: 1, destinationPort: 2, sequence: 3, acknowledgment: 4, flags: 0x10, window: 5, options: {}, payload: new Uint8Array(1400) },
	1,
	2,
);
const SOUND = buildEthernet({
	destination: MAC,
	source: 2,
	etherType: 0x800,
	payload: buildIpv4({ protocol: 6, source: 1, destination: 2, payload: tcp }),
});

/** Runts, giants, noise; and sound frames, whole or with some bytes spoilt. */
function anyFrame(random: (below: number) => number): Uint8Array {
	if (random(3) === 0) {
		const frame = SOUND.slice(0, random(4) === 0 ? random(SOUND.length) : SOUND.length);
		for (let hits = random(4); hits > 0 && frame.length > 0; hits--) frame[random(Math.min(frame.length, 60))] = random(256);
		return frame;
	}
	const frame = new Uint8Array(random(50) === 0 ? random(70_000) : random(1600));
	for (let at = 0; at < Math.min(frame.length, 64); at++) frame[at] = random(256);
	if (random(2) === 0 && frame.length >= 6) frame.set([2, 0, 0, 0, 0, 1]);
	return frame;
}

/** Values that mean something to rings and registers, and some that do not. */
function anyValue(random: (below: number) => number): number {
	switch (random(6)) {
		case 0:
			return random(16);
		case 1:
			return random(RAM_BYTES);
		case 2:
			return (1 << random(32)) >>> 0;
		case 3:
			return random(0x1000) & ~15;
		case 4:
			return 0xffff_ffff - random(3);
		default:
			return random(2 ** 32);
	}
}

interface Bench {
	readonly device: PciDevice;
	readonly port: FuzzPort;
	readonly memory: GuestMemory;
	readonly handlers: readonly { readonly handler: IoHandler; readonly sizeBytes: number }[];
	readonly step: () => void;
}

function bench(make: (port: FuzzPort, memory: GuestMemory, clock: SteppedClock, post: (work: () => void) => void) => PciDevice): Bench {
	const port = new FuzzPort();
	const memory = new GuestMemory(RAM_BYTES);
	const clock = new SteppedClock();
	const inbox: (() => void)[] = [];
	const device = make(port, memory, clock, (work) => inbox.push(work));
	device.pci.attach({ intx: { set: () => {}, isHigh: false }, dma: memory, deliverMsi: () => {}, decodeChanged: () => {} });
	device.pci.config.write(4, 2, 7);
	const step = () => {
		for (const work of inbox.splice(0)) work();
		clock.advance(1000);
	};
	return { device, port, memory, handlers: device.pci.bars, step };
}

const NICS = {
	virtio: () =>
		bench((port, memory, _clock, post) => new VirtioPci(new VirtioNet(port, { mac: MAC, pairs: 2, mtuBytes: 1500, post }), memory)),
	e1000: () => bench((port, _memory, clock) => new E1000(port, { name: "e1000", mac: MAC, clock })),
	"ne2k-pci": () => bench((port) => new Ne2000Pci(port, { name: "ne2k", mac: MAC })),
};

/** What a driver writes first, so that noise gets past the first gate now and then. */
const PRELUDES: Record<keyof typeof NICS, (b: Bench, random: (below: number) => number) => void> = {
	virtio: (b, random) => {
		const registers = b.handlers.find(({ sizeBytes }) => sizeBytes === 0x4000)!.handler;
		const set = (at: number, bytes: number, value: number) => writeSplit(registers, at, bytes, value);
		set(20, 1, 0);
		set(20, 1, 3);
		set(8, 4, 0);
		set(12, 4, random(4) === 0 ? random(2 ** 32) : readFeatures(registers, 0) & (random(2) === 0 ? 0xffff_ffff : random(2 ** 32)));
		set(8, 4, 1);
		set(12, 4, 1);
		set(20, 1, 11);
		for (let queue = 0; queue < 5; queue++) {
			set(22, 2, queue);
			set(24, 2, 1 << random(6));
			b.memory.write(availOf(queue), new Uint8Array(0x4000));
			for (const [index, at] of [32, 40, 48].entries()) {
				set(at, 4, (queue * 3 + index) * 0x2000 + 0x1000);
				set(at + 4, 4, 0);
			}
			set(28, 2, 1);
		}
		set(20, 1, 15);
	},
	e1000: (b, random) => {
		const registers = b.handlers.find(({ sizeBytes }) => sizeBytes === 0x20000)!.handler;
		const set = (at: number, value: number) => writeSplit(registers, at, 4, value);
		for (const ring of [0x2800, 0x3800]) {
			set(ring, ring * 4);
			set(ring + 4, 0);
			set(ring + 8, 128 * (1 + random(16)));
			set(ring + 16, 0);
			set(ring + 24, random(64));
		}
		set(0x5000, 0x300);
		set(0x100, 0x800_801a | random(2 ** 27));
		set(0x400, 2);
	},
	"ne2k-pci": (b, random) => {
		const { handler } = b.handlers[0]!;
		const set = (at: number, value: number) => handler.write(at, 1, value);
		for (const [at, value] of [
			[0, 0x61],
			[7, 0x4c],
			[0, 0x21],
			[1, 0x46],
			[2, 0x80],
			[3, 0x46],
			[12, random(64)],
			[13, 0],
			[15, 0xff],
			[0, 0x22],
		] as const)
			set(at, value);
	},
};

/** The available ring of a queue, where the prelude puts it. */
function availOf(queue: number): number {
	return (queue * 3 + 1) * 0x2000 + 0x1000;
}

/** A driver that at least counts its requests right: noise in the descriptors, and the doorbell. */
function request(b: Bench, random: (below: number) => number): void {
	const queue = random(5);
	const avail = availOf(queue);
	const index = (b.memory.readPhys(avail + 2, 2) + 1) & 0xffff;
	b.memory.writePhys(avail + 4 + 2 * random(32), 2, random(4));
	b.memory.writePhys(avail + 2, 2, index);
	const frame = anyFrame(random).subarray(0, 2000);
	const header = new Uint8Array(12);
	if (random(2) === 0) header.set([random(4), random(6), random(256), 0, random(256), random(6), 34, 0, 16, 0]);
	b.memory.write(0x8_0000, header);
	b.memory.write(0x8_000c, frame);
	const entry = new DataView(new ArrayBuffer(16));
	for (let slot = 0; slot < 4; slot++) {
		entry.setUint32(0, random(8) === 0 ? anyValue(random) : 0x8_0000, true);
		entry.setUint32(8, random(8) === 0 ? anyValue(random) : 12 + frame.length, true);
		entry.setUint16(12, queue === 0 || queue === 2 ? 2 : random(16) === 0 ? random(8) : 0, true);
		entry.setUint16(14, random(4), true);
		b.memory.write(avail - 0x2000 + 16 * slot, new Uint8Array(entry.buffer));
	}
	const registers = b.handlers.find(({ sizeBytes }) => sizeBytes === 0x4000)!.handler;
	writeSplit(registers, 0x3000 + 4 * queue, 2, queue);
}

function readFeatures(registers: IoHandler, word: number): number {
	writeSplit(registers, 0, 4, word);
	return readSplit(registers, 4, 4);
}

/** Random descriptors: anywhere in the lower half of memory, where the preludes put rings. */
function scribble(b: Bench, random: (below: number) => number): void {
	const at = random(RAM_BYTES / 16 / 4) * 16;
	const entry = new Uint8Array(16);
	const view = new DataView(entry.buffer);
	view.setUint32(0, anyValue(random), true);
	view.setUint32(4, random(8) === 0 ? random(2 ** 32) : 0, true);
	view.setUint32(8, random(4) === 0 ? anyValue(random) : random(2000) | (random(256) << 24) | (random(3) << 20), true);
	view.setUint32(12, random(2) === 0 ? random(8) | (random(16) << 16) : anyValue(random), true);
	b.memory.write(at, entry);
}

describe("a million random frames and accesses harm no card", () => {
	test.each(Object.keys(NICS) as (keyof typeof NICS)[])("%s", (name) => {
		const random = generator(0x1234_5678);
		const b = NICS[name]();
		for (let round = 0; round < ROUNDS; round++) {
			if (round % 200 === 0) PRELUDES[name](b, random);
			if (random(20_000) === 0) {
				b.device.reset();
				b.device.pci.config.write(4, 2, 7);
			}
			if (name === "virtio" && random(8) > 0) request(b, random);
			else scribble(b, random);
			const { handler, sizeBytes } = b.handlers[random(b.handlers.length)]!;
			const bytes = (1 << random(3)) as 1 | 2 | 4;
			const offset = (random(2) === 0 ? random(sizeBytes) : random(Math.min(sizeBytes, 0x40))) & ~(bytes - 1);
			if (random(4) === 0) expect(readSplit(handler, offset, bytes)).toBeGreaterThanOrEqual(0);
			else writeSplit(handler, offset, bytes, anyValue(random));
			b.port.onFrame(anyFrame(random));
			if (random(50) === 0) b.port.onCarrier((b.port.hasCarrier = random(4) > 0));
			if (random(4) === 0) b.step();
		}
		// Nothing but guest RAM has been written to, and the flags of its pages.
		b.memory.pages.flags.fill(0);
		expect(b.memory.bytes.subarray(0, ENGINE_BYTES).every((byte) => byte === 0)).toBe(true);
		expect(b.port.sent).toBeGreaterThan(0);
		expect(b.port.shortest).toBeGreaterThanOrEqual(60);
		expect(b.port.longest).toBeLessThanOrEqual(16 * 1024 + 4);
		const state = structuredClone(b.device.save());
		const again = NICS[name]();
		again.port.hasCarrier = b.port.hasCarrier;
		again.device.load(state);
		expect(again.device.save()).toEqual(state);
	});
});
