/**
 * TCP between two guests on one host, as fast as it goes: ours over an unshaped cable, each on a thread of its own, and two
 * QEMU TCG guests over a socket netdev, in one run. What is measured is host time between the guest's own marks.
 *
 *   node bench/net.ts [--bytes 128M] [--model virtio|e1000] [--json]
 */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findTool } from "../src/host/node/command.ts";
import { NodeHost } from "../src/host/node/host.ts";
import { ensureImage } from "../src/host/node/image/build.ts";
import { DEFAULT_IMAGE, findRecipe } from "../src/host/node/image/recipes.ts";
import { imageFile } from "../src/host/node/image/store.ts";
import { NodeThreads } from "../src/host/node/lab/threads/node-threads.ts";
import { tuneWebAssembly } from "../src/host/node/wasm-tuning.ts";
import { createLabRuntime } from "../src/lab/run/lab-runtime.ts";
import { NIC_MODELS, type NicModel } from "../src/vm/config.ts";
import { parseSize } from "../src/vm/quantity.ts";
import { initrdWith } from "../tests/guest/overlay.ts";

const BEGIN = "NET begin";
const END = "NET end";
const APPEND = "console=ttyS0 panic=-1 quiet";
const TIMEOUT_MS = 240_000;
const hasIperf = findTool("iperf3") !== undefined;

interface Guests {
	readonly kernel: string;
	readonly initrds: { readonly client: string; readonly server: string };
}

/** Seconds from the first mark to the second. */
class Stopwatch {
	#text = "";
	#beganMs: number | undefined;
	readonly seconds: Promise<number>;
	#resolve: (seconds: number) => void = () => {};
	#reject: (error: Error) => void = () => {};

	constructor(who: string) {
		this.seconds = new Promise((resolve, reject) => {
			this.#resolve = resolve;
			this.#reject = reject;
		});
		setTimeout(() => this.fail(`${who}: time is up; the last it said: ${this.#text.slice(-300)}`), TIMEOUT_MS).unref();
	}

