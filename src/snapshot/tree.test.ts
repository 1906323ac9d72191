import { describe, expect, it } from "vitest";
import { encodeUtf8 } from "../disk/utf8.ts";
import type { PageTable } from "./page-table.ts";
import { decodeSnapshot, encodeSnapshot, type SnapshotRecord } from "./record.ts";
import { MemorySnapshotFolder } from "./snapshot-folder.ts";
import { stateFromJson, stateToJson } from "./state-text.ts";
import { thinned } from "./thin.ts";
import { SnapshotTree } from "./tree.ts";

let made = 0;

function snapshot(tree: SnapshotTree, name: string, pages: readonly number[], base?: PageTable): SnapshotRecord {
	const ids = new Uint32Array(pages.length);
	for (const [i, page] of pages.entries()) tree.tables.store.hasher.batch.fill(page + 1, i * 4096, (i + 1) * 4096);
	tree.tables.store.put(pages.length, ids);
	const table = tree.tables.change(base ?? tree.tables.empty(4096), Uint32Array.from(pages), ids);
	return {
		id: `${(++made).toString(16).padStart(4, "0")}abcd`,
		name,
		note: "",
		parent: tree.here?.id,
		createdMs: made,
		guestNs: 1,
		isAutomatic: false,
		machine: { memoryBytes: 16 * 2 ** 20, cpus: 1, serialPorts: 1, diskBytes: [] },
		leaves: table.leaves,
		changedPages: pages.length,
		disks: [["000001.qcow2"], undefined],
		screen: "",
		state: {
			nowNs: 1,
			bytes: Uint8Array.of(1, 2, 255),
			big: 2n ** 63n,
			none: null,
			deadline: Number.POSITIVE_INFINITY,
			list: [1, -2.5, true],
		},
	};
}

