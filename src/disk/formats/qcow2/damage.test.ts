import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { nodeCodecs } from "../../../host/node/disk/codecs.ts";
import { DiskError } from "../../disk.ts";
import { MemoryStore } from "../../memory-store.ts";
import { checkQcow2, repair } from "./check.ts";
import { createQcow2 } from "./create.ts";
import { Qcow2Disk } from "./qcow2-disk.ts";
import { readSnapshots } from "./snapshots.ts";

const SIZE_BYTES = 256 * 1024;

async function sample(): Promise<Uint8Array> {
	const store = new MemoryStore("sample");
	await createQcow2(store, { sizeBytes: SIZE_BYTES, clusterBits: 9 });
	const disk = await Qcow2Disk.open(store, { codecs: nodeCodecs });
	await disk.write(0, pattern(64 * 1024, 1));
	await disk.writeCompressed(65536, new Uint8Array(65536).fill(3));
	await disk.writeZeroes(131072, 4096);
	await disk.close();
	return store.contents();
}

/** Uses an image in every way there is; whatever fails must fail as a DiskError that names the file. */
async function useUp(store: MemoryStore): Promise<number> {
	let failures = 0;
	const attempt = async (work: () => Promise<unknown>) => {
		try {
			await work();
		} catch (error) {
			if (!(error instanceof DiskError)) throw error;
			expect(error.where).toBe(store.name);
			failures++;
		}
	};
	await attempt(() => checkQcow2(store));
	await attempt(async () => {
		const disk = await Qcow2Disk.open(store, { codecs: nodeCodecs, isReadOnly: true });
		await attempt(() => readSnapshots(store, disk.header));
		const end = Math.min(disk.sizeBytes, SIZE_BYTES);
		for (let at = 0; at < end; at += 16384) await attempt(() => disk.read(at, new Uint8Array(Math.min(16384, end - at))));
	});
	await attempt(async () => {
		const disk = await Qcow2Disk.open(store, { codecs: nodeCodecs });
		for (let at = 0; at + 8192 <= Math.min(disk.sizeBytes, SIZE_BYTES); at += 32768) {
			await attempt(() => disk.write(at, new Uint8Array(8192)));
			await attempt(() => disk.discard(at + 4096, 4096));
		}
		await attempt(() => disk.close());
	});
	await attempt(() => repair(store));
	return failures;
}

describe("damaged images end in a DiskError, soon", () => {
	it("with any bytes of header and tables changed", { timeout: 120_000 }, async () => {
		const good = await sample();
		const change = fc.record({
			at: fc.oneof(fc.nat(120), fc.nat(4095), fc.nat(good.length - 1)),
			bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
		});
		await fc.assert(
			fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
				const bytes = good.slice();
				for (const { at, bytes: part } of changes) bytes.set(part.subarray(0, bytes.length - at), at);
				await useUp(new MemoryStore("damaged", bytes));
			}),
			{ numRuns: 400 },
		);
	});

	it("cut off at any length", async () => {
		const good = await sample();
		for (let length = 0; length < good.length; length += 509) await useUp(new MemoryStore("cut", good.slice(0, length)));
	});

	it("with sizes beyond reason", async () => {
		const good = await sample();
		for (const [at, value] of [
			[20, 0x40],
			[24, 0x7fff_ffff],
			[36, 0xffff_ffff],
			[40, 0x7fff_ffff],
			[56, 0xffff_ffff],
			[60, 0x0100_0000],
			[96, 40],
			[100, 0xffff_fff8],
		] as const) {
			const bytes = good.slice();
			new DataView(bytes.buffer).setUint32(at, value);
			const store = new MemoryStore("absurd", bytes);
			await expect(Qcow2Disk.open(store)).rejects.toBeInstanceOf(DiskError);
		}
	});

	it("names the place", async () => {
		const bytes = await sample();
		const l1Offset = Number(new DataView(bytes.buffer).getBigUint64(40));
		new DataView(bytes.buffer).setBigUint64(l1Offset, 0x8000_0000_00f0_0000n);
		const disk = await Qcow2Disk.open(new MemoryStore("broken.qcow2", bytes), { isReadOnly: true });
		await expect(disk.read(0, new Uint8Array(512))).rejects.toMatchObject({
			kind: "corrupt",
			where: "broken.qcow2",
			offsetBytes: l1Offset,
			message: expect.stringContaining(`broken.qcow2 at offset ${l1Offset}`),
		});
	});

	it("is not written to when it is marked corrupt, unless told to", async () => {
		const bytes = await sample();
		bytes[79] = 2;
		const store = new MemoryStore("marked", bytes.slice());
		await expect(Qcow2Disk.open(store)).rejects.toMatchObject({ kind: "corrupt" });
		await Qcow2Disk.open(store, { isReadOnly: true });
		expectBytes(store.contents(), bytes);
		await repair(store);
		await Qcow2Disk.open(store);
	});

	it("never hands out a cluster that holds tables, whatever the counts say", async () => {
		const bytes = await sample();
		const view = new DataView(bytes.buffer);
		const block = Number(view.getBigUint64(Number(view.getBigUint64(48))));
		const l1Cluster = Number(view.getBigUint64(40)) / 512;
		view.setUint16(block + 2 * l1Cluster, 0);
		const disk = await Qcow2Disk.open(new MemoryStore("lying", bytes));
		await expect(disk.write(200 * 1024, pattern(4096, 1))).rejects.toMatchObject({ kind: "corrupt", offsetBytes: l1Cluster * 512 });
	});
});

