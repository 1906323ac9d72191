import { describe, expect, it } from "vitest";
import { Driver, type DriverQueue } from "../../../tests/suites/virtio-driver.ts";
import { buildEthernet, buildIpv4, buildTcp, buildUdp, writeMac } from "../../net/frames/index.ts";
import { isTransportChecksumGood, type SuperFrame } from "../../net/offload/index.ts";
import type { Port } from "../../net/port.ts";
import { VirtioNet } from "./device.ts";
import * as f from "./features.ts";

const MAC = 0x52_54_00_12_34_56;
const OTHER = 0x52_54_00_00_00_01;

class TestPort implements Port {
	hasCarrier = true;
	speedBps: number | undefined = 100e6;
	readonly sent: Uint8Array[] = [];
	onFrame: (frame: Uint8Array) => void = () => {};
	onCarrier: (isUp: boolean) => void = () => {};
	sendWhole?: (whole: SuperFrame) => boolean;
	onWhole: ((whole: SuperFrame) => void) | undefined;
	send(frame: Uint8Array): void {
		this.sent.push(frame);
	}
}

function frameTo(destination: number, bytes = 60): Uint8Array {
	const frame = new Uint8Array(bytes);
	writeMac(frame, 0, destination);
	writeMac(frame, 6, OTHER);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (let at = 14; at < bytes; at++) frame[at] = at;
	return frame;
}

const PLAIN = f.VIRTIO_NET_F_MAC | f.VIRTIO_NET_F_STATUS | f.VIRTIO_NET_F_MRG_RXBUF | f.VIRTIO_NET_F_CTRL_VQ | f.VIRTIO_NET_F_CTRL_RX;
const RING = 1n << 32n;

function start(options: { pairs?: number; wanted?: bigint } = {}) {
	const port = new TestPort();
	const work: (() => void)[] = [];
	const pairs = options.pairs ?? 1;
	const device = new VirtioNet(port, { mac: MAC, pairs, post: (action) => work.push(action) });
	const driver = new Driver(device);
	driver.start((options.wanted ?? PLAIN) | RING);
	driver.useMsix();
	const queue = (index: number): DriverQueue => driver.queues[index] ?? expect.fail(`no queue ${index}`);
	const room = (length: number, index = 0): number => {
		const addr = driver.alloc(length);
		queue(index).add([{ addr, length, isWritable: true }]);
		queue(index).ring();
		return addr;
	};
	const transmit = (frame: Uint8Array, header: number[] = [], index = 1) => {
		const bytes = new Uint8Array(12 + frame.length);
		bytes.set(header);
		bytes.set(frame, 12);
		queue(index).add([{ addr: driver.put(bytes), length: bytes.length }]);
		queue(index).ring();
		expect(queue(index).collect().length).toBe(1);
	};
	const command = (bytes: number[], index = 2 * pairs): number => {
		const ack = driver.alloc(1);
		queue(index).add([
			{ addr: driver.put(Uint8Array.from(bytes)), length: bytes.length },
			{ addr: ack, length: 1, isWritable: true },
		]);
		queue(index).ring();
		return driver.bytes(ack, 1)[0]!;
	};
	const config = (offset: number, bytes: number) => driver.get(0x2000 + offset, bytes);
	return { port, work, device, driver, queue, room, transmit, command, config };
}

