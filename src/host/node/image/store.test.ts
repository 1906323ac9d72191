import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ImageManifest, ImageStore, MANIFEST_VERSION } from "./store.ts";

let store: ImageStore;
beforeEach(async () => {
	store = new ImageStore(await mkdtemp(join(tmpdir(), "basenji-store-")));
});
afterEach(() => rm(store.directory, { recursive: true, force: true }));

function fill(text: string) {
	return async (directory: string): Promise<ImageManifest> => {
		for (const file of ["kernel", "initrd"]) await writeFile(join(directory, file), text);
		return {
			version: MANIFEST_VERSION,
			name: "tiny",
			description: text,
			architecture: "amd64",
			kernel: "kernel",
			initrd: "initrd",
			append: "",
			disks: [],
			memoryBytes: 1,
			isSelfChecking: true,
			packages: {},
			recipe: "x",
		};
	};
}

test("an image is there as a whole, and replaced as a whole", async () => {
	expect(await store.find("tiny")).toBeUndefined();
	await store.replace("tiny", fill("one"));
	expect((await store.replace("tiny", fill("two"))).manifest.description).toBe("two");
	expect((await store.list()).map(({ manifest }) => manifest.name)).toEqual(["tiny"]);
	expect(await readdir(store.directory)).toEqual(["tiny"]);
});

test("a build that fails leaves the old image and nothing else", async () => {
	await store.replace("tiny", fill("one"));
	const failing = store.replace("tiny", async (directory) => {
		await writeFile(join(directory, "kernel"), "half");
		throw new Error("no network");
	});
	await expect(failing).rejects.toThrow("no network");
	expect((await store.find("tiny"))?.manifest.description).toBe("one");
	expect(await readdir(store.directory)).toEqual(["tiny"]);
});

test("what a killed build left behind goes with the next one", async () => {
	// No process has a number that large (proc(5), pid_max: at most 2^22).
	await mkdir(join(store.directory, ".tiny.99999999.new"));
	await store.replace("tiny", fill("one"));
	expect(await readdir(store.directory)).toEqual(["tiny"]);
});

test("an image without one of its files is none", async () => {
	await store.replace("tiny", fill("one"));
	await rm(join(store.directory, "tiny", "initrd"));
	expect(await store.find("tiny")).toBeUndefined();
	await expect(store.remove("tiny")).rejects.toThrow(/there is no image "tiny"/);
	expect(await store.find("../tiny")).toBeUndefined();
});
