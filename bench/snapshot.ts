/**
 * What snapshots cost: `node bench/snapshot.ts [--memory MIB] [--forks N] [--json]`. Boots the 32-bit default guest, takes snapshots of
 * it, puts it back, forks it, and has v86 save and restore the same guest. Nothing is asserted: the host may be busy.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { NodeHost } from "../src/host/node/host.ts";
import { ensureImage } from "../src/host/node/image/build.ts";
import { findRecipe } from "../src/host/node/image/recipes.ts";
import { imageFile } from "../src/host/node/image/store.ts";
import { createMachine } from "../src/host/node/machine.ts";
import { ForkPool } from "../src/host/node/snapshot/fork-pool.ts";
import { runInShell } from "../src/host/node/snapshot/shell.ts";
import { forkMachine } from "../src/vm/fork.ts";
import type { Machine } from "../src/vm/machine.ts";

const { values } = parseArgs({
	options: {
		memory: { type: "string", default: "512" },
		forks: { type: "string", default: "100" },
		alive: { type: "string", default: "8" },
		image: { type: "string", default: "default-i386" },
		json: { type: "boolean", default: false },
	},
});

/** Firmware that v86 needs; Debian's package seabios has both. */
const BIOS = "/usr/share/seabios/bios.bin";
const VGA_BIOS = "/usr/share/seabios/vgabios-stdvga.bin";
/** Leaves some 10 MB of memory changed. */
const COMMAND = "dd if=/dev/urandom of=/tmp/changed bs=1024k count=9 2>/dev/null";
const folder = mkdtempSync(join(tmpdir(), "basenji-bench-"));
const memoryMib = Number(values.memory);
const rows: { readonly what: string; readonly value: string; readonly wanted: string }[] = [];
const row = (what: string, value: number, unit: string, wanted = "") =>
	rows.push({ what, value: `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`, wanted });

async function untilItRuns(machine: Machine): Promise<void> {
	const before = machine.stats.guestInstructions;
	while (machine.stats.guestInstructions === before) await new Promise((resolve) => setImmediate(resolve));
}

async function ours(options: Parameters<typeof createMachine>[0]): Promise<void> {
	const snapshots = join(folder, "snapshots");
	const machine = await createMachine({ ...options, snapshots });
	await machine.start();
	await machine.waitFor({ console: "root# ", timeout: "300s" });
	await runInShell(machine, "true");
	const first = await machine.snapshot({ name: "first" });
	row("first snapshot, whole", first.totalNs / 1e6, "ms", "under 700");
	row("  the guest stood still for", first.pauseNs / 1e6, "ms");
	row("  memory ever touched", (first.record.changedPages * 4096) / 2 ** 20, "MB");
	await runInShell(machine, COMMAND);
	const second = await machine.snapshot({ name: "second" });
	row("snapshot after a change, pause", second.pauseNs / 1e6, "ms", "under 20");
	row("  saved in", second.totalNs / 1e6, "ms");
	row("  memory changed", (second.record.changedPages * 4096) / 2 ** 20, "MB");
	let beganMs = performance.now();
	await machine.restore("first");
	await untilItRuns(machine);
	row("restore, until the guest runs", performance.now() - beganMs, "ms", "under 500");
	beganMs = performance.now();
	const [fork] = await forkMachine(machine, new NodeHost(), { snapshot: "second" });
	await untilItRuns(fork as Machine);
	row("fork of a snapshot, first instruction", performance.now() - beganMs, "ms", "under 100");
	await fork?.stop();
	beganMs = performance.now();
	const [live] = await forkMachine(machine, new NodeHost());
	await untilItRuns(live as Machine);
	row("fork of the running machine, first instruction", performance.now() - beganMs, "ms", "under 100");
	await live?.stop();
	await machine.stop();
	beganMs = performance.now();
	const again = await createMachine({ ...options, snapshots, restore: "second" });
	await again.start();
	await untilItRuns(again);
	row("a new machine from the snapshot, until it runs", performance.now() - beganMs, "ms", "under 500");
	await again.stop();
	await manyForks(options, snapshots);
}

async function manyForks(options: Parameters<typeof createMachine>[0], snapshots: string): Promise<void> {
	const count = Number(values.forks);
	if (count === 0) return;
	const before = process.memoryUsage.rss();
	let peak = before;
	const watch = setInterval(() => {
		peak = Math.max(peak, process.memoryUsage.rss());
	}, 20);
	const alive = Number(values.alive);
	const beganMs = performance.now();
	const pool = await ForkPool.open({ machine: options, folder: snapshots, snapshot: "second", alive });
	const results = await Promise.all(Array.from({ length: count }, (_, index) => pool.run(`echo fork ${index}`)));
	await pool.close();
	clearInterval(watch);
	row(`${count} forks, ${alive} alive, a command each`, (performance.now() - beganMs) / 1000, "s", "under 30");
	row("  memory beyond what there was", (peak - before) / 2 ** 20, "MB", "under 1024");
	const wrong = results.filter(({ code, output }, index) => code !== 0 || output !== `fork ${index}\n`).length;
	if (wrong > 0) row("  of them wrong", wrong, "");
}

function v86(options: { readonly kernel: string; readonly initrd: string; readonly append: string }): void {
	if (!existsSync(BIOS) || !existsSync(VGA_BIOS)) {
		rows.push({ what: "v86", value: `needs ${BIOS} and ${VGA_BIOS}`, wanted: "" });
		return;
	}
	const configuration = { ...options, memoryMib, command: COMMAND, bios: BIOS, vgaBios: VGA_BIOS };
	const script = fileURLToPath(new URL("snapshot-v86.ts", import.meta.url));
	const { stdout, status } = spawnSync(process.execPath, [script, JSON.stringify(configuration)], { encoding: "utf8", timeout: 300_000 });
	if (status !== 0) {
		rows.push({ what: "v86", value: "did not get through", wanted: "" });
		return;
	}
	const times = JSON.parse(stdout) as Record<"firstMs" | "secondMs" | "restoreMs" | "stateBytes", number>;
	row("v86: save_state, first (the guest stands still)", times.firstMs, "ms");
	row("v86: save_state after the same change", times.secondMs, "ms");
	row("v86: restore_state", times.restoreMs, "ms");
	row("v86: size of a state", times.stateBytes / 2 ** 20, "MB");
}

const image = await ensureImage(findRecipe(values.image));
const files = {
	kernel: imageFile(image, image.manifest.kernel),
	initrd: imageFile(image, image.manifest.initrd),
	append: image.manifest.append,
};
try {
	await ours({ ...files, memory: `${memoryMib}M` });
	if (values.image === "default-i386") v86(files);
} finally {
	rmSync(folder, { recursive: true, force: true });
}
if (values.json) process.stdout.write(`${JSON.stringify(rows, undefined, "\t")}\n`);
else {
	const width = Math.max(...rows.map(({ what }) => what.length));
	for (const { what, value, wanted } of rows) process.stdout.write(`${what.padEnd(width)}  ${value.padStart(10)}  ${wanted}\n`);
}
process.exit(0);
