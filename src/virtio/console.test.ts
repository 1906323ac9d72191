import { describe, expect, it } from "vitest";
import { Driver, type DriverQueue } from "../../tests/suites/virtio-driver.ts";
import { type ConsolePort, VirtioConsole } from "./console.ts";

const text = (value: string) => Uint8Array.from(value, (char) => char.charCodeAt(0));
const string = (bytes: Uint8Array) => String.fromCharCode(...bytes);

function start(ports?: readonly ConsolePort[]) {
	const output: [number, string][] = [];
	const opened: [number, boolean][] = [];
	const device = new VirtioConsole({
		...(ports === undefined ? {} : { ports }),
		onOutput: (port, bytes) => output.push([port, string(bytes)]),
		onOpenChanged: (port, isOpen) => opened.push([port, isOpen]),
	});
	const driver = new Driver(device);
	driver.start();
	const queue = (index: number): DriverQueue => driver.queues[index] ?? expect.fail(`no queue ${index}`);
	const room = (index: number, length: number) => {
		const addr = driver.alloc(length);
		queue(index).add([{ addr, length, isWritable: true }]);
		queue(index).ring();
		return addr;
	};
	const send = (index: number, bytes: Uint8Array) => {
		queue(index).add([{ addr: driver.put(bytes), length: bytes.length }]);
		queue(index).ring();
		expect(queue(index).collect().length).toBe(1);
	};
	const control = (port: number, event: number, value: number) => {
		const message = new DataView(new ArrayBuffer(8));
		message.setUint32(0, port, true);
		message.setUint16(4, event, true);
		message.setUint16(6, value, true);
		send(3, new Uint8Array(message.buffer));
	};
	return { control, device, driver, opened, output, queue, room, send };
}

describe("VirtioConsole", () => {
	it("passes on what the guest writes", () => {
		const { output, send } = start();
		send(1, text("hello"));
		expect(output).toEqual([[0, "hello"]]);
	});

	it("cuts a monstrous write into pieces", () => {
		const { driver, output, queue } = start();
		queue(1).add([{ addr: driver.alloc(200_000), length: 200_000 }]);
		queue(1).ring();
		expect(output.map(([, bytes]) => bytes.length)).toEqual([65536, 65536, 65536, 200_000 - 3 * 65536]);
	});

	it("holds input until there is room, in order, over buffers of any size", () => {
		const { device, driver, queue, room } = start();
		device.input(0, text("abc"));
		device.input(0, text("defgh"));
		expect(device.pendingInputBytes(0)).toBe(8);
		const first = room(0, 5);
		const second = room(0, 100);
		expect(
			queue(0)
				.collect()
				.map(({ length }) => length),
		).toEqual([5, 3]);
		expect(string(driver.bytes(first, 5)) + string(driver.bytes(second, 3))).toBe("abcdefgh");
		const third = room(0, 4);
		device.input(0, text("x"));
		expect(
			queue(0)
				.collect()
				.map(({ length }) => length),
		).toEqual([1]);
		expect(string(driver.bytes(third, 1))).toBe("x");
	});

	it("keeps waiting input over save and load", () => {
		const { device, driver, queue, room } = start();
		device.input(0, text("later"));
		const state = structuredClone(driver.pci.save());
		driver.pci.reset();
		driver.pci.load(state);
		expect(driver.pci.save()).toEqual(state);
		const addr = room(0, 16);
		expect(queue(0).collect().length).toBe(1);
		expect(string(driver.bytes(addr, 5))).toBe("later");
	});

	it("takes emergency characters without a driver (§5.3.6)", () => {
		const { driver, output } = start();
		driver.set(20, 1, 0);
		driver.set(0x2008, 4, 0x21);
		expect(output).toEqual([[0, "!"]]);
	});

	it("offers multiport only where there are ports", () => {
		const { driver } = start();
		expect(driver.features & 2n).toBe(0n);
		expect(driver.get(18, 2)).toBe(2);
	});
});

describe("VirtioConsole with several ports (§5.3.6.2)", () => {
	const ports = [{ isConsole: true }, { isConsole: false, name: "agent" }];

	it("announces ports, names and sizes, and carries bytes once the guest has a port open", () => {
		const { control, device, driver, opened, output, queue, room, send } = start(ports);
		expect(driver.features & 2n).toBe(2n);
		expect(driver.get(18, 2)).toBe(6);
		expect(driver.get(0x2004, 4)).toBe(2);
		const buffers = Array.from({ length: 10 }, () => room(2, 32));
		let taken = 0;
		const messages = () =>
			queue(2)
				.collect()
				.map(({ length }) => {
					const bytes = driver.bytes(buffers[taken++] as number, length);
					const view = new DataView(bytes.buffer);
					return [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), string(bytes.subarray(8))];
				});
		control(0, 0, 1);
		expect(messages()).toEqual([
			[0, 1, 1, ""],
			[1, 1, 1, ""],
		]);
		control(0, 3, 1);
		expect(messages()).toEqual([
			[0, 4, 1, ""],
			[0, 6, 1, ""],
			[0, 5, 0, "P\0\x19\0"],
		]);
		control(1, 3, 1);
		expect(messages()).toEqual([
			[1, 7, 1, "agent"],
			[1, 6, 1, ""],
		]);
		device.input(1, text("ping"));
		const addr = room(4, 16);
		expect(queue(4).collect()).toEqual([]);
		control(1, 6, 1);
		expect(opened).toEqual([[1, true]]);
		expect(queue(4).collect().length).toBe(1);
		expect(string(driver.bytes(addr, 4))).toBe("ping");
		send(5, text("pong"));
		expect(output).toEqual([[1, "pong"]]);
		device.resize(100, 30);
		expect(messages()).toEqual([[0, 5, 0, "d\0\x1e\0"]]);
		control(7, 3, 1);
		control(0, 99, 1);
		expect(messages()).toEqual([]);
	});

	it("keeps control messages over save and load until there is room", () => {
		const { control, driver, queue, room } = start(ports);
		control(0, 0, 1);
		const state = structuredClone(driver.pci.save());
		driver.pci.reset();
		driver.pci.load(state);
		room(2, 32);
		room(2, 32);
		control(0, 99, 1);
		expect(queue(2).collect().length).toBe(2);
	});
});