describe("SnapshotTree", () => {
	it("is the same after it has been closed and opened", async () => {
		const folder = new MemorySnapshotFolder();
		const tree = await SnapshotTree.open(folder);
		const first = snapshot(tree, "first", [1, 2, 3]);
		await tree.add(first);
		await tree.add(snapshot(tree, "second", [3, 1030], first));
		await tree.setHere(first.id);
		const again = await SnapshotTree.open(folder);
		expect(again.records).toEqual(tree.records);
		expect(again.here?.name).toBe("first");
		expect(again.tables.store.stats.usedPages).toBe(tree.tables.store.stats.usedPages);
		expect(again.children(first.id).map(({ name }) => name)).toEqual(["second"]);
	});

	it("gives back at once what only the removed one needed, and hands its children on", async () => {
		const tree = await SnapshotTree.open(new MemorySnapshotFolder());
		const root = snapshot(tree, "root", [1, 2]);
		await tree.add(root);
		const middle = snapshot(tree, "middle", [10, 11, 12], root);
		await tree.add(middle);
		const leaf = snapshot(tree, "leaf", [12, 13], middle);
		await tree.add(leaf);
		const used = tree.tables.store.stats.usedPages;
		// All its pages are the leaf's, too: only its leaf of the table is its own.
		expect(tree.info(middle).ownedBytes).toBe(4096);
		await tree.remove(middle.id);
		expect(tree.tables.store.stats.usedPages).toBe(used - 1);
		expect(tree.find("leaf").parent).toBe(root.id);
		expect(await tree.remove(root.id, true)).toHaveLength(2);
		expect(tree.tables.store.stats.usedPages).toBe(0);
		expect(tree.here).toBeUndefined();
	});

	it("finds by name, id and beginning of an id, and says what there is", async () => {
		const tree = await SnapshotTree.open(new MemorySnapshotFolder("the folder"));
		const record = snapshot(tree, "booted", [1]);
		await tree.add(record);
		expect(tree.find("booted")).toBe(tree.find(record.id.slice(0, 5)));
		expect(() => tree.find("bootd")).toThrow(/the folder: no snapshot "bootd"; there are booted/);
		expect(() => tree.freeName("booted")).toThrow(/there is a snapshot of that name/);
		expect(() => tree.freeName("a/b")).toThrow(/letters, digits/);
		expect(tree.freeName(undefined)).toBe("snapshot-2");
	});

	it("names the file that is damaged, of a later version, or lacks its pages", async () => {
		const folder = new MemorySnapshotFolder("here");
		const tree = await SnapshotTree.open(folder);
		const record = snapshot(tree, "one", [1]);
		await tree.add(record);
		const name = `${record.id}.snapshot.json`;
		const bytes = (await folder.read(name)) as Uint8Array;
		const refused = async (text: string) => {
			await folder.write(name, encodeUtf8(text));
			return SnapshotTree.open(folder).then(
				() => undefined,
				(error: unknown) => error,
			);
		};
		const text = String.fromCharCode(...bytes);
		expect(await refused(text.slice(0, 100))).toMatchObject({ kind: "corrupt", where: `here/${name}` });
		expect(await refused(text.replace('"version":1', '"version":2'))).toMatchObject({ kind: "unsupported" });
		expect(await refused(text.replace(/"leaves":\[\d+/, '"leaves":[99999'))).toMatchObject({ kind: "corrupt" });
		expect(await refused(text.replace("000001.qcow2", "../../etc/passwd"))).toMatchObject({ kind: "corrupt" });
	});

	it("writes states so that they come back as they were", async () => {
		const tree = await SnapshotTree.open(new MemorySnapshotFolder());
		const record = snapshot(tree, "one", [1]);
		expect(decodeSnapshot(encodeSnapshot(record), "x")).toEqual(record);
		expect(stateFromJson(JSON.parse(JSON.stringify(stateToJson(record.state))))).toEqual(record.state);
	});
});

describe("thinning", () => {
	it("keeps the last hour whole, then one an hour, a day, a week, and what was taken on purpose", () => {
		const MINUTE = 60_000;
		const nowMs = 500 * 24 * 60 * MINUTE;
		const all = Array.from({ length: 60 * 24 * 12 }, (_, i) => ({
			id: `${i}`,
			createdMs: nowMs - i * 30 * MINUTE,
			isAutomatic: i !== 5000,
		}));
		const removed = new Set(thinned(all, nowMs));
		const kept = all.filter(({ id }) => !removed.has(id));
		const ages = kept.map(({ createdMs }) => (nowMs - createdMs) / MINUTE);
		expect(ages.filter((age) => age <= 60)).toHaveLength(3);
		expect(ages.filter((age) => age > 60 && age <= 1440).length).toBeLessThanOrEqual(24);
		expect(ages.filter((age) => age > 1440 && age <= 30 * 1440).length).toBeLessThanOrEqual(31);
		expect(ages.filter((age) => age > 30 * 1440 && age <= 365 * 1440).length).toBeLessThanOrEqual(50);
		expect(kept.some(({ id }) => id === "5000")).toBe(true);
		expect(kept.length).toBeLessThan(120);
	});

	it("drops nothing later that it kept before for want of older ones", () => {
		const HOUR = 3_600_000;
		let kept = [] as { id: string; createdMs: number; isAutomatic: boolean }[];
		for (let hour = 0; hour < 24 * 40; hour++) {
			for (let i = 0; i < 3; i++) kept.push({ id: `${hour}.${i}`, createdMs: hour * HOUR + i * 20 * 60_000, isAutomatic: true });
			const removed = new Set(thinned(kept, (hour + 1) * HOUR));
			kept = kept.filter(({ id }) => !removed.has(id));
		}
		// One for each of the last 30 days, at least.
		const days = new Set(kept.map(({ createdMs }) => Math.floor(createdMs / (24 * HOUR))));
		for (let day = 11; day < 40; day++) expect(days.has(day), `day ${day}`).toBe(true);
	});
});