	read(bytes: Uint8Array): void {
		this.#text += Buffer.from(bytes).toString("latin1");
		if (this.#beganMs === undefined && this.#text.includes(BEGIN)) this.#beganMs = performance.now();
		if (this.#beganMs !== undefined && this.#text.includes(END)) this.#resolve((performance.now() - this.#beganMs) / 1000);
	}

	fail(why: string): void {
		this.#reject(new Error(why));
	}
}

function scripts(bytes: number): { client: string; server: string } {
	const up = (address: string): string => `dmesg -n 1; ip link set eth0 up; ip addr add ${address}/24 dev eth0`;
	const send = hasIperf
		? `iperf3 -c 10.0.0.2 -n ${bytes} >/dev/null`
		: `dd if=/dev/zero bs=64k count=${Math.ceil(bytes / 65_536)} 2>/dev/null | nc 10.0.0.2 5201`;
	return {
		client: `${up("10.0.0.1")}; until ping -c 1 -W 1 10.0.0.2 >/dev/null 2>&1; do sleep 1; done; sleep 1; echo ${BEGIN}; ${send}; echo ${END}; sleep 1`,
		server: `${up("10.0.0.2")}; ${hasIperf ? "iperf3 -s -1 >/dev/null" : "nc -l -p 5201 >/dev/null"}; sleep 300`,
	};
}

async function ours(guests: Guests, model: NicModel): Promise<number> {
	tuneWebAssembly();
	const threads = new NodeThreads();
	await using runtime = createLabRuntime({ name: "bench", seed: 1, time: "realtime", host: new NodeHost(threads.bell), threads });
	const kernel = await readFile(guests.kernel);
	const link = runtime.addLink("cable");
	const watch = new Stopwatch("basenji");
	for (const [name, end] of [
		["client", link.a],
		["server", link.b],
	] as const) {
		const initrd = await readFile(guests.initrds[name]);
		const made = runtime.addMachine({ name, kernel, initrd, append: APPEND, memory: "256M", nics: [{ name: "eth0", model }] });
		made.port("eth0").plug(end);
		if (name === "client") made.machine.on("console", ({ bytes }) => watch.read(bytes));
		await made.machine.start();
	}
	runtime.run();
	return await watch.seconds;
}

async function freePort(): Promise<number> {
	const server = createServer().listen(0, "127.0.0.1");
	await new Promise((resolve) => server.once("listening", resolve));
	const { port } = server.address() as { port: number };
	await new Promise((resolve) => server.close(resolve));
	return port;
}

async function qemus(qemu: string, guests: Guests, model: NicModel): Promise<number> {
	const port = await freePort();
	const watch = new Stopwatch("qemu");
	const start = (name: "client" | "server", place: string, mac: string) => {
		const card = `${model === "e1000" ? "e1000" : "virtio-net-pci"},netdev=n,mac=${mac}`;
		const boot = ["-kernel", guests.kernel, "-initrd", guests.initrds[name], "-append", APPEND];
		const net = ["-netdev", `socket,id=n,${place}=127.0.0.1:${port}`, "-device", card];
		const child = spawn(qemu, ["-accel", "tcg", "-m", "256", "-nographic", "-no-reboot", ...boot, ...net], {
			stdio: ["ignore", "pipe", "ignore"],
		});
		child.on("error", (error) => watch.fail(error.message));
		if (name === "client") child.stdout.on("data", (bytes: Buffer) => watch.read(bytes));
		else child.stdout.resume();
		return child;
	};
	const server = start("server", "listen", "52:54:00:00:00:02");
	await new Promise((resolve) => setTimeout(resolve, 1000));
	const client = start("client", "connect", "52:54:00:00:00:01");
	try {
		return await watch.seconds;
	} finally {
		client.kill("SIGKILL");
		server.kill("SIGKILL");
	}
}

async function main(): Promise<void> {
	const { values } = parseArgs({
		options: { bytes: { type: "string", default: "128M" }, model: { type: "string", default: "virtio" }, json: { type: "boolean" } },
	});
	const bytes = parseSize(values.bytes);
	const model = NIC_MODELS.find((known) => known === values.model);
	if (bytes === undefined || model === undefined || model === "ne2k-pci")
		throw new Error("usage: --bytes 128M --model virtio|e1000 --json");
	const image = await ensureImage(findRecipe(DEFAULT_IMAGE));
	const folder = await mkdtemp(join(tmpdir(), "basenji-net-"));
	try {
		const initrds = { client: join(folder, "client"), server: join(folder, "server") };
		for (const [name, script] of Object.entries(scripts(bytes)) as ["client" | "server", string][])
			await writeFile(initrds[name], await initrdWith(image, { programs: hasIperf ? ["iperf3"] : [], script }));
		const guests = { kernel: imageFile(image, image.manifest.kernel), initrds };
		const mbps = (seconds: number): number => (bytes * 8) / seconds / 1e6;
		const basenji = mbps(await ours(guests, model));
		const qemu = findTool("qemu-system-x86_64");
		const peer = qemu === undefined ? undefined : mbps(await qemus(qemu, guests, model));
		const report = {
			tool: hasIperf ? "iperf3" : "nc",
			model,
			bytes,
			basenjiMbps: Math.round(basenji),
			...(peer === undefined ? {} : { qemuMbps: Math.round(peer), ratio: Number((basenji / peer).toFixed(2)) }),
		};
		if (values.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
		else
			process.stdout.write(
				`TCP between two guests (${report.tool}, ${model}): ${report.basenjiMbps} Mbit/s${peer === undefined ? "; no qemu-system-x86_64 here to compare with" : `, QEMU TCG ${report.qemuMbps} Mbit/s, ratio ${report.ratio}`}\n`,
			);
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

await main().then(
	() => process.exit(0),
	(error: Error) => {
		process.stderr.write(`bench/net: ${error.message}\n`);
		process.exit(1);
	},
);
