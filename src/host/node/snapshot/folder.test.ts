import { existsSync, mkdtempSync, readdirSync, statSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../../base/units.ts";
import { PageStore } from "../../../snapshot/page-store.ts";
import { listen } from "./control.ts";
import { NodeSnapshotFolder } from "./folder.ts";
import { MachineHome } from "./home.ts";
import { PageFolder } from "./page-folder.ts";

const scratch = mkdtempSync(join(tmpdir(), "basenji-folder-"));
afterAll(() => rm(scratch, { recursive: true, force: true }));

function put(store: PageStore, ...seeds: number[]): number[] {
	for (const [i, seed] of seeds.entries()) store.hasher.batch.fill(seed, i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
	const ids = new Uint32Array(seeds.length);
	store.put(seeds.length, ids);
	return [...ids];
}

function first(store: PageStore, id: number): number {
	const bytes = new Uint8Array(PAGE_BYTES);
	store.read(id, bytes);
	return bytes[0] as number;
}

describe("PageFolder", () => {
	it("keeps pages over closing, gives back its end, and lets nobody else read them", async () => {
		const path = join(scratch, "a");
		const file = PageFolder.open(path);
		const ids = put(new PageStore(file), 1, 2, 3);
		await file.flush();
		await file.close();
		expect(statSync(join(path, "0000.pages")).mode & 0o077).toBe(0);
		const again = PageFolder.open(path);
		const store = new PageStore(again);
		store.retain(ids[0] as number);
		store.sweep();
		expect(first(store, ids[0] as number)).toBe(1);
		expect(again.slotCount).toBe(1);
		expect(statSync(join(path, "0000.pages")).size).toBe(PAGE_BYTES);
		await store.close();
	});

	it("never writes again what has been frozen", async () => {
		const path = join(scratch, "b");
		const file = PageFolder.open(path);
		const store = new PageStore(file);
		const [one, two] = put(store, 1, 2) as [number, number];
		store.retain(one);
		store.retain(two);
		await store.freeze();
		store.release(two);
		const [three] = put(store, 3) as [number];
		expect(three).toBeGreaterThan(4096);
		store.retain(three);
		await file.flush();
		expect(readdirSync(path).filter((name) => name.endsWith(".pages"))).toEqual(["0000.pages", "0001.pages"]);
		store.release(one);
		store.trim();
		// Nobody here needs the shared file any more.
		expect(existsSync(join(path, "0000.pages"))).toBe(false);
		expect(first(store, three)).toBe(3);
		await store.close();
	});

	it("names the file that ends too early", async () => {
		const path = join(scratch, "c");
		const file = PageFolder.open(path);
		const store = new PageStore(file);
		const [id] = put(store, 1) as [number];
		await writeFile(join(path, "0000.pages"), "short");
		expect(() => first(store, id)).toThrow(/0000\.pages: ends before offset 4096/);
		await store.close();
	});
});

describe("NodeSnapshotFolder", () => {
	it("has one writer and any number of readers", async () => {
		const path = join(scratch, "d");
		const folder = await NodeSnapshotFolder.open(path);
		await expect(NodeSnapshotFolder.open(path)).rejects.toMatchObject({ kind: "in-use" });
		const reader = await NodeSnapshotFolder.open(path, { isReadOnly: true });
		await folder.write("x.json", Uint8Array.of(1));
		expect(await reader.read("x.json")).toEqual(Buffer.of(1));
		await reader.close();
		await folder.close();
		await (await NodeSnapshotFolder.open(path)).close();
	});
});

describe("MachineHome", () => {
	it("keeps what a machine is made of, refuses names that are paths, and goes as a whole", async () => {
		expect(() => new MachineHome("../x", scratch)).toThrow(/is no name for a machine/);
		const home = new MachineHome("m", scratch);
		await expect(home.read()).rejects.toMatchObject({ kind: "not-found" });
		await home.create({ machine: { memory: "64M" } });
		await expect(home.create({ machine: {} })).rejects.toMatchObject({ kind: "in-use" });
		await home.change({ next: { snapshot: "abc", isSameLife: true } });
		expect(await home.read()).toMatchObject({ machine: { memory: "64M" }, next: { snapshot: "abc" } });
		await home.change({ next: undefined });
		expect((await home.read()).next).toBeUndefined();
		await home.remove();
		expect(await home.exists()).toBe(false);
	});
});

describe("control", () => {
	it("listens where only its user can reach it, and answers mistakes with words", async () => {
		const path = join(scratch, "run", "x.sock");
		const server = await listen(path, async ({ verb }) => {
			if (verb === "bad") throw new Error("no such thing");
			return { result: { verb } };
		});
		expect(statSync(path).mode & 0o177).toBe(0);
		const say = (text: string) =>
			new Promise<string>((resolve) => {
				let answer = "";
				const socket = createConnection(path, () => socket.write(text));
				socket.on("data", (bytes) => {
					answer += bytes.toString();
				});
				socket.on("close", () => resolve(answer));
			});
		expect(await say('{"verb":"info"}\n')).toBe('{"result":{"verb":"info"}}\n');
		expect(JSON.parse(await say('{"verb":"bad"}\n'))).toEqual({ error: { name: "Error", message: "no such thing" } });
		expect(JSON.parse(await say("nonsense\n")).error.name).toBe("SyntaxError");
		expect(JSON.parse(await say("x".repeat(100_000))).error.message).toMatch(/too long/);
		await new Promise<void>((resolve) => server.close(() => resolve()));
	});
});
