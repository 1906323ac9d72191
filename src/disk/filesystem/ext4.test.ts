import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { MemoryStore } from "../memory-store.ts";
import { RawDisk } from "../raw.ts";
import { Ext4 } from "./ext4.ts";
import { partitionsOf } from "./partitions.ts";

const folder = mkdtempSync(join(tmpdir(), "basenji-ext4-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
const hasTools = spawnSync("mkfs.ext4", ["-V"], { env: { PATH } }).status === 0;

function tool(name: string, ...args: string[]): string {
	const { status, stdout, stderr } = spawnSync(name, args, { encoding: "utf8", env: { PATH } });
	if (status !== 0) throw new Error(`${name}: ${stderr}`);
	return stdout;
}

/** A tree with long and many names, a large sparse file, and links. */
function source(): string {
	const root = join(folder, "source");
	mkdirSync(join(root, "etc/deep/er"), { recursive: true });
	mkdirSync(join(root, "many"));
	writeFileSync(join(root, "etc/hostname"), "pc\n");
	writeFileSync(join(root, "etc/deep/er/größe ✓"), new Uint8Array(300_000).fill(7));
	writeFileSync(join(root, "empty"), "");
	symlinkSync("etc/hostname", join(root, "link"));
	for (let i = 0; i < 1500; i++) writeFileSync(join(root, "many", `a-name-that-is-rather-long-to-fill-blocks-${i}`), "");
	return root;
}

async function load(bytes: Uint8Array, startBytes = 0): Promise<Ext4> {
	return (await Ext4.open(await RawDisk.open(new MemoryStore("disk", bytes)), startBytes)) as Ext4;
}

async function pathsOf(system: Ext4): Promise<string[]> {
	const paths: string[] = [];
	for await (const { path } of system.files()) paths.push(path);
	return paths.filter((path) => path !== "/lost+found").sort();
}

describe.skipIf(!hasTools)("Ext4", () => {
	const root = hasTools ? source() : "";
	const wanted = hasTools
		? readdirSync(root, { recursive: true, encoding: "utf8" })
				.map((path) => `/${path}`)
				.sort()
		: [];
	const image = (name: string, ...options: string[]): string => {
		const path = join(folder, name);
		tool("mkfs.ext4", "-q", "-F", "-d", root, ...options, path, "16M");
		return path;
	};

	test.each([
		["ext4", []],
		["64bit, 1 KiB blocks", ["-O", "64bit", "-b", "1024"]],
		["ext2", ["-t", "ext2", "-b", "1024", "-I", "128"]],
		["inline data, meta_bg", ["-O", "inline_data,meta_bg,^resize_inode", "-I", "512", "-b", "1024", "-g", "1024"]],
	])("%s: every path that mkfs has put there", async (name, options) => {
		const path = image(name, ...options);
		expect(await pathsOf(await load(readFileSync(path)))).toEqual(wanted);
	});

	test("what stands in the journal counts as written", async () => {
		const path = image("journal");
		const stat = tool("debugfs", "-R", "blocks /etc", path);
		const block = Number(stat.trim().split(/\s+/)[0]);
		const bytes = readFileSync(path).subarray(block * 1024, (block + 1) * 1024);
		const renamed = Buffer.from(bytes.toString("latin1").replace("hostname", "HOSTNAME"), "latin1");
		writeFileSync(join(folder, "block"), renamed);
		const commands = join(folder, "commands");
		writeFileSync(commands, `jo\njw -b ${block} ${join(folder, "block")}\njc\n`);
		tool("debugfs", "-w", "-f", commands, path);
		const paths = await pathsOf(await load(readFileSync(path)));
		expect(paths).toContain("/etc/HOSTNAME");
		expect(paths).not.toContain("/etc/hostname");
	});

	test("damage is an error of its own kind, and never a hang", async () => {
		const bytes = readFileSync(image("damaged"));
		let [errors, listings] = [0, 0];
		for (let round = 0; round < 100; round++) {
			const damaged = Buffer.from(bytes.subarray(0, 4 << 20));
			for (let i = 0; i < 400; i++) damaged[1024 + ((round * 7919 + i * 104729) % (400 * 1024))] = (round * 31 + i * 17) & 255;
			try {
				const system = await Ext4.open(await RawDisk.open(new MemoryStore("disk", damaged)), 0);
				if (system !== undefined) await pathsOf(system);
				listings++;
			} catch (error) {
				expect(error).toMatchObject({ name: "DiskError" });
				errors++;
			}
		}
		expect(errors).toBeGreaterThan(10);
		expect(errors + listings).toBe(100);
	});
});

describe("partitionsOf", () => {
	const open = async (bytes: Uint8Array) => RawDisk.open(new MemoryStore("disk", bytes));

	test("an MBR with logical partitions", async () => {
		const bytes = new Uint8Array(1 << 20);
		const view = new DataView(bytes.buffer);
		const entry = (sector: number, index: number, type: number, start: number) => {
			bytes[sector * 512 + 446 + 16 * index + 4] = type;
			view.setUint32(sector * 512 + 446 + 16 * index + 8, start, true);
			view.setUint16(sector * 512 + 510, 0xaa55, true);
		};
		entry(0, 0, 0x83, 63);
		entry(0, 1, 0x05, 1000);
		entry(1000, 0, 0x83, 1);
		entry(1000, 1, 0x05, 100);
		entry(1100, 0, 0x83, 2);
		expect(await partitionsOf(await open(bytes))).toEqual([
			{ number: 0, startBytes: 0 },
			{ number: 1, startBytes: 63 * 512 },
			{ number: 5, startBytes: 1001 * 512 },
			{ number: 6, startBytes: 1102 * 512 },
		]);
	});

	test("a GPT", async () => {
		const bytes = new Uint8Array(1 << 20);
		const view = new DataView(bytes.buffer);
		bytes[446 + 4] = 0xee;
		view.setUint16(510, 0xaa55, true);
		bytes.set(Buffer.from("EFI PART"), 512);
		view.setBigUint64(512 + 72, 2n, true);
		view.setUint32(512 + 80, 4, true);
		view.setUint32(512 + 84, 128, true);
		bytes[1024 + 128] = 1;
		view.setBigUint64(1024 + 128 + 32, 2048n, true);
		expect(await partitionsOf(await open(bytes))).toEqual([
			{ number: 0, startBytes: 0 },
			{ number: 2, startBytes: 1 << 20 },
		]);
	});
});
