import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Driver, F_EVENT_IDX, F_INDIRECT, F_VERSION_1 } from "../../tests/suites/virtio-driver.ts";
import type { Chain } from "./chain.ts";
import type { VirtioDevice, VirtioHost } from "./device.ts";

const NEEDS_RESET = 64;

/** Answers each request with its own bytes, reversed. */
class Echo implements VirtioDevice<null> {
	readonly name = "echo";
	readonly typeId = 42;
	readonly pciClass = 0xff00;
	readonly features = 0n;
	readonly queueSizes = [64, 8];
	readonly configBytes = 0;
	host: VirtioHost | undefined;
	held: Chain[] = [];
	isHolding = false;
	connect(host: VirtioHost): void {
		this.host = host;
	}
	start(): void {}
	onNotify(index: number): void {
		const queue = (this.host as VirtioHost).queue(index);
		for (let chain = queue.pop(); chain !== undefined; chain = queue.pop())
			if (this.isHolding) this.held.push(chain);
			else this.answer(chain, index);
		queue.signal();
	}
	answer(chain: Chain, index = 0): void {
		const bytes = new Uint8Array(Math.min(chain.readable.byteLength, 65536));
		chain.readable.read(0, bytes);
		this.host?.queue(index).push(chain, chain.writable.write(0, bytes.reverse()));
	}
	readConfig(): number {
		return 0;
	}
	writeConfig(): void {}
	quiesce(): Promise<void> {
		return Promise.resolve();
	}
	reset(): void {
		this.held = [];
	}
	save(): null {
		return null;
	}
	load(): void {}
}

function start(wanted = ~0n) {
	const device = new Echo();
	const driver = new Driver(device);
	driver.start(wanted);
	const queue = driver.queues[0];
	if (queue === undefined) throw new Error("no queue");
	return { device, driver, queue };
}

const text = (value: string) => Uint8Array.from(value, (char) => char.charCodeAt(0));

describe("Virtqueue", () => {
	it.each([
		["direct", false],
		["indirect", true],
	])("serves a request of several %s buffers as one", (_, indirect) => {
		const { driver, queue } = start();
		const out = driver.alloc(16);
		const head = queue.add(
			[
				{ addr: driver.put(text("ab")), length: 2 },
				{ addr: driver.put(text("cde")), length: 3 },
				{ addr: out, length: 1, isWritable: true },
				{ addr: out + 8, length: 8, isWritable: true },
			],
			{ indirect },
		);
		queue.ring();
		expect(queue.collect()).toEqual([{ head, length: 5 }]);
		expect(driver.bytes(out, 1)).toEqual(text("e"));
		expect(driver.bytes(out + 8, 5)).toEqual(text("dcba\0"));
		expect(driver.intx).toBe(true);
	});

	it("goes round the ring many times, index wrap included", () => {
		const { driver, queue } = start();
		const out = driver.alloc(8);
		const addr = driver.put(text("xy"));
		for (let i = 0; i < 70_000; i++) {
			const head = queue.add([
				{ addr, length: 2 },
				{ addr: out, length: 2, isWritable: true },
			]);
			queue.ring();
			const done = queue.collect();
			if (done.length !== 1 || done[0]?.head !== head) expect.fail(`round ${i}`);
		}
		expect(driver.status & NEEDS_RESET).toBe(0);
	});

	it("lets requests end in another order than they came", () => {
		const { device, driver, queue } = start();
		device.isHolding = true;
		const addr = driver.put(text("a"));
		const heads = [queue.add([{ addr, length: 1 }]), queue.add([{ addr, length: 1 }])];
		queue.ring();
		for (const chain of device.held.reverse()) device.answer(chain);
		expect(queue.collect().map(({ head }) => head)).toEqual(heads.reverse());
	});

	it("drops answers to requests from before a reset", () => {
		const { device, driver, queue } = start();
		device.isHolding = true;
		const out = driver.alloc(1);
		queue.add([
			{ addr: driver.put(text("a")), length: 1 },
			{ addr: out, length: 1, isWritable: true },
		]);
		queue.ring();
		const [chain] = device.held;
		driver.start();
		device.answer(chain as Chain);
		expect(driver.queues[0]?.collect()).toEqual([]);
	});

	it("interrupts as the driver asked, without EVENT_IDX (§2.7.7)", () => {
		const { driver, queue } = start(~F_EVENT_IDX);
		const request = [{ addr: driver.put(text("a")), length: 1 }];
		queue.suppress(true);
		queue.add(request);
		queue.ring();
		expect(driver.intx).toBe(false);
		queue.suppress(false);
		queue.add(request);
		queue.ring();
		expect(driver.intx).toBe(true);
		expect(driver.get(0x1000, 1)).toBe(1);
		expect(driver.intx).toBe(false);
	});

	it("interrupts and asks for doorbells by index, with EVENT_IDX (§2.7.7, §2.7.10)", () => {
		const { driver, queue } = start();
		const request = [{ addr: driver.put(text("a")), length: 1 }];
		queue.add(request);
		queue.ring();
		expect(driver.get(0x1000, 1)).toBe(1);
		queue.collect();
		expect(queue.availEvent).toBe(1);
		queue.setUsedEvent(3);
		for (let i = 0; i < 2; i++) {
			queue.add(request);
			queue.ring();
			expect(driver.intx).toBe(false);
		}
		queue.add(request);
		queue.ring();
		expect(driver.intx).toBe(true);
		expect(queue.availEvent).toBe(4);
	});

	it("goes on where it was after save and load", () => {
		const { driver, queue } = start();
		const request = [{ addr: driver.put(text("a")), length: 1 }];
		for (let i = 0; i < 5; i++) queue.add(request);
		queue.ring();
		expect(queue.collect().length).toBe(5);
		const state = structuredClone(driver.pci.save());
		driver.pci.reset();
		expect(driver.status).toBe(0);
		driver.pci.load(state);
		expect(driver.pci.save()).toEqual(state);
		queue.add(request);
		queue.ring();
		expect(queue.collect().length).toBe(1);
	});
});

