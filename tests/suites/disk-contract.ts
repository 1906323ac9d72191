import { describe, expect, it } from "vitest";
import { type Disk, DiskError } from "../../src/disk/disk.ts";

export const MIB = 1024 * 1024;

/** Bytes that differ from place to place and from seed to seed. */
export function pattern(lengthBytes: number, seed: number): Uint8Array {
	const bytes = new Uint8Array(lengthBytes);
	let state = (seed * 2654435761 + 1) >>> 0;
	for (let i = 0; i < lengthBytes; i++) {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		bytes[i] = state >>> 24;
	}
	return bytes;
}

export async function readBytes(disk: Disk, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
	const into = new Uint8Array(lengthBytes).fill(0xa5);
	await disk.read(offsetBytes, into);
	return into;
}

/** As `toEqual`, many times faster on large arrays; a difference is reported by its place. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
	if (Buffer.compare(actual, expected) === 0) return;
	const at = actual.findIndex((byte, i) => byte !== expected[i]);
	expect.fail(`bytes differ from ${at} on: ${actual[at]} instead of ${expected[at]} (lengths ${actual.length}, ${expected.length})`);
}

export interface DiskUnderTest {
	readonly disk: Disk;
	/** Closes the disk and opens the same bytes again. */
	reopen(): Promise<Disk>;
}

/** What every `Disk` promises. `make` gives a fresh disk of `sizeBytes` zeros. */
export function diskContract(name: string, make: (sizeBytes: number) => Promise<DiskUnderTest>): void {
	describe(`${name} keeps the Disk contract`, () => {
		it("starts out as zeros of the size asked for", async () => {
			const { disk } = await make(3 * MIB);
			expect(disk.sizeBytes).toBe(3 * MIB);
			expect((await readBytes(disk, 0, 3 * MIB)).every((byte) => byte === 0)).toBe(true);
			await disk.close();
		});

		it("gives back what was written, in other pieces too", async () => {
			const { disk } = await make(4 * MIB);
			const bytes = pattern(300 * 1024, 1);
			await disk.write(MIB - 4096, bytes);
			expectBytes(await readBytes(disk, MIB - 4096, bytes.length), bytes);
			for (let at = 0; at < bytes.length; at += 12288)
				expectBytes(await readBytes(disk, MIB - 4096 + at, 12288), bytes.subarray(at, at + 12288));
			expect((await readBytes(disk, MIB - 8192, 4096)).every((byte) => byte === 0)).toBe(true);
			await disk.close();
		});

		it("keeps it over flush, close and open", async () => {
			const made = await make(2 * MIB);
			const bytes = pattern(64 * 1024, 2);
			await made.disk.write(2 * MIB - bytes.length, bytes);
			await made.disk.flush();
			const disk = await made.reopen();
			expect(disk.sizeBytes).toBe(2 * MIB);
			expectBytes(await readBytes(disk, 2 * MIB - bytes.length, bytes.length), bytes);
			await disk.close();
		});

		it("zeroes exactly the range asked for", async () => {
			const made = await make(2 * MIB);
			await made.disk.write(0, pattern(2 * MIB, 3));
			const expected = pattern(2 * MIB, 3);
			for (const [offset, length] of [
				[8192, 4096],
				[100 * 4096, 300 * 1024],
				[2 * MIB - 4096, 4096],
				[MIB, 0],
			] as const) {
				await made.disk.writeZeroes(offset, length);
				expected.fill(0, offset, offset + length);
			}
			expectBytes(await readBytes(made.disk, 0, 2 * MIB), expected);
			const disk = await made.reopen();
			expectBytes(await readBytes(disk, 0, 2 * MIB), expected);
			await disk.close();
		});

		it("a discard touches nothing outside of its range", async () => {
			const { disk } = await make(2 * MIB);
			const bytes = pattern(2 * MIB, 4);
			await disk.write(0, bytes);
			await disk.discard(12288, MIB);
			expectBytes(await readBytes(disk, 0, 12288), bytes.subarray(0, 12288));
			expectBytes(await readBytes(disk, 12288 + MIB, 4096), bytes.subarray(12288 + MIB, 12288 + MIB + 4096));
			const again = pattern(4096, 5);
			await disk.write(16384, again);
			expectBytes(await readBytes(disk, 16384, 4096), again);
			await disk.close();
		});

		it("serves many requests side by side", async () => {
			const { disk } = await make(4 * MIB);
			const expected = new Uint8Array(4 * MIB);
			const writes: Promise<void>[] = [];
			for (let i = 0; i < 64; i++) {
				// Neighbours, so that a format's clusters are shared between requests in flight.
				const bytes = pattern(20480, i + 10);
				expected.set(bytes, i * 20480);
				writes.push(disk.write(i * 20480, bytes));
				if (i % 8 === 7) writes.push(disk.flush());
				if (i % 16 === 15) writes.push(disk.writeZeroes(3 * MIB + i * 4096, 4096));
			}
			await Promise.all(writes);
			const parts = await Promise.all(Array.from({ length: 16 }, (_, i) => readBytes(disk, (i * MIB) / 4, MIB / 4)));
			parts.forEach((part, i) => {
				expectBytes(part, expected.subarray((i * MIB) / 4, ((i + 1) * MIB) / 4));
			});
			await disk.close();
		});

		it("a read after a write has ended sees it, whatever else is in flight", async () => {
			const { disk } = await make(2 * MIB);
			const others: Promise<void>[] = [];
			for (let i = 0; i < 32; i++) {
				const bytes = pattern(8192, 100 + i);
				others.push(disk.write(MIB + i * 8192, pattern(8192, i)));
				await disk.write(i * 8192, bytes);
				expectBytes(await readBytes(disk, i * 8192, 8192), bytes);
			}
			await Promise.all(others);
			await disk.close();
		});

		it("refuses what lies outside or between sectors, and changes nothing", async () => {
			const { disk } = await make(MIB);
			const sector = disk.sectorBytes;
			const bad = [
				() => disk.read(MIB, new Uint8Array(sector)),
				() => disk.write(MIB - sector, new Uint8Array(2 * sector)),
				() => disk.read(1, new Uint8Array(sector)),
				() => disk.write(0, new Uint8Array(sector - 1)),
				() => disk.writeZeroes(-sector, sector),
				() => disk.discard(MIB, sector),
			];
			for (const attempt of bad) {
				const error = await attempt().then(
					() => undefined,
					(reason: unknown) => reason,
				);
				expect(error).toBeInstanceOf(DiskError);
				expect((error as DiskError).kind).toBe("out-of-range");
			}
			expect((await readBytes(disk, 0, MIB)).every((byte) => byte === 0)).toBe(true);
			await disk.close();
		});
	});
}
