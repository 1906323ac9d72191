import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { expectBytes, pattern } from "../../tests/suites/disk-contract.ts";
import { Driver, type Buffer as Piece, TestInbox } from "../../tests/suites/virtio-driver.ts";
import { type Disk, DiskError } from "../disk/disk.ts";
import { MemoryStore } from "../disk/memory-store.ts";
import { RawDisk } from "../disk/raw.ts";
import { VirtioBlock } from "./block.ts";

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const DISCARD = 11;
const WRITE_ZEROES = 13;
const F_FLUSH = 1n << 9n;
const F_CONFIG_WCE = 1n << 11n;
const DISK_BYTES = 1024 * 1024;

/** Notes what happens to a disk, and can be held up or made to fail. */
class SpyDisk implements Disk {
	readonly inner: Disk;
	readonly log: string[] = [];
	failure: unknown;
	gate: Promise<void> | undefined;
	constructor(inner: Disk) {
		this.inner = inner;
	}
	get sizeBytes() {
		return this.inner.sizeBytes;
	}
	get sectorBytes() {
		return this.inner.sectorBytes;
	}
	get isReadOnly() {
		return this.inner.isReadOnly;
	}
	async #note(what: string): Promise<void> {
		this.log.push(what);
		if (this.gate !== undefined) await this.gate;
		if (this.failure !== undefined) throw this.failure;
	}
	async read(offset: number, into: Uint8Array) {
		await this.#note(`read ${offset}+${into.length}`);
		await this.inner.read(offset, into);
	}
	async write(offset: number, from: Uint8Array) {
		await this.#note(`write ${offset}+${from.length}`);
		await this.inner.write(offset, from);
	}
	async writeZeroes(offset: number, length: number) {
		await this.#note(`zero ${offset}+${length}`);
		await this.inner.writeZeroes(offset, length);
	}
	async discard(offset: number, length: number) {
		await this.#note(`discard ${offset}+${length}`);
		await this.inner.discard(offset, length);
	}
	async flush() {
		await this.#note("flush");
		await this.inner.flush();
	}
	async close() {}
}

async function start(
	options: { wanted?: bigint; isReadOnly?: boolean; sectorBytes?: 512 | 4096; sizeBytes?: number; isQuick?: boolean } = {},
) {
	const store = new MemoryStore("guest.img");
	await store.truncate(options.sizeBytes ?? DISK_BYTES);
	const raw = await RawDisk.open(store, { sectorBytes: options.sectorBytes ?? 512, isReadOnly: options.isReadOnly ?? false });
	const disk = options.isQuick === true ? new QuickDisk(raw) : new SpyDisk(raw);
	const inbox = new TestInbox();
	const errors: unknown[] = [];
	const device = new VirtioBlock(disk, { post: inbox.post, serial: "BJ-0001", onHostError: (error) => errors.push(error) });
	const driver = new Driver(device);
	driver.start(options.wanted ?? ~0n, 64);
	const queue = driver.queues[0];
	if (queue === undefined) throw new Error("no queue");
	let statusAt = 0;
	const submit = (type: number, sector: number, data: readonly Piece[]) => {
		const header = new DataView(new ArrayBuffer(16));
		header.setUint32(0, type, true);
		header.setBigUint64(8, BigInt(sector), true);
		statusAt = driver.put(Uint8Array.of(0xee));
		const buffers = [
			{ addr: driver.put(new Uint8Array(header.buffer)), length: 16 },
			...data,
			{ addr: statusAt, length: 1, isWritable: true },
		];
		return { head: queue.add(buffers, { indirect: true }), statusAt };
	};
	const request = async (type: number, sector: number, data: readonly Piece[] = []) => {
		const { head, statusAt: at } = submit(type, sector, data);
		queue.ring();
		const done: { head: number; length: number }[] = [];
		await inbox.until(() => done.push(...queue.collect()) > 0);
		expect(done.map((entry) => entry.head)).toEqual([head]);
		return { status: driver.bytes(at, 1)[0], length: done[0]?.length };
	};
	return { device, disk, driver, errors, inbox, queue, request, store, submit };
}

/** One that can do at once what its inner disk can. */
class QuickDisk extends SpyDisk {
	canDo = true;
	readNow(offset: number, into: readonly Uint8Array[]): boolean {
		if (this.failure !== undefined) throw this.failure;
		return this.canDo && this.inner.readNow?.(offset, into) === true;
	}
	writeNow(offset: number, from: readonly Uint8Array[]): boolean {
		if (this.failure !== undefined) throw this.failure;
		return this.canDo && this.inner.writeNow?.(offset, from) === true;
	}
}

