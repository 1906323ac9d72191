import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import type { SnapshotInfo } from "../../src/snapshot/tree.ts";

const folder = mkdtempSync(join(tmpdir(), "basenji-cli-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL("../../src/cli/basenji.js", import.meta.url));

function basenji(...args: string[]) {
	const env = { ...process.env, XDG_DATA_HOME: folder, XDG_RUNTIME_DIR: join(folder, "run") };
	const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env, timeout: 60_000 });
	return { code: status, stdout, stderr };
}

/** Firmware that prints letters for ever: see src/vm/golden-snapshot.test.ts. */
function firmware(): string {
	const image = new Uint8Array(64 * 1024);
	image.set(Buffer.from("31c08ed8bafb03b003eefe060005a00005240f0441baf803eeb90020e2feebea", "hex"));
	image.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
	const path = join(folder, "letters.bios");
	writeFileSync(path, image);
	return path;
}

describe("machines that have a name", () => {
	it("live through their verbs", () => {
		const net = ["--net", "nat,mac=02:00:00:00:00:01,model=e1000", "--allow", "tcp internet:443"];
		expect(basenji("create", "m", "--bios", firmware(), "--allow", "dns").stderr).toBe("basenji: --allow needs --net nat\n");
		expect(basenji("create", "m", "--bios", firmware(), ...net.slice(0, 3), "everything").stderr).toMatch(/a rule such as/);
		expect(basenji("create", "m", "--bios", firmware(), "--memory", "16M", ...net)).toMatchObject({ code: 0, stderr: "" });
		expect(basenji("create", "m", "--bios", firmware()).stderr).toMatch(/^basenji: there is a machine "m" already/);
		expect(basenji("snapshot", "m")).toMatchObject({ code: 125, stderr: "basenji: m is not running; basenji start m starts it\n" });
		expect(basenji("tree", "m").stdout).toBe("m has no snapshots yet\n");
		expect(basenji("start", "m")).toMatchObject({ code: 0, stderr: "" });
		try {
			expect(basenji("start", "m").stderr).toBe("basenji: m is running already\n");
			expect(JSON.parse(basenji("snapshot", "m@one", "-m", "the first", "--json").stdout)).toMatchObject({
				name: "one",
				note: "the first",
			});
			expect(basenji("snapshot", "m@one").stderr).toBe("basenji: one: there is a snapshot of that name\n");
			basenji("snapshot", "m@two");
			const infos = JSON.parse(basenji("tree", "m", "--json").stdout) as SnapshotInfo[];
			expect(infos.map(({ name, isHere }) => [name, isHere])).toEqual([
				["one", false],
				["two", true],
			]);
			expect(basenji("restore", "m@one")).toMatchObject({ code: 0, stdout: "m: goes on from one\n" });
			expect(basenji("undo", "m").stdout).toBe("m: goes on from one\n");
			expect(basenji("redo", "m")).toMatchObject({ code: 0 });
			expect(basenji("diff", "m@one", "two").stdout).toMatch(/^memory: 4K differ, in 1 run\n/);
			expect(basenji("rmsnap", "m@two")).toMatchObject({ code: 0 });
			expect(basenji("suspend", "m")).toMatchObject({ code: 0, stdout: "m: suspended\n" });
			expect(JSON.parse(basenji("ls", "--json").stdout)).toMatchObject([{ name: "m", state: "suspended" }]);
			expect(basenji("resume", "m")).toMatchObject({ code: 0, stdout: "m: running\n" });
			expect(basenji("fork", "m@one", "--step-clock")).toMatchObject({ code: 0, stdout: "m-1: goes on from m@one\n" });
			const record = JSON.parse(readFileSync(join(folder, "basenji/machines/m-1/machine.json"), "utf8"));
			expect(record.machine.net).toEqual({ model: "e1000", allow: ["tcp internet:443"] });
			expect(basenji("stop", "--force", "m-1")).toMatchObject({ code: 0 });
			const file = join(folder, "one.basenji");
			expect(basenji("export", "m@one", file)).toMatchObject({ code: 0 });
			expect(basenji("import", file, "copy")).toMatchObject({ code: 0, stderr: "" });
			// It stands by itself: what it boots from came along.
			rmSync(join(folder, "letters.bios"));
			expect(basenji("start", "copy")).toMatchObject({ code: 0, stderr: "" });
			expect(basenji("stop", "--force", "copy")).toMatchObject({ code: 0 });
			expect(basenji("rm", "m").stderr).toBe("basenji: m is running; basenji stop --force m ends it\n");
		} finally {
			basenji("stop", "--force", "copy");
			basenji("stop", "--force", "m-1");
			basenji("stop", "--force", "m");
		}
		// A machine that is off: trees, differences and removals work all the same.
		expect(basenji("tree", "m").stdout).toMatch(/^one /);
		expect(basenji("restore", "m@nothing").stderr).toMatch(/no snapshot "nothing"; there are one/);
		expect(basenji("rmsnap", "m@one", "--children", "--json").code).toBe(0);
		expect(basenji("rm", "m", "m-1", "copy")).toMatchObject({ code: 0 });
		expect(basenji("ls", "--json").stdout).toBe("[]\n");
	});

	it("are told apart from mistakes", () => {
		expect(basenji("tree", "nobody")).toMatchObject({
			code: 125,
			stderr: 'basenji: there is no machine "nobody"; basenji ls lists them, basenji create makes one\n',
		});
		expect(basenji("tree", "../etc").stderr).toMatch(/is no name for a machine/);
		expect(basenji("create", "x", "--bios", "/nowhere/bios", "--memory", "1M").stderr).toMatch(/memory: 1M is below the minimum/);
		expect(basenji("fork", "nobody", "-n", "0").stderr).toMatch(/a whole number from 1 up is wanted/);
		const text = join(folder, "text");
		writeFileSync(text, "no archive");
		expect(basenji("import", text, "y").stderr).toMatch(/is no archive of a snapshot/);
		expect(basenji("import", join(folder, "none"), "y").stderr).toMatch(/no such file/);
		expect(basenji("ls", "--json").stdout).toBe("[]\n");
	});
});
