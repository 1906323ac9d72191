import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { NodeHost } from "../../src/host/node/host.ts";
import { imageFile } from "../../src/host/node/image/store.ts";
import { tuneWebAssembly } from "../../src/host/node/wasm-tuning.ts";
import { createLabRuntime } from "../../src/lab/run/lab-runtime.ts";
import { formatMac } from "../../src/net/frames/address.ts";
import { NIC_MODELS } from "../../src/vm/config.ts";
import { imageOrReason } from "./images.ts";
import { initrdWith } from "./overlay.ts";

const main = fileURLToPath(new URL("../../src/cli/basenji.js", import.meta.url));
const DELAY_NS = 5e6;
/** An echo of 56 bytes and its answer at 10 Mbit/s, each with 42 bytes of headers and 24 of Ethernet's own, and both delays. */
const RTT_MS = 2 * ((98 + 24) * 8e-4 + DELAY_NS / 1e6);
/** Linux's e1000 looks at its link every two seconds; the interrupt that says so at once does not make it look sooner. */
const CARRIER_MS = { virtio: 10, e1000: 2100 } as const;

/** Says when the carrier goes and comes; the shell's own `read`, so that looking takes no time. */
const WATCH = [
	"c=1",
	"while [ $c = 1 ]; do read c </sys/class/net/eth0/carrier; done; echo GONE",
	"while [ $c = 0 ]; do read c </sys/class/net/eth0/carrier; done; echo BACK",
].join("; ");

test.each(NIC_MODELS)("two guests with %s reach each other in the cable's time, and see it pulled", { timeout: 300_000 }, async (model) => {
	const image = await imageOrReason("default");
	if (typeof image === "string") return;
	tuneWebAssembly();
	const kernel = await readFile(imageFile(image, image.manifest.kernel));
	await using runtime = createLabRuntime({ name: "cards", seed: 1, time: "virtual", host: new NodeHost() });
	const link = runtime.addLink("cable", { rate: "10mbit", delay: "5ms" });
	const add = async (name: string, address: string, command: string) => {
		const script = `dmesg -n 1; ip link set eth0 up; ip addr add ${address}/24 dev eth0; ${command}`;
		const initrd = await initrdWith(image, { script });
		return runtime.addMachine({
			name,
			kernel,
			initrd,
			append: "console=ttyS0 quiet panic=-1",
			memory: "128M",
			nics: [{ name: "eth0", model }],
		});
	};
	const carrierMs = model === "ne2k-pci" ? undefined : CARRIER_MS[model];
	const a = await add(
		"a",
		"10.0.0.1",
		`cat /sys/class/net/eth0/address; sleep 1; ping -c 5 -i 0.2 10.0.0.2; echo PINGED; ${carrierMs !== undefined ? WATCH : ""}`,
	);
	const b = await add("b", "10.0.0.2", "sleep 1000");
	a.port("eth0").plug(link.a);
	b.port("eth0").plug(link.b);
	const output = a.machine.console;
	const seen = new Map<string, number>();
	for (const text of ["PINGED", "GONE", "BACK"]) output.expect(text, () => seen.set(text, runtime.clock.nowNs));
	await a.machine.start();
	await b.machine.start();
	const until = (text: string) => runtime.runUntil(runtime.clock.nowNs + 30e9, () => seen.has(text) || a.machine.state === "stopped");
	await until("PINGED");
	const times = [...output.text.matchAll(/seq=[1-9] ttl=64 time=([\d.]+) ms/g)].map((match) => Number(match[1]));
	expect(times.length, output.text).toBe(4);
	expect(output.text).toContain(formatMac(a.macs.get("eth0") as number));
	process.stdout.write(
		`${model}: ping ${Math.min(...times)} to ${Math.max(...times)} ms, ${RTT_MS.toFixed(3)} ms by delay and serialisation\n`,
	);
	for (const time of times) expect(Math.abs(time / RTT_MS - 1)).toBeLessThan(0.01);
	if (carrierMs === undefined) return;
	await runtime.runUntil(runtime.clock.nowNs + 3e9);
	for (const [state, text] of [
		["down", "GONE"],
		["up", "BACK"],
	] as const) {
		const changedNs = runtime.clock.nowNs;
		link.set({ state });
		await until(text);
		const tookMs = ((seen.get(text) ?? Number.POSITIVE_INFINITY) - changedNs) / 1e6;
		process.stdout.write(`${model}: carrier ${state} seen by a program after ${tookMs.toFixed(2)} ms\n`);
		expect(tookMs).toBeLessThan(carrierMs);
	}
});

test("a run's guest gets an address, resolves, fetches from the host where it may, and is fetched from", { timeout: 200_000 }, async ({
	skip,
}) => {
	const image = await imageOrReason("default");
	if (typeof image === "string") return skip(image);
	const server = createServer((request, response) => response.end(`the host's ${request.url}\n`)).listen(0, "127.0.0.1");
	const closed = createServer().listen(0, "127.0.0.1");
	const probe = createServer().listen(0, "127.0.0.1");
	await Promise.all([server, closed, probe].map((each) => once(each, "listening")));
	const [port, closedPort, forwardPort] = [server, closed, probe].map((each) => (each.address() as AddressInfo).port) as [
		number,
		number,
		number,
	];
	await new Promise((resolve) => probe.close(resolve));
	const command = [
		"ip -4 addr show eth0 | grep inet",
		"ping -c 2 10.0.2.1 | grep transmitted",
		`wget -q -O - http://host:${port}/page`,
		`wget -q -O - http://host:${closedPort}/ || echo KEPT`,
		"(echo LISTENING; nc -l -p 80)",
	].join("; ");
	const args = [
		"run",
		"--net",
		"nat",
		"--allow",
		`tcp host:${port}`,
		"--forward",
		`${forwardPort}:80`,
		"--timeout",
		"180s",
		"--",
		"sh",
		"-c",
		command,
	];
	const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
	let output = "";
	let complaints = "";
	child.stderr.on("data", (bytes: Buffer) => {
		complaints += bytes.toString();
	});
	child.stdout.on("data", (bytes: Buffer) => {
		const wasListening = output.includes("LISTENING");
		output += bytes.toString();
		if (!wasListening && output.includes("LISTENING")) setTimeout(() => connect(forwardPort, "127.0.0.1").end("from outside\n"), 300);
	});
	const [code] = (await once(child, "exit")) as [number];
	server.close();
	closed.close();
	expect(output, complaints).toContain("inet 10.0.2.15/24");
	expect(output).toContain("2 packets transmitted, 2 packets received");
	expect(output).toContain("the host's /page");
	expect(output).toContain("KEPT");
	expect(complaints).toContain(`kept the guest from tcp 10.0.2.254:${closedPort}`);
	expect(output).toContain("from outside");
	expect(code).toBe(0);
});
