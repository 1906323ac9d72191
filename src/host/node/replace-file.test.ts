import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replaceFile } from "./replace-file.ts";

test("a file is made, or made anew, with its mode, whatever an earlier try has left; nothing lies beside it", async () => {
	const folder = await mkdtemp(join(tmpdir(), "basenji-replace-"));
	try {
		const path = join(folder, "record.json");
		await writeFile(`${path}.new`, "cut short by a crash, and longer than what follows");
		await replaceFile(path, "old", 0o600);
		await replaceFile(path, new Uint8Array([110, 101, 119]), 0o600);
		expect(await readFile(path, "utf8")).toBe("new");
		expect([(await stat(path)).mode & 0o777, await readdir(folder)]).toEqual([0o600, ["record.json"]]);
		await expect(replaceFile(join(folder, "none", "record.json"), "x")).rejects.toMatchObject({ code: "ENOENT" });
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
});