describe("a disk that can do things at once", () => {
	it("has them done within the doorbell's write, straight from and to guest memory", async () => {
		const { disk, driver, inbox, queue, store, submit } = await start({ isQuick: true });
		const bytes = pattern(4096, 3);
		const at = driver.put(bytes);
		submit(OUT, 3, [
			{ addr: at, length: 100 },
			{ addr: at + 100, length: 3996 },
		]);
		queue.ring();
		expect(queue.collect().length).toBe(1);
		expectBytes(store.contents().subarray(1536, 1536 + 4096), bytes);
		const into = driver.alloc(8192);
		const read = submit(IN, 3, [
			{ addr: into, length: 1000, isWritable: true },
			{ addr: into + 4096, length: 3096, isWritable: true },
		]);
		queue.ring();
		expect(queue.collect()).toEqual([{ head: read.head, length: 4097 }]);
		expect(driver.bytes(read.statusAt, 1)[0]).toBe(0);
		expectBytes(driver.bytes(into, 1000), bytes.subarray(0, 1000));
		expectBytes(driver.bytes(into + 4096, 3096), bytes.subarray(1000));
		expect([disk.log, inbox.drain()]).toEqual([[], 0]);
	});

	it("goes the ordinary way where it cannot, where writes are flushed through, and for errors", async () => {
		const { disk, driver, errors, request } = await start({ isQuick: true });
		const quick = disk as QuickDisk;
		const at = driver.put(pattern(512, 4));
		quick.canDo = false;
		expect((await request(OUT, 0, [{ addr: at, length: 512 }])).status).toBe(0);
		quick.canDo = true;
		quick.failure = new DiskError("io", "guest.img", "broken");
		expect((await request(IN, 0, [{ addr: at, length: 512, isWritable: true }])).status).toBe(1);
		expect(errors).toEqual([quick.failure]);
		expect(disk.log).toEqual(["write 0+512", "read 0+512"]);
		const through = await start({ isQuick: true, wanted: ~(F_FLUSH | F_CONFIG_WCE) });
		await through.request(OUT, 0, [{ addr: through.driver.put(pattern(512, 5)), length: 512 }]);
		expect(through.disk.log).toEqual(["write 0+512", "flush"]);
	});
});

