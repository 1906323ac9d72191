import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findTool } from "../../src/host/node/command.ts";
import { GuestShell, lab, openLab, router, sw, vm } from "../../src/host/node/lab/index.ts";
import { imageOrReason } from "./images.ts";

const LIMIT = { timeout: 400_000 };
/** What tshark finds wrong with a frame, whoever made it. */
const BAD = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0";
const CHECKS = ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"].flatMap((name) => ["-o", `${name}:TRUE`]);

/** What a guest sees of its interrupts, by name ("input.0"). */
function interrupts(text: string): ReadonlyMap<string, number> {
	const counts = new Map<string, number>();
	for (const [, perCpu = "", name = ""] of text.matchAll(/^ *\d+: +([\d ]+?) +PCI-MSI.* virtio\d-((?:in|out)put\.\d)\r?$/gm))
		counts.set(
			name,
			perCpu.split(/ +/).reduce((sum, count) => sum + Number(count), 0),
		);
	return counts;
}

/** Minutes of a processor's time: not among what every change is tried with. */
const isAsked = process.env.BASENJI_ALL_CARDS === "1";

test.skipIf(!isAsked)(
	"a guest of two processors uses two pairs of queues; tshark finds nothing wrong with what guests and nodes send",
	LIMIT,
	async ({ skip }) => {
		const image = await imageOrReason("default");
		if (typeof image === "string") return skip(image);
		const draft = lab("queues", { seed: 3, clock: "virtual" });
		const a = draft.add(vm("a", { image: "default", memory: "128M", cpus: 2 }));
		const b = draft.add(vm("b", { image: "default", memory: "128M" }));
		const gw = draft.add(router("gw", { ip: { a: "10.1.0.1/24", s: "10.2.0.1/24" }, dhcp: true, dns: true }));
		const s = draft.add(sw("s", { stp: "rstp" }));
		const directory = await mkdtemp(join(tmpdir(), "basenji-cards-"));
		const capture = join(directory, "cards.pcapng");
		try {
			draft.link(a, gw, { rate: "100mbit", delay: "1ms ±300us", loss: "0.5%", duplicate: "0.5%", capture });
			draft.link(gw, s, "1gbit");
			draft.link(b, s, "1gbit");
			await using running = await openLab(draft);
			const [shell, peer] = [new GuestShell(running, "a"), new GuestShell(running, "b")];
			// What the kernel says in between is not what was asked.
			for (const each of [shell, peer]) await each.run("dmesg -n 1");
			await peer.run("(while :; do dd if=/dev/zero bs=1k count=512 2>/dev/null | nc -l -p 80; done) &");
			const address = running.addressOf("b") as string;
			expect((await shell.run("ls /sys/class/net/eth0/queues")).output.split(/\s+/).filter(Boolean).sort()).toEqual([
				"rx-0",
				"rx-1",
				"tx-0",
				"tx-1",
			]);
			const fetch = (mask: number) => shell.run(`for i in 1 2 3; do sleep 3 | taskset ${mask} nc ${address} 80 | wc -c; done`, 120e9);
			for (const mask of [1, 2]) expect((await fetch(mask)).output.trim().split(/\s+/)).toEqual(["524288", "524288", "524288"]);
			const counts = interrupts((await shell.run("cat /proc/interrupts")).output);
			process.stdout.write(`two processors: ${[...counts].map(([name, count]) => `${name} ${count}`).join(", ")}\n`);
			for (const name of ["input.0", "input.1"]) expect(counts.get(name)).toBeGreaterThan(50);
			expect((await shell.run(`ping -c 3 ${address}; nslookup b; ping6 -c 2 ff02::1%eth0`)).output).toContain("seq=0");
			await running[Symbol.asyncDispose]();
			if (findTool("tshark") === undefined) return;
			const tshark = (...args: string[]) => execFileSync("tshark", ["-r", capture, ...CHECKS, ...args], { encoding: "utf8" });
			expect(tshark("-Y", BAD, "-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info")).toBe("");
			expect(tshark("-T", "fields", "-e", "frame.number").trim().split("\n").length).toBeGreaterThan(4000);
			const seen = new Set(tshark("-T", "fields", "-e", "_ws.col.Protocol").trim().split("\n"));
			for (const protocol of ["ARP", "DHCP", "DNS", "ICMP", "ICMPv6", "TCP"]) expect([...seen]).toContain(protocol);
		} finally {
			await rm(directory, { recursive: true });
		}
	},
);

const CARDS = [
	["default-i386", "e1000", "686-pae", "ne2k-pci"],
	["686-pae", "e1000", "default-i386", "ne2k-pci"],
	["686-pae", "virtio", "default-i386", "virtio"],
] as const;

test.skipIf(!isAsked).each(CARDS)("32-bit guests: %s with %s, %s with %s", LIMIT, async (imageA, cardA, imageB, cardB) => {
	for (const name of [imageA, imageB]) if (typeof (await imageOrReason(name)) === "string") return;
	const draft = lab("cards", { seed: 4, clock: "virtual" });
	const a = draft.add(vm("a", { image: imageA, nic: cardA, ip: "10.0.0.1/24" }));
	const b = draft.add(vm("b", { image: imageB, nic: cardB, ip: "10.0.0.2/24" }));
	draft.link(a, b, { rate: "100mbit" });
	await using running = await openLab(draft);
	const [shell, peer] = [new GuestShell(running, "a"), new GuestShell(running, "b")];
	// What the kernel says in between is not what was asked.
	for (const each of [shell, peer]) await each.run("dmesg -n 1");
	const { output } = await shell.run("ping -c 5 -i 0.2 10.0.0.2; ping -c 3 -s 1472 10.0.0.2");
	expect(output).toContain("5 packets transmitted, 5 packets received");
	expect(output).toContain("3 packets transmitted, 3 packets received");
	// BusyBox's nc ends with the first of its two inputs.
	await peer.run("sleep 60 | nc -l -p 80 | md5sum >/tmp/sum &");
	const sum = (await shell.run("dd if=/dev/urandom of=/tmp/data bs=1k count=1024 2>/dev/null; md5sum </tmp/data")).output.trim();
	await shell.run("nc 10.0.0.2 80 </tmp/data", 120e9);
	expect((await peer.run("while [ ! -s /tmp/sum ]; do sleep 0.1; done; cat /tmp/sum")).output).toContain(sum);
	for (const each of [shell, peer]) {
		const counters = (await each.run("(cd /sys/class/net/eth0/statistics; cat rx_errors tx_errors rx_dropped tx_dropped)")).output;
		expect(counters.trim().split(/\s+/), "errors that the driver counts").toEqual(["0", "0", "0", "0"]);
		await each.run("dmesg >/tmp/log");
		// Short, because a line that the console wraps comes back in pieces.
		expect((await each.run("grep -cE 'eth0.*(hang|timed|bogus)' /tmp/log")).output, "complaints of the kernel").toMatch(/^0\s*$/m);
	}
});
