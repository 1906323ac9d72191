import fc from "fast-check";
import { expect, it } from "vitest";
import { diskContract, expectBytes, MIB, pattern, readBytes } from "../../tests/suites/disk-contract.ts";
import { MemoryLayerFolder } from "../disk/layers/layer-folder.ts";
import { MemoryStore } from "../disk/memory-store.ts";
import { RawDisk } from "../disk/raw.ts";
import { diskDifference } from "./diff.ts";
import { LayeredDisk, mayDiffer } from "./layered-disk.ts";

const options = { clusterBits: 12 };

diskContract("LayeredDisk", async (sizeBytes) => {
	const store = new MemoryStore("base", new Uint8Array(sizeBytes));
	const folder = new MemoryLayerFolder();
	const base = () => RawDisk.open(store);
	const disk = await LayeredDisk.open(await base(), folder, options);
	await disk.write(0, pattern(4096, 9));
	await disk.seal();
	await disk.writeZeroes(0, 4096);
	return {
		disk,
		reopen: async () => {
			await disk.close();
			return LayeredDisk.open(await base(), folder, options);
		},
	};
});

it("writes in place until it is sealed, and never again after", async () => {
	const store = new MemoryStore("base", new Uint8Array(MIB));
	const disk = await LayeredDisk.open(await RawDisk.open(store), new MemoryLayerFolder(), options);
	await disk.write(0, pattern(4096, 1));
	expectBytes(store.contents().subarray(0, 4096), pattern(4096, 1));
	expect(await disk.seal()).toEqual([]);
	await disk.write(0, pattern(4096, 2));
	expectBytes(store.contents().subarray(0, 4096), pattern(4096, 1));
	expect(await disk.seal()).toEqual(["000001.qcow2"]);
	// Nothing has been written since: no layer more.
	expect(await disk.seal()).toEqual(["000001.qcow2"]);
});

it("goes back to whatever was sealed, in any order, and its forks go their own ways", async () => {
	const step = fc.oneof(
		fc.record({ kind: fc.constant("write" as const), at: fc.nat(15), seed: fc.nat(255), isAtOnce: fc.boolean() }),
		fc.record({ kind: fc.constant("seal" as const) }),
		fc.record({ kind: fc.constantFrom("restore" as const, "fork" as const, "drop" as const), which: fc.nat(9) }),
	);
	await fc.assert(
		fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
			const folder = new MemoryLayerFolder();
			const disk = await LayeredDisk.open(await RawDisk.open(new MemoryStore("base", new Uint8Array(16 * 4096))), folder, options);
			let model = new Uint8Array(16 * 4096);
			const sealed: { layers: readonly string[]; model: Uint8Array }[] = [];
			for (const each of steps) {
				const chosen = each.kind === "write" || each.kind === "seal" ? undefined : sealed[each.which % Math.max(1, sealed.length)];
				if (each.kind === "write") {
					const bytes = pattern(4096, each.seed);
					if (!each.isAtOnce || !disk.writeNow(each.at * 4096, [bytes])) await disk.write(each.at * 4096, bytes);
					const read = new Uint8Array(4096);
					if (disk.readNow(each.at * 4096, [read])) expectBytes(read, bytes);
					model.set(pattern(4096, each.seed), each.at * 4096);
				} else if (each.kind === "seal") sealed.push({ layers: await disk.seal(), model: model.slice() });
				else if (chosen === undefined) continue;
				else if (each.kind === "restore") {
					await disk.restore(chosen.layers);
					model = chosen.model.slice();
				} else if (each.kind === "drop") {
					sealed.splice(sealed.indexOf(chosen), 1);
					await disk.sweep(sealed.flatMap(({ layers }) => layers));
				} else {
					const fork = await disk.fork(chosen.layers);
					expectBytes(await readBytes(fork, 0, model.length), chosen.model);
					await fork.write(0, pattern(8192, 77));
					await fork.close();
				}
				expectBytes(await readBytes(disk, 0, model.length), model);
			}
		}),
		{ numRuns: 40 },
	);
});

it("says where two states differ, by the layers that only one of them has", async () => {
	const folder = new MemoryLayerFolder();
	const disk = await LayeredDisk.open(await RawDisk.open(new MemoryStore("base", pattern(64 * 4096, 3))), folder, options);
	const first = await disk.seal();
	await disk.write(8 * 4096, pattern(4096, 5));
	const second = await disk.seal();
	await disk.write(8 * 4096, pattern(4096, 6));
	await disk.write(20 * 4096 + 512, pattern(512, 7));
	// Written, but with what was there.
	await disk.write(40 * 4096, await readBytes(disk, 40 * 4096, 4096));
	const third = await disk.seal();
	const differ = async (a: readonly string[], b: readonly string[]) => {
		const [left, right] = [await disk.fork(a), await disk.fork(b)];
		const extents = await diskDifference(left, right, await mayDiffer(folder, a, b));
		await left.close();
		await right.close();
		return extents.map(({ offsetBytes, lengthBytes }) => [offsetBytes / 4096, lengthBytes / 4096]);
	};
	expect(await differ(second, third)).toEqual([
		[8, 1],
		[20, 1],
	]);
	expect(await differ(first, second)).toEqual([[8, 1]]);
	expect(await differ(third, third)).toEqual([]);
});