/** A medium with a volatile cache: what was not flushed may reach it in part, sector by sector, or not at all. */
class VolatileStore extends MemoryStore {
	readonly durable = new MemoryStore("durable");
	#cached: { offset: number; bytes: Uint8Array }[] = [];

	override async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		await super.write(offsetBytes, from);
		this.#cache(offsetBytes, from);
	}

	override writeNow(offsetBytes: number, from: readonly Uint8Array[]): boolean {
		const whole = new Uint8Array(Buffer.concat(from));
		this.#cache(offsetBytes, whole);
		return super.writeNow(offsetBytes, [whole]);
	}

	#cache(offsetBytes: number, from: Uint8Array): void {
		for (let at = 0; at < from.length; ) {
			const count = Math.min(512 - ((offsetBytes + at) % 512), from.length - at);
			this.#cached.push({ offset: offsetBytes + at, bytes: from.slice(at, at + count) });
			at += count;
		}
	}

	override async flush(): Promise<void> {
		const cached = this.#cached;
		this.#cached = [];
		for (const { offset, bytes } of cached) await this.durable.write(offset, bytes);
	}

	/** The medium after power has failed now. */
	async cutPower(survives: () => boolean): Promise<MemoryStore> {
		const after = new MemoryStore("after", this.durable.contents());
		for (const { offset, bytes } of this.#cached) if (survives()) await after.write(offset, bytes);
		return after;
	}
}

describe("a power failure at any moment", () => {
	it("leaves a clean image with everything flushed in it", { timeout: 120_000 }, async () => {
		const SECTORS = 256;
		const operation = fc.record({
			kind: fc.constantFrom("write", "write", "write", "zero", "discard", "flush"),
			sector: fc.nat(SECTORS - 1),
			sectors: fc.integer({ min: 1, max: 40 }),
			seed: fc.nat(255),
			cut: fc.boolean(),
		});
		await fc.assert(
			fc.asyncProperty(
				fc.array(operation, { minLength: 10, maxLength: 60 }),
				fc.nat(0xffff),
				fc.constantFrom(9, 10, 12),
				async (operations, seed, clusterBits) => {
					let random = seed;
					const survives = () => (random = (Math.imul(random, 1664525) + 1013904223) >>> 0) >>> 31 === 1;
					const store = new VolatileStore("volatile");
					await createQcow2(store, { sizeBytes: SECTORS * 512, clusterBits });
					const disk = await Qcow2Disk.open(store);
					/** What each sector may hold: the last flushed first, then everything since. */
					const allowed: Uint8Array[][] = Array.from({ length: SECTORS }, () => [new Uint8Array(512)]);
					const afterwards = async () => {
						const image = await store.cutPower(survives);
						const report = await checkQcow2(image);
						expect(report.problems.filter(({ kind }) => kind === "error")).toEqual([]);
						const again = await Qcow2Disk.open(image);
						const bytes = await readBytes(again, 0, SECTORS * 512);
						for (const [index, values] of allowed.entries()) {
							const sector = bytes.subarray(index * 512, index * 512 + 512);
							if (!values.some((value) => Buffer.compare(value, sector) === 0)) expect.fail(`sector ${index} holds what nobody wrote`);
						}
					};
					for (const { kind, sector, sectors, seed: content, cut } of operations) {
						const count = Math.min(sectors, SECTORS - sector);
						const bytes = kind === "write" ? pattern(count * 512, content) : new Uint8Array(count * 512);
						if (kind !== "flush") for (let i = 0; i < count; i++) allowed[sector + i]?.push(bytes.slice(i * 512, i * 512 + 512));
						if (kind === "write") {
							if (content % 2 === 0 || !disk.writeNow(sector * 512, [bytes])) await disk.write(sector * 512, bytes);
						} else if (kind === "zero") await disk.writeZeroes(sector * 512, count * 512);
						else if (kind === "discard") await disk.discard(sector * 512, count * 512);
						else {
							const flushing = disk.flush();
							if (cut) await afterwards();
							await flushing;
							const now = await readBytes(disk, 0, SECTORS * 512);
							for (const index of allowed.keys()) allowed[index] = [now.slice(index * 512, index * 512 + 512)];
						}
						if (cut) await afterwards();
					}
				},
			),
			{ numRuns: 60 },
		);
	});

	it("loses nothing that had been flushed while other writes go on", async () => {
		const store = new VolatileStore("volatile");
		await createQcow2(store, { sizeBytes: 16 * MIB, clusterBits: 12 });
		const disk = await Qcow2Disk.open(store);
		const others: Promise<void>[] = [];
		for (let i = 0; i < 40; i++) {
			await disk.write(i * 8192, pattern(8192, i));
			for (let k = 0; k < 4; k++) others.push(disk.write(8 * MIB + (i * 4 + k) * 12288, pattern(12288, k)));
			await disk.flush();
			const image = await store.cutPower(() => (i & 1) === 0);
			expect((await checkQcow2(image)).problems.filter(({ kind }) => kind === "error")).toEqual([]);
			const again = await Qcow2Disk.open(image);
			for (let k = 0; k <= i; k++) expectBytes(await readBytes(again, k * 8192, 8192), pattern(8192, k));
		}
		await Promise.all(others);
	});
});

