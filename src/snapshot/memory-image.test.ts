import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../base/units.ts";
import { GuestMemory } from "../machine/memory.ts";
import { MemoryImage } from "./memory-image.ts";
import { MemoryPageFile } from "./page-file.ts";
import { PageStore } from "./page-store.ts";
import { type PageTable, PageTables } from "./page-table.ts";

const PAGES = 64;
const FIRST = 0x10_0000;

function build() {
	const memory = new GuestMemory(FIRST + PAGES * PAGE_BYTES);
	const tables = new PageTables(new PageStore(new MemoryPageFile()));
	return { memory, tables, image: new MemoryImage(memory, tables) };
}

function write(memory: GuestMemory, page: number, value: number): void {
	memory.write(FIRST + page * PAGE_BYTES + 7, Uint8Array.of(value, value));
}

function contents(memory: GuestMemory): number[] {
	return Array.from({ length: PAGES }, (_, page) => memory.readPhys(FIRST + page * PAGE_BYTES + 8, 1));
}

describe("MemoryImage", () => {
	it("goes back to any of its snapshots, whatever was written before, meanwhile and after", () => {
		const step = fc.oneof(
			{ weight: 4, arbitrary: fc.record({ kind: fc.constant("write" as const), page: fc.nat(PAGES - 1), value: fc.nat(3) }) },
			{ weight: 2, arbitrary: fc.record({ kind: fc.constant("capture" as const), saved: fc.nat(8) }) },
			{ weight: 1, arbitrary: fc.record({ kind: fc.constant("finish" as const) }) },
			{ weight: 2, arbitrary: fc.record({ kind: fc.constant("restore" as const), which: fc.nat(20) }) },
			{ weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), which: fc.nat(20) }) },
		);
		fc.assert(
			fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
				const { memory, tables, image } = build();
				let model = new Array<number>(PAGES).fill(0);
				const kept: { table: PageTable; model: number[] }[] = [];
				let pending: { capture: ReturnType<MemoryImage["capture"]>; model: number[] } | undefined;
				const finish = () => {
					if (pending === undefined) return;
					const table = pending.capture.finish();
					tables.retain(table);
					kept.push({ table, model: pending.model });
					pending = undefined;
				};
				for (const each of steps) {
					if (each.kind === "write") {
						write(memory, each.page, each.value);
						model[each.page] = each.value;
					} else if (each.kind === "capture") {
						finish();
						pending = { capture: image.capture(), model: [...model] };
						pending.capture.step(each.saved);
					} else if (each.kind === "finish") finish();
					else if (kept.length > 0 && each.kind === "restore") {
						finish();
						const target = kept[each.which % kept.length] as (typeof kept)[0];
						image.restore(target.table);
						model = [...target.model];
					} else if (kept.length > 0 && each.kind === "drop") {
						const [gone] = kept.splice(each.which % kept.length, 1);
						tables.release((gone as (typeof kept)[0]).table);
						tables.store.trim();
					}
				}
				expect(contents(memory)).toEqual(model);
				finish();
				for (const { table, model: then } of kept) {
					image.restore(table);
					expect(contents(memory)).toEqual(then);
				}
			}),
			{ numRuns: 60 },
		);
	});

	it("costs nothing for pages that nobody has touched, and little for few", () => {
		const { memory, image } = build();
		expect(image.capture().changedPages).toBe(0);
		write(memory, 3, 1);
		write(memory, 9, 1);
		const capture = image.capture();
		expect(capture.changedPages).toBe(2);
		capture.finish();
		expect(image.capture().changedPages).toBe(0);
	});

	it("brings pages in when they are touched, and their neighbours with them", () => {
		const { memory, tables, image } = build();
		for (let page = 0; page < PAGES; page++) write(memory, page, page + 1);
		const table = image.capture().finish();
		const other = new GuestMemory(memory.ramBytes);
		const copy = new MemoryImage(other, tables);
		copy.restore(table);
		expect(copy.broughtIn).toBe(0);
		expect(other.readPhys(FIRST + 20 * PAGE_BYTES + 8, 1)).toBe(21);
		expect(copy.broughtIn).toBe(1);
		expect(other.readPhys(FIRST + 21 * PAGE_BYTES + 8, 1)).toBe(22);
		expect(copy.broughtIn).toBe(1);
		expect(contents(other)).toEqual(contents(memory));
	});

	it("says again what has changed when the store could not take it", () => {
		const memory = new GuestMemory(FIRST + PAGES * PAGE_BYTES);
		const file = new MemoryPageFile();
		const image = new MemoryImage(memory, new PageTables(new PageStore(file)));
		write(memory, 5, 1);
		const write_ = file.write;
		file.write = () => {
			throw new Error("no space");
		};
		const failed = image.capture();
		expect(() => failed.finish()).toThrow("no space");
		file.write = write_;
		const capture = image.capture();
		expect(capture.changedPages).toBe(1);
		write(memory, 5, 2);
		image.restore(capture.finish());
		expect(contents(memory)[5]).toBe(1);
	});
});
