import { describe, expect, it } from "vitest";
import { Driver, F_EVENT_IDX, F_INDIRECT, F_VERSION_1 } from "../../tests/suites/virtio-driver.ts";
import { VirtioConsole } from "./console.ts";
import { VirtioRng } from "./rng.ts";

const rng = () => new Driver(new VirtioRng((into) => into.fill(0x5a)));

function capabilities(driver: Driver): { id: number; at: number }[] {
	const { config } = driver.pci.pci;
	const found: { id: number; at: number }[] = [];
	for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) found.push({ id: config.read(at, 1), at });
	return found;
}

describe("VirtioPci", () => {
	it("§4.1.2 shows itself as a modern device", () => {
		const { config } = rng().pci.pci;
		expect(config.read(0, 2)).toBe(0x1af4);
		expect(config.read(2, 2)).toBe(0x1040 + 4);
		expect(config.read(8, 1)).toBeGreaterThanOrEqual(1);
		expect(config.read(0x3d, 1)).toBe(1);
	});

	it("§4.1.4 lists its structures, all within the BAR", () => {
		const driver = rng();
		const { config } = driver.pci.pci;
		const vendor = capabilities(driver).filter(({ id }) => id === 9);
		expect(vendor.map(({ at }) => config.read(at + 3, 1)).sort()).toEqual([1, 2, 3, 5]);
		for (const { at } of vendor.filter((cap) => config.read(cap.at + 3, 1) !== 5)) {
			expect(config.read(at + 4, 1)).toBe(4);
			expect(config.read(at + 8, 4) + config.read(at + 12, 4)).toBeLessThanOrEqual(driver.registers.sizeBytes);
		}
		const notify = vendor.find(({ at }) => config.read(at + 3, 1) === 2);
		expect(config.read((notify?.at ?? 0) + 16, 4)).toBe(4);
	});

	it("§2.1.2 lets status bits be set, never cleared but by a reset", () => {
		const driver = rng();
		driver.set(20, 1, 1);
		driver.set(20, 1, 2);
		expect(driver.status).toBe(3);
		driver.set(20, 1, 0);
		expect(driver.status).toBe(0);
	});

	it("§2.2.2 refuses features it did not offer, and drivers without VERSION_1", () => {
		for (const features of [0n, F_EVENT_IDX, F_VERSION_1 | 1n, F_VERSION_1 | (1n << 33n)]) {
			const driver = rng();
			driver.set(20, 1, 3);
			driver.set(8, 4, 0);
			driver.set(12, 4, Number(features & 0xffff_ffffn));
			driver.set(8, 4, 1);
			driver.set(12, 4, Number(features >> 32n));
			driver.set(20, 1, 11);
			expect(driver.status).toBe(3);
			driver.set(20, 1, 15);
			expect(driver.status & 4).toBe(0);
		}
	});

	it("offers exactly the ring features it keeps", () => {
		expect(rng().features).toBe(F_VERSION_1 | F_EVENT_IDX | F_INDIRECT);
	});

	it("settles features once FEATURES_OK stands", () => {
		const driver = rng();
		driver.start();
		driver.set(8, 4, 1);
		driver.set(12, 4, 0);
		expect(driver.get(12, 4)).toBe(1);
	});

	it("sends MSI-X messages by queue, holds them while masked, keeps INTx quiet", () => {
		const driver = rng();
		driver.start();
		driver.useMsix();
		const queue = driver.queues[0] ?? expect.fail("no queue");
		const request = [{ addr: driver.alloc(8), length: 8, isWritable: true }];
		queue.add(request);
		queue.ring();
		expect(driver.messages).toEqual([{ address: 0xfee0_0000, data: 0x101 }]);
		expect(driver.intx).toBe(false);
		queue.collect();
		const msix = driver.pci.pci.bars.find((bar) => bar.index === 1) ?? expect.fail("no MSI-X BAR");
		msix.handler.write(16 + 12, 4, 1);
		queue.add(request);
		queue.ring();
		expect(driver.messages.length).toBe(1);
		msix.handler.write(16 + 12, 4, 0);
		expect(driver.messages.length).toBe(2);
	});

	it("§4.1.5.1.2.1 answers a vector it does not have with NO_VECTOR", () => {
		const driver = rng();
		driver.set(16, 2, 77);
		expect(driver.get(16, 2)).toBe(0xffff);
		driver.set(16, 2, 1);
		expect(driver.get(16, 2)).toBe(1);
		driver.set(20, 1, 0);
		expect(driver.get(16, 2)).toBe(0xffff);
	});

	it("§4.1.4.3.1 gives a queue that is not there the size 0", () => {
		const driver = rng();
		driver.set(22, 2, 5);
		expect(driver.get(24, 2)).toBe(0);
		driver.set(28, 2, 1);
		expect(driver.get(28, 2)).toBe(0);
	});

	it("takes nothing from rings while bus mastering is off, and catches up when it comes back", () => {
		const driver = rng();
		driver.start();
		const queue = driver.queues[0] ?? expect.fail("no queue");
		driver.pci.pci.config.write(4, 2, 2);
		queue.add([{ addr: driver.alloc(8), length: 8, isWritable: true }]);
		queue.ring();
		expect(queue.collect()).toEqual([]);
		driver.pci.pci.config.write(4, 2, 6);
		expect(queue.collect().length).toBe(1);
	});

	it("§4.1.4.9 reaches its registers through configuration space", () => {
		const driver = rng();
		const { config } = driver.pci.pci;
		const cap = capabilities(driver).find(({ at }) => config.read(at + 3, 1) === 5)?.at ?? expect.fail("no capability");
		config.write(cap + 4, 1, 4);
		config.write(cap + 8, 4, 20);
		config.write(cap + 12, 4, 1);
		config.write(cap + 16, 1, 1);
		expect(driver.status).toBe(1);
		config.write(cap + 16, 1, 3);
		expect(config.read(cap + 16, 1)).toBe(3);
		config.write(cap + 8, 4, 0xffff_fff0);
		config.write(cap + 16, 4, 0xffff_ffff);
		expect(driver.status).toBe(3);
	});

	it("bumps the generation when the configuration changes (§2.5.1)", () => {
		const device = new VirtioConsole({ onOutput: () => {} });
		const driver = new Driver(device);
		driver.start();
		const before = driver.get(21, 1);
		device.resize(132, 50);
		expect(driver.get(21, 1)).not.toBe(before);
		expect(driver.get(0x1000, 1)).toBe(2);
		expect([driver.get(0x2000, 2), driver.get(0x2002, 2)]).toEqual([132, 50]);
	});
});

describe("VirtioRng", () => {
	it("fills what the guest gives it, in bounds", () => {
		const driver = rng();
		driver.start();
		const queue = driver.queues[0] ?? expect.fail("no queue");
		const addr = driver.alloc(32);
		const head = queue.add([{ addr, length: 20, isWritable: true }]);
		queue.ring();
		expect(queue.collect()).toEqual([{ head, length: 20 }]);
		expect([...driver.bytes(addr, 21)]).toEqual([...new Array<number>(20).fill(0x5a), 0]);
	});
});