describe("an image whose clusters have the wrong owners is not written to", () => {
	/** The L2 table of the sample's first clusters: where it lies, and its bytes. */
	async function spoilt(spoil: (view: DataView, l2Offset: number) => void): Promise<MemoryStore> {
		const bytes = await sample();
		const view = new DataView(bytes.buffer);
		spoil(view, Number(view.getBigUint64(Number(view.getBigUint64(40))) & 0xff_ffff_ffff_fe00n));
		return new MemoryStore("spoilt", bytes);
	}
	const entryOf = (view: DataView, l2Offset: number, index: number) => view.getBigUint64(l2Offset + 8 * index);

	it.each([
		[
			"two guest clusters in one place",
			"belongs to another guest cluster",
			(view: DataView, l2: number) => view.setBigUint64(l2 + 8, entryOf(view, l2, 0)),
		],
		[
			"a guest cluster where tables lie",
			"holds tables",
			(view: DataView, l2: number) => view.setBigUint64(l2 + 8, BigInt(l2) | (1n << 63n)),
		],
		[
			"a guest cluster in the header's place",
			"counted as free|holds tables|said to lie",
			(view: DataView, l2: number) => view.setBigUint64(l2 + 8, 512n | (1n << 63n)),
		],
		["an entry with reserved bits", "reserved bits", (view: DataView, l2: number) => view.setUint8(l2 + 8, 0xbf)],
		[
			"an L2 table named twice",
			"named twice",
			(view: DataView, _l2: number) => {
				const l1 = Number(view.getBigUint64(40));
				view.setBigUint64(l1 + 8, view.getBigUint64(l1));
			},
		],
	] as const)("%s", async (_what, message, spoil) => {
		const store = await spoilt(spoil);
		const before = store.contents();
		await expect(Qcow2Disk.open(store, { codecs: nodeCodecs })).rejects.toMatchObject({
			kind: "corrupt",
			where: "spoilt",
			offsetBytes: expect.any(Number),
			message: expect.stringMatching(message),
		});
		expectBytes(store.contents(), before);
		await Qcow2Disk.open(store, { codecs: nodeCodecs, isReadOnly: true });
		await Qcow2Disk.open(store, { codecs: nodeCodecs, force: true });
	});

	it("is written to again once shared clusters have been counted", async () => {
		const store = await spoilt((view, l2) => view.setBigUint64(l2 + 8, entryOf(view, l2, 0)));
		await repair(store);
		const disk = await Qcow2Disk.open(store, { codecs: nodeCodecs });
		await disk.write(0, pattern(512, 9));
		expectBytes(await readBytes(disk, 512, 512), pattern(64 * 1024, 1).subarray(0, 512));
		await disk.close();
		// Its former partner is alone now and does not know.
		expect((await checkQcow2(store)).problems.every(({ message }) => message.includes("wrongly marked as shared"))).toBe(true);
	});

	it("is not counted afresh either, if it is dirty", async () => {
		const store = await spoilt((view, l2) => {
			view.setBigUint64(l2 + 8, entryOf(view, l2, 0));
			view.setUint8(79, 1);
		});
		const before = store.contents();
		await expect(Qcow2Disk.open(store)).rejects.toMatchObject({ kind: "corrupt", message: expect.stringContaining("is damaged") });
		expectBytes(store.contents(), before);
	});
});