describe("VirtioNet", () => {
	it("shows its address, the cable's state and speed", () => {
		const { config, port, driver } = start({ wanted: ~0n });
		expect([0, 1, 2, 3, 4, 5].map((at) => config(at, 1))).toEqual([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
		expect([config(6, 2), config(12, 4), config(16, 1)]).toEqual([1, 100, 1]);
		port.hasCarrier = false;
		port.onCarrier(false);
		expect(config(6, 2)).toBe(0);
		expect(driver.messages.at(-1)).toMatchObject({ data: 0x100 });
	});

	it("sends frames, padded; completes checksums that were left to it", () => {
		const { port, transmit } = start();
		transmit(frameTo(OTHER, 42));
		expect(port.sent[0]).toEqual(Uint8Array.from([...frameTo(OTHER, 42), ...new Uint8Array(18)]));
		const udp = buildUdp({ sourcePort: 1, destinationPort: 2, payload: new Uint8Array(101).fill(3) }, 1, 2);
		const payload = buildIpv4({ protocol: 17, source: 1, destination: 2, payload: udp });
		const frame = buildEthernet({ destination: OTHER, source: MAC, etherType: 0x800, payload });
		const right = frame.slice();
		// The pseudo-header's sum: 1 + 2 + 17 + 109.
		frame.set([0, 129], 40);
		transmit(frame, [1, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
		expect(port.sent[1]).toEqual(right);
		expect(isTransportChecksumGood(right)).toBe(true);
	});

	it("loses requests that make no sense", () => {
		const { port, transmit, queue, driver } = start();
		transmit(frameTo(OTHER).subarray(0, 13));
		transmit(frameTo(OTHER), [1, 0, 0, 0, 0, 0, 255, 255, 6, 0]);
		transmit(frameTo(OTHER), [0, 3]);
		transmit(frameTo(OTHER), [0, 1, 0, 0, 100, 0]);
		queue(1).add([{ addr: driver.alloc(70_000), length: 70_000 }]);
		queue(1).ring();
		expect(port.sent).toEqual([]);
		expect(driver.status).toBe(15);
	});

	it("hands a super-frame on as it is where the cable takes it, and to the guest where it takes it", () => {
		const wanted = PLAIN | f.VIRTIO_NET_F_GUEST_CSUM | f.VIRTIO_NET_F_GUEST_TSO4 | f.VIRTIO_NET_F_CSUM | f.VIRTIO_NET_F_HOST_TSO4;
		const { port, work, room, transmit, driver, queue } = start({ wanted });
		const wholes: SuperFrame[] = [];
		port.sendWhole = (whole) => wholes.push(whole) > 0;
		const tcp = buildTcp(
			{
				sourcePort: 1,
				destinationPort: 2,
				sequence: 0,
				acknowledgment: 0,
				flags: 16,
				window: 9,
				options: {},
				payload: new Uint8Array(3000),
			},
			1,
			2,
		);
		const payload = buildIpv4({ protocol: 6, source: 1, destination: 2, payload: tcp });
		const frame = buildEthernet({ destination: MAC, source: OTHER, etherType: 0x800, payload });
		transmit(frame, [1, 1, 54, 0, 180, 5, 34, 0, 16, 0]);
		expect([wholes.length, port.sent.length, wholes[0]?.segmentBytes]).toEqual([1, 0, 1460]);
		const addr = room(4000);
		port.onWhole?.(wholes[0] as SuperFrame);
		for (const action of work.splice(0)) action();
		expect(queue(0).collect()[0]?.length).toBe(12 + frame.length);
		expect([...driver.bytes(addr, 10)]).toEqual([1, 1, 54, 0, 180, 5, 34, 0, 16, 0]);
		const plain = start();
		for (let count = 0; count < 3; count++) plain.room(2000);
		plain.port.onWhole?.(wholes[0] as SuperFrame);
		expect(plain.queue(0).collect().length).toBe(3);
	});

	it("spreads a frame over as many buffers as it takes, or waits until there are", () => {
		const { driver, port, queue, room } = start();
		const frame = frameTo(MAC, 200);
		const buffers = [room(100), room(100)];
		port.onFrame(frame);
		expect(queue(0).collect()).toEqual([]);
		buffers.push(room(50));
		const used = queue(0).collect();
		expect(used.map(({ length }) => length)).toEqual([100, 100, 12]);
		const bytes = buffers.flatMap((addr, index) => [...driver.bytes(addr, used[index]!.length)]);
		expect(bytes).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, ...frame]);
	});

	it("loses a frame that no buffer holds, where it may not be spread", () => {
		const { port, queue, room, device } = start({ wanted: PLAIN & ~f.VIRTIO_NET_F_MRG_RXBUF });
		room(100);
		room(300);
		port.onFrame(frameTo(MAC, 200));
		port.onFrame(frameTo(MAC, 200));
		expect(
			queue(0)
				.collect()
				.map(({ length }) => length),
		).toEqual([0, 212]);
		expect(device.stats).toMatchObject({ droppedFrames: 1, receivedFrames: 1 });
	});

	it("hands on what is the guest's, by address, table and mode", () => {
		const { port, queue, room, command } = start();
		const multicast = 0x0100_5e00_0001;
		const arrivesAt = (destination: number) => {
			room(100);
			port.onFrame(frameTo(destination));
			return queue(0).collect().length === 1;
		};
		expect([MAC, 0xffff_ffff_ffff, OTHER, multicast].map(arrivesAt)).toEqual([true, true, false, false]);
		expect(command([0, 0, 1])).toBe(0);
		expect([OTHER, multicast].map(arrivesAt)).toEqual([true, true]);
		expect(command([0, 0, 0])).toBe(0);
		expect(command([1, 0, 1, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1])).toBe(0);
		expect([OTHER, multicast, 0x0100_5e00_0002].map(arrivesAt)).toEqual([true, true, false]);
		expect(command([1, 0, 9, 0, 0, 0, 1])).toBe(1);
		expect(command([9, 9])).toBe(1);
	});

	it("takes another address and VLANs by command", () => {
		const { port, command, config, queue, room } = start({ wanted: ~0n & ~(f.VIRTIO_NET_F_GUEST_TSO4 | f.VIRTIO_NET_F_GUEST_TSO6) });
		expect(command([1, 1, 2, 0, 0, 0, 0, 9])).toBe(0);
		expect(config(5, 1)).toBe(9);
		const tagged = frameTo(0x0200_0000_0009);
		tagged.set([0x81, 0, 0, 5], 12);
		const arrives = () => {
			room(100);
			port.onFrame(tagged);
			return queue(0).collect().length === 1;
		};
		expect(arrives()).toBe(false);
		expect(command([2, 0, 5, 0])).toBe(0);
		expect(arrives()).toBe(true);
	});

	it("joins what comes in one go, for a guest that likes that", () => {
		const { port, transmit, work, room, queue, driver } = start({ wanted: ~0n });
		const tcp = new Uint8Array(20 + 4000);
		tcp.set([0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0]);
		const payload = buildIpv4({ protocol: 6, source: 1, destination: 2, payload: tcp });
		const frame = buildEthernet({ destination: MAC, source: OTHER, etherType: 0x800, payload });
		transmit(frame, [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0]);
		expect(port.sent.map((each) => each.length)).toEqual([54 + 1460, 54 + 1460, 54 + 1080]);
		const addr = room(5000);
		for (const each of port.sent) port.onFrame(each);
		expect(queue(0).collect()).toEqual([]);
		for (const action of work.splice(0)) action();
		expect(
			queue(0)
				.collect()
				.map(({ length }) => length),
		).toEqual([12 + frame.length]);
		expect([...driver.bytes(addr, 12)]).toEqual([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 1, 0]);
	});

	it("steers a flow to the queue that its other direction left by", () => {
		const { port, transmit, command, room, queue } = start({ pairs: 2, wanted: PLAIN | f.VIRTIO_NET_F_MQ });
		const udp = (from: number, to: number) => {
			const bytes = buildUdp({ sourcePort: from, destinationPort: to, payload: new Uint8Array(9) }, from, to);
			return buildEthernet({
				destination: MAC,
				source: OTHER,
				etherType: 0x800,
				payload: buildIpv4({ protocol: 17, source: from, destination: to, payload: bytes }),
			});
		};
		expect(command([4, 0, 3, 0])).toBe(1);
		expect(command([4, 0, 2, 0])).toBe(0);
		transmit(udp(7, 8), [], 3);
		room(200, 0);
		room(200, 2);
		port.onFrame(udp(8, 7));
		expect([queue(0).collect().length, queue(2).collect().length]).toEqual([0, 1]);
	});

	it("is saved and loaded whole; a cable that changed meanwhile is news", () => {
		const { port, command, device, driver, room, queue } = start();
		command([0, 1, 1]);
		port.onFrame(frameTo(MAC));
		const state = structuredClone(driver.pci.save());
		const again = start();
		again.driver.memory.bytes.set(driver.memory.bytes);
		again.port.hasCarrier = false;
		again.driver.messages.length = 0;
		again.driver.pci.load(state);
		expect(again.device.save()).toEqual({ ...device.save(), isLinkUp: false });
		expect(again.driver.messages.map(({ data }) => data)).toEqual([0x100]);
		room(100);
		expect(queue(0).collect().length).toBe(1);
	});
});