describe("VirtioBlock", () => {
	it("describes the disk (§5.2.4)", async () => {
		const { driver } = await start({ sectorBytes: 4096 });
		expect(driver.get(0x2000, 4)).toBe(DISK_BYTES / 512);
		expect(driver.get(0x2000 + 20, 4)).toBe(4096);
		expect(driver.get(0x2000 + 12, 4)).toBe(254);
		expect(driver.get(0x2000 + 24, 1)).toBe(0);
	});

	it("reads what it wrote, over buffers cut in any way (§2.7.4.1)", async () => {
		const { driver, request, store } = await start();
		const bytes = pattern(8192, 1);
		const at = driver.put(bytes);
		const written = await request(OUT, 8, [
			{ addr: at, length: 1 },
			{ addr: at + 1, length: 5000 },
			{ addr: at + 5001, length: 3191 },
		]);
		expect(written.status).toBe(0);
		expectBytes(store.contents().subarray(4096, 4096 + 8192), bytes);
		const into = driver.alloc(8192);
		const read = await request(IN, 8, [
			{ addr: into, length: 700, isWritable: true },
			{ addr: into + 700, length: 7492, isWritable: true },
		]);
		expect(read).toEqual({ status: 0, length: 8193 });
		expectBytes(driver.bytes(into, 8192), bytes);
	});

	it("moves a request longer than one piece", async () => {
		const { driver, request, store } = await start({ sizeBytes: 8 * 1024 * 1024 });
		const bytes = pattern(5 * 1024 * 1024, 3);
		const at = driver.put(bytes);
		expect((await request(OUT, 16, [{ addr: at, length: bytes.length }])).status).toBe(0);
		expectBytes(store.contents().subarray(8192, 8192 + bytes.length), bytes);
		driver.memory.write(at, new Uint8Array(bytes.length));
		expect((await request(IN, 16, [{ addr: at, length: bytes.length, isWritable: true }])).status).toBe(0);
		expectBytes(driver.bytes(at, bytes.length), bytes);
	});

	it("keeps many requests in flight and the memory untouched until the inbox is drained", async () => {
		const { disk, driver, inbox, queue, submit, device } = await start();
		let open = () => {};
		disk.gate = new Promise((resolve) => {
			open = resolve;
		});
		const into = driver.alloc(8 * 512);
		driver.memory.write(into, new Uint8Array(8 * 512).fill(0xcc));
		for (let i = 0; i < 8; i++) submit(IN, i, [{ addr: into + i * 512, length: 512, isWritable: true }]);
		queue.ring();
		expect(disk.log.length).toBe(8);
		expect(device.inFlight).toBe(8);
		open();
		await new Promise((resolve) => setTimeout(resolve, 5));
		expect(driver.bytes(into, 1)[0]).toBe(0xcc);
		expect(queue.collect()).toEqual([]);
		await inbox.until(() => device.inFlight === 0);
		expect(queue.collect().length).toBe(8);
		expect(driver.bytes(into, 8 * 512).every((byte) => byte === 0)).toBe(true);
	});

	it("§5.2.6.2 flushes when asked, not before; and every write where no cache was agreed on", async () => {
		const cached = await start();
		const data = [{ addr: cached.driver.alloc(512), length: 512 }];
		await cached.request(OUT, 0, data);
		expect(cached.disk.log).toEqual(["write 0+512"]);
		expect((await cached.request(FLUSH, 0)).status).toBe(0);
		expect(cached.disk.log).toEqual(["write 0+512", "flush"]);

		const through = await start({ wanted: ~(F_FLUSH | F_CONFIG_WCE) });
		await through.request(OUT, 0, data);
		expect(through.disk.log).toEqual(["write 0+512", "flush"]);
	});

	it("§5.2.5 changes to write-through when the guest says so", async () => {
		const { disk, driver, request } = await start();
		expect(driver.get(0x2020, 1)).toBe(1);
		driver.set(0x2020, 1, 0);
		expect(driver.get(0x2020, 1)).toBe(0);
		await request(OUT, 0, [{ addr: driver.alloc(512), length: 512 }]);
		expect(disk.log).toEqual(["write 0+512", "flush"]);
	});

	it("discards and zeroes ranges", async () => {
		const { disk, driver, request, store } = await start();
		await store.write(0, pattern(DISK_BYTES, 2));
		const segments = new DataView(new ArrayBuffer(32));
		segments.setUint32(0, 8, true);
		segments.setUint32(8, 16, true);
		segments.setUint32(16, 100, true);
		segments.setUint32(24, 1, true);
		const addr = driver.put(new Uint8Array(segments.buffer));
		expect((await request(WRITE_ZEROES, 0, [{ addr, length: 32 }])).status).toBe(0);
		expect(disk.log).toEqual(["zero 4096+8192", "zero 51200+512"]);
		const expected = pattern(DISK_BYTES, 2);
		expected.fill(0, 4096, 4096 + 8192).fill(0, 51200, 51712);
		expectBytes(store.contents(), expected);
		expect((await request(DISCARD, 0, [{ addr, length: 16 }])).status).toBe(0);
		expect(disk.log.at(-1)).toBe("discard 4096+8192");
	});

	it("answers GET_ID", async () => {
		const { driver, request } = await start();
		const addr = driver.alloc(20);
		expect((await request(GET_ID, 0, [{ addr, length: 20, isWritable: true }])).status).toBe(0);
		expect(String.fromCharCode(...driver.bytes(addr, 8))).toBe("BJ-0001\0");
	});

	it.each([
		["a read past the end", IN, DISK_BYTES / 512, 512, true],
		["a write that runs past the end", OUT, DISK_BYTES / 512 - 1, 1024, false],
		["half a sector", IN, 0, 100, true],
		["a sector number beyond all bounds", OUT, 2 ** 62, 512, false],
		["a discard segment cut short", DISCARD, 0, 15, false],
	])("answers %s with an I/O error", async (_, type, sector, length, isWritable) => {
		const { disk, driver, request } = await start();
		expect((await request(type, sector, [{ addr: driver.alloc(length), length, isWritable }])).status).toBe(1);
		expect(disk.log).toEqual([]);
	});

	it("answers what it does not know with 'unsupported'", async () => {
		const { driver, request } = await start();
		expect((await request(77, 0)).status).toBe(2);
		const segment = new Uint8Array(16);
		segment[8] = 1;
		segment[12] = 2;
		expect((await request(WRITE_ZEROES, 0, [{ addr: driver.put(segment), length: 16 }])).status).toBe(2);
	});

	it("is read-only when its disk is", async () => {
		const { disk, driver, request } = await start({ isReadOnly: true });
		expect(driver.features & (1n << 5n)).toBe(1n << 5n);
		expect((await request(OUT, 0, [{ addr: driver.alloc(512), length: 512 }])).status).toBe(1);
		expect(disk.log).toEqual([]);
	});

	it("tells the guest of a host failure, and the host too", async () => {
		const { disk, driver, errors, request } = await start();
		disk.failure = new DiskError("io", "guest.img", "EIO");
		expect((await request(IN, 0, [{ addr: driver.alloc(512), length: 512, isWritable: true }])).status).toBe(1);
		expect(errors).toEqual([disk.failure]);
	});

	it("tells the guest of a disk that has grown", async () => {
		const { device, driver, request } = await start();
		const store = new MemoryStore("grown");
		await store.truncate(2 * DISK_BYTES);
		const generation = driver.get(21, 1);
		device.replaceDisk(await RawDisk.open(store));
		expect(driver.get(0x2000, 4)).toBe((2 * DISK_BYTES) / 512);
		expect(driver.get(21, 1)).not.toBe(generation);
		expect(driver.get(0x1000, 1) & 2).toBe(2);
		expect((await request(OUT, (2 * DISK_BYTES) / 512 - 1, [{ addr: driver.alloc(512), length: 512 }])).status).toBe(0);
	});

	it("wants a reset after a request without header or status", async () => {
		for (const buffers of [[{ addr: 0x1000, length: 16 }], [{ addr: 0x1000, length: 4, isWritable: true }]]) {
			const { driver, queue } = await start();
			queue.add(buffers);
			queue.ring();
			expect(driver.status & 64).toBe(64);
		}
	});

	it("after a reset, starts nothing before the disk is done with the former life", async () => {
		const { disk, driver, inbox, submit, queue } = await start();
		let open = () => {};
		disk.gate = new Promise((resolve) => {
			open = resolve;
		});
		submit(OUT, 0, [{ addr: driver.alloc(512), length: 512 }]);
		queue.ring();
		driver.start(~0n, 64);
		const again = driver.queues[0] ?? expect.fail("no queue");
		const header = driver.put(Uint8Array.of(FLUSH, ...new Array<number>(15).fill(0)));
		again.add([
			{ addr: header, length: 16 },
			{ addr: driver.alloc(1), length: 1, isWritable: true },
		]);
		again.ring();
		await new Promise((resolve) => setTimeout(resolve, 5));
		expect(disk.log).toEqual(["write 0+512"]);
		open();
		const done: unknown[] = [];
		await inbox.until(() => done.push(...again.collect()) > 0);
		expect(disk.log).toEqual(["write 0+512", "flush"]);
		expect(done.length).toBe(1);
	});

	it("quiesces, saves, and goes on in another machine", async () => {
		const { device, driver, inbox, request, queue, submit } = await start();
		driver.set(0x2020, 1, 0);
		submit(OUT, 0, [{ addr: driver.alloc(512), length: 512 }]);
		queue.ring();
		let isQuiet = false;
		device.quiesce().then(() => {
			isQuiet = true;
		});
		await inbox.until(() => isQuiet);
		expect(device.inFlight).toBe(0);
		queue.collect();
		const state = structuredClone(driver.pci.save());
		driver.pci.reset();
		driver.pci.load(state);
		expect(driver.pci.save()).toEqual(state);
		expect(driver.get(0x2020, 1)).toBe(0);
		expect((await request(FLUSH, 0)).status).toBe(0);
	});

	it("agrees with a plain array over random requests in flight", async () => {
		const operation = fc.record({
			type: fc.constantFrom(IN, OUT, FLUSH, WRITE_ZEROES),
			slot: fc.nat(15),
			count: fc.integer({ min: 1, max: 8 }),
			seed: fc.nat(1000),
		});
		await fc.assert(
			fc.asyncProperty(fc.array(fc.array(operation, { maxLength: 8 }), { maxLength: 10 }), async (rounds) => {
				const { device, driver, inbox, queue, store, submit } = await start();
				const model = new Uint8Array(DISK_BYTES);
				for (const round of rounds) {
					const checks: (() => void)[] = [];
					// Requests in flight together have a slot each: what overlaps is the guest's to order.
					for (const { type, slot, count, seed } of new Map(round.map((entry) => [entry.slot, entry])).values()) {
						const sector = slot * 8;
						const bytes = pattern(count * 512, seed);
						if (type === IN) {
							const into = driver.alloc(count * 512);
							const expected = model.slice(sector * 512, (sector + count) * 512);
							submit(IN, sector, [{ addr: into, length: count * 512, isWritable: true }]);
							checks.push(() => expectBytes(driver.bytes(into, count * 512), expected));
						} else if (type === OUT) {
							submit(OUT, sector, [{ addr: driver.put(bytes), length: bytes.length }]);
							model.set(bytes, sector * 512);
						} else if (type === WRITE_ZEROES) {
							const segment = new DataView(new ArrayBuffer(16));
							segment.setUint32(0, sector, true);
							segment.setUint32(8, count, true);
							submit(WRITE_ZEROES, 0, [{ addr: driver.put(new Uint8Array(segment.buffer)), length: 16 }]);
							model.fill(0, sector * 512, (sector + count) * 512);
						} else submit(FLUSH, 0, []);
					}
					queue.ring();
					await inbox.until(() => device.inFlight === 0);
					queue.collect();
					for (const check of checks) check();
				}
				expectBytes(store.contents(), model);
			}),
			{ numRuns: 40 },
		);
	});
});