describe("a hostile ring asks for a reset and harms nothing", () => {
	const cases: [string, (made: ReturnType<typeof start>) => void][] = [
		["a head outside of the table", ({ queue }) => queue.publish(999)],
		[
			"a next index outside of the table",
			({ queue }) => {
				queue.writeDesc(queue.desc, 0, { addr: 0x1000, length: 1 }, 1, 500);
				queue.publish(0);
			},
		],
		[
			"a loop",
			({ queue }) => {
				queue.writeDesc(queue.desc, 0, { addr: 0x1000, length: 1 }, 1, 1);
				queue.writeDesc(queue.desc, 1, { addr: 0x1000, length: 1 }, 1, 0);
				queue.publish(0);
			},
		],
		["a buffer above RAM", ({ queue }) => queue.add([{ addr: 0x8000_0000, length: 1 }])],
		["a buffer that runs out of RAM", ({ queue }) => queue.add([{ addr: 8 * 1024 * 1024 - 4, length: 5 }])],
		["a buffer in the video hole", ({ queue }) => queue.add([{ addr: 0xa_0000, length: 4 }])],
		["a buffer at the top of the address space", ({ queue }) => queue.add([{ addr: 2 ** 63, length: 0xffff_ffff }])],
		[
			"a readable buffer after a writable one",
			({ queue }) =>
				queue.add([
					{ addr: 0x1000, length: 4, isWritable: true },
					{ addr: 0x1000, length: 4 },
				]),
		],
		[
			"an indirect table of odd size",
			({ queue }) => {
				queue.writeDesc(queue.desc, 0, { addr: 0x1000, length: 24 }, 4, 0);
				queue.publish(0);
			},
		],
		[
			"an indirect table that contains another",
			({ driver, queue }) => {
				const table = driver.alloc(16);
				queue.writeDesc(table, 0, { addr: table, length: 16 }, 4, 0);
				queue.writeDesc(queue.desc, 0, { addr: table, length: 16 }, 4, 0);
				queue.publish(0);
			},
		],
		[
			"a loop in an indirect table",
			({ driver, queue }) => {
				const table = driver.alloc(16);
				queue.writeDesc(table, 0, { addr: 0x1000, length: 4 }, 1, 0);
				queue.writeDesc(queue.desc, 0, { addr: table, length: 16 }, 4, 0);
				queue.publish(0);
			},
		],
		["an available index far ahead", ({ driver, queue }) => driver.memory.writePhys(queue.avail + 2, 2, 0x8000)],
	];
	it.each(cases)("%s", (_, attack) => {
		const made = start();
		const { driver, queue } = made;
		attack(made);
		queue.ring();
		expect(driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
		expect(driver.get(0x1000, 1) & 2).toBe(2);
		expect(queue.collect()).toEqual([]);
		// A reset cures it.
		driver.start();
		driver.queues[0]?.add([{ addr: 0x1000, length: 1 }]);
		driver.queues[0]?.ring();
		expect(driver.queues[0]?.collect().length).toBe(1);
	});

	it("an indirect descriptor that was not negotiated", () => {
		const { driver, queue } = start(~F_INDIRECT);
		queue.add([{ addr: 0x1000, length: 1 }], { indirect: true });
		queue.ring();
		expect(driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
	});

	it("rings outside of RAM, misaligned, or of a size that is no power of two", () => {
		for (const spoil of [
			(driver: Driver) => driver.set64(32, 2 ** 40),
			(driver: Driver) => driver.set64(40, 0x1001),
			(driver: Driver) => driver.set(24, 2, 3),
			(driver: Driver) => driver.set(24, 2, 0),
			(driver: Driver) => driver.set(24, 2, 128),
			(driver: Driver) => driver.set64(48, 0x9_fff0),
		]) {
			const driver = new Driver(new Echo());
			driver.set(20, 1, 3);
			driver.set(8, 4, 1);
			driver.set(12, 4, Number(F_VERSION_1 >> 32n));
			driver.set(20, 1, 11);
			driver.set(22, 2, 0);
			driver.set64(32, 0x1000);
			driver.set64(40, 0x2000);
			driver.set64(48, 0x3000);
			spoil(driver);
			driver.set(28, 2, 1);
			driver.set(20, 1, 15);
			driver.set(0x3000, 2, 0);
			expect(driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
		}
	});

	it("random bytes in every ring and every register", () => {
		fc.assert(
			fc.property(
				fc.array(fc.tuple(fc.nat(0x3fff), fc.constantFrom(1, 2, 4), fc.nat(0xffff_ffff)), { maxLength: 60 }),
				fc.uint8Array({ minLength: 256, maxLength: 256 }),
				fc.nat(0xffff),
				(writes, garbage, availIndex) => {
					const { driver, queue } = start();
					driver.memory.write(queue.desc, garbage);
					driver.memory.writePhys(queue.avail + 2, 2, availIndex % 20);
					queue.ring();
					for (const [offset, bytes, value] of writes) {
						driver.set(offset, bytes, value);
						driver.get(offset, bytes);
					}
					driver.start();
					expect(driver.status).toBe(15);
				},
			),
			{ numRuns: 200 },
		);
	});
});
