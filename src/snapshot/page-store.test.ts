import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../base/units.ts";
import { MemoryPageFile } from "./page-file.ts";
import { PageStore, ZERO_PAGE } from "./page-store.ts";
import { PageTables } from "./page-table.ts";

function page(seed: number): Uint8Array {
	const bytes = new Uint8Array(PAGE_BYTES);
	if (seed !== 0) for (let i = 0; i < PAGE_BYTES; i++) bytes[i] = Math.imul(i + 1, seed * 2654435761) >>> 24;
	return bytes;
}

function put(store: PageStore, ...seeds: number[]): number[] {
	for (const [i, seed] of seeds.entries()) store.hasher.batch.set(page(seed), i * PAGE_BYTES);
	const ids = new Uint32Array(seeds.length);
	store.put(seeds.length, ids);
	return [...ids];
}

function read(store: PageStore, id: number): Uint8Array {
	const bytes = new Uint8Array(PAGE_BYTES).fill(0xaa);
	store.read(id, bytes);
	return bytes;
}

describe("PageStore", () => {
	it("keeps what is alike once, zeros not at all", () => {
		const store = new PageStore(new MemoryPageFile());
		const ids = put(store, 1, 2, 1, 0, 2, 3);
		expect(ids[2]).toBe(ids[0]);
		expect(ids[4]).toBe(ids[1]);
		expect(ids[3]).toBe(ZERO_PAGE);
		expect(new Set(ids).size).toBe(4);
		for (const [i, seed] of [1, 2, 1, 0, 2, 3].entries()) expect(read(store, ids[i] as number)).toEqual(page(seed));
		expect(put(store, 3, 1)).toEqual([ids[5], ids[0]]);
		expect(store.stats).toMatchObject({ slots: 3, putPages: 7, foundPages: 4 });
	});

	it("tells pages apart that differ in one bit, wherever it is", () => {
		const store = new PageStore(new MemoryPageFile());
		const seen = new Set<number>();
		for (let bit = 0; bit < PAGE_BYTES * 8; bit += 97) {
			store.hasher.batch.fill(0, 0, PAGE_BYTES);
			store.hasher.batch[bit >> 3] = 1 << (bit & 7);
			const ids = new Uint32Array(1);
			store.put(1, ids);
			seen.add(ids[0] as number);
		}
		expect(seen.size).toBe(Math.ceil((PAGE_BYTES * 8) / 97));
	});

	it("compares pages whose hashes agree", () => {
		const file = new MemoryPageFile();
		const store = new PageStore(file);
		const [id] = put(store, 1);
		// As if another page had had this hash.
		file.write((id as number) - 1, page(9), file.readHashes().slice(0, 4));
		const [other] = put(store, 1);
		expect(other).not.toBe(id);
		expect(read(store, other as number)).toEqual(page(1));
	});

	it("gives the place of what nobody refers to to others, and the file's end back", () => {
		const file = new MemoryPageFile();
		const store = new PageStore(file);
		const ids = put(store, 1, 2, 3);
		for (const id of ids) store.retain(id);
		store.release(ids[1] as number);
		expect(put(store, 4)).toEqual([ids[1]]);
		store.retain(ids[1] as number);
		store.release(ids[2] as number);
		store.trim();
		expect(file.slotCount).toBe(2);
		expect(read(store, ids[0] as number)).toEqual(page(1));
	});

	it("finds its pages again when it is opened anew", () => {
		const file = new MemoryPageFile();
		const ids = put(new PageStore(file), 1, 2, 3, 4);
		const again = new PageStore(file);
		again.retain(ids[0] as number);
		again.retain(ids[2] as number);
		again.sweep();
		expect(put(again, 3)).toEqual([ids[2]]);
		expect(again.stats.usedPages).toBe(2);
		expect(file.slotCount).toBe(3);
	});
});

describe("PageTables", () => {
	it("holds what was put into it, whatever was changed, kept and dropped before", () => {
		const pageCount = 3000;
		const change = fc.uniqueArray(fc.tuple(fc.nat(pageCount - 1), fc.nat(40)), { selector: ([at]) => at, maxLength: 60 });
		fc.assert(
			fc.property(fc.array(fc.tuple(change, fc.nat(5), fc.boolean()), { maxLength: 12 }), (steps) => {
				const store = new PageStore(new MemoryPageFile());
				const tables = new PageTables(store);
				const kept = [{ table: tables.empty(pageCount), model: new Map<number, number>() }];
				for (const [changes, from, isDropped] of steps) {
					const base = kept[from % kept.length] as (typeof kept)[0];
					const sorted = [...changes].sort(([a], [b]) => a - b);
					const ids: number[] = [];
					for (let i = 0; i < sorted.length; i += 64) ids.push(...put(store, ...sorted.slice(i, i + 64).map(([, seed]) => seed)));
					const table = tables.change(
						base.table,
						Uint32Array.from(sorted, ([at]) => at),
						Uint32Array.from(ids),
					);
					tables.retain(table);
					const model = new Map(base.model);
					for (const [at, seed] of sorted) model.set(at, seed);
					kept.push({ table, model });
					if (isDropped && kept.length > 2) {
						const [gone] = kept.splice(1, 1);
						tables.release((gone as (typeof kept)[0]).table);
						store.trim();
					}
				}
				for (const { table, model } of kept) {
					for (const [at, seed] of model) expect(read(store, tables.get(table, at))).toEqual(page(seed));
					let count = 0;
					tables.each(table, () => count++);
					expect(count).toBe([...model.values()].filter((seed) => seed !== 0).length);
				}
				const first = kept[0] as (typeof kept)[0];
				for (const { table } of kept.slice(1)) tables.release(table);
				store.trim();
				expect(store.stats.usedPages).toBe(0);
				expect(first.table.leaves.every((leaf) => leaf === 0)).toBe(true);
			}),
			{ numRuns: 60 },
		);
	});
});
