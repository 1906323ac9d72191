import { once } from "node:events";
import { rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createMachine } from "../../src/host/node/machine.ts";
import { createFork } from "../../src/host/node/snapshot/fork.ts";
import { formatMac } from "../../src/net/frames/address.ts";
import { Jack } from "../../src/net/port.ts";
import { stableMac } from "../../src/net/stable-mac.ts";
import type { NicOptions } from "../../src/vm/config.ts";
import { COMPLAINTS, guestOptions, Rounds, scratchFolder } from "./guest.ts";

const folder = scratchFolder();
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Answers each number by seven times as much; `sessions` holds what came, connection by connection. */
async function sevenfoldServer() {
	const sessions: bigint[][] = [];
	const server = createServer((socket) => {
		const numbers: bigint[] = [];
		sessions.push(numbers);
		let rest = Buffer.alloc(0);
		socket.on("error", () => {});
		socket.on("data", (bytes: Buffer) => {
			rest = Buffer.concat([rest, bytes]);
			for (; rest.length >= 8; rest = rest.subarray(8)) {
				const number = rest.readBigInt64LE();
				numbers.push(number);
				const answer = Buffer.alloc(8);
				answer.writeBigInt64LE(7n * number);
				socket.write(answer);
			}
		});
	});
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	return { server, sessions, port: (server.address() as AddressInfo).port };
}

/** Cards that lead nowhere. */
function others(): NicOptions[] {
	return [
		{ port: new Jack("b"), model: "e1000" },
		{ port: new Jack("c"), model: "ne2k-pci" },
	];
}

test("a guest's TCP session and timers go on across snapshots and restores; a fork gets a reset and another address", async ({ skip }) => {
	const { server, sessions, port } = await sevenfoldServer();
	const network = "ip addr add 10.0.2.15/24 dev $n; ip link set $n up";
	const addresses = "echo $(cat /sys/class/net/eth*/address)";
	// What udev and ifupdown do elsewhere: a card that has come is configured.
	const hotplug = `(while :; do n=$(basename /sys/bus/pci/devices/*:02.0/virtio*/net/*); ip addr show $n 2>/dev/null | grep -q 10.0.2 || { ${network}; }; ${addresses}; sleep 1; done) &`;
	const options = await guestOptions(folder, "network", `${hotplug} sleep 2; exec /program ${port}`);
	if (typeof options === "string") return skip(options);
	const whole = { ...options, memory: "128M", snapshots: join(folder, "snapshots"), nics: others(), net: { allow: [`tcp host:${port}`] } };
	await using machine = await createMachine(whole);
	const watch = new Rounds(machine);
	await machine.start();
	await watch.next();
	const { record: first } = await machine.snapshot();
	const then = await watch.next();
	for (let count = 0; count < 5; count++) await watch.next();
	const { record: second } = await machine.snapshot();
	for (let count = 0; count < 5; count++) await watch.next();
	for (const { id } of [first, second, first, second]) {
		await machine.restore(id);
		const round = await watch.next();
		if (id === first.id) expect(round).toBeLessThanOrEqual(then + 2);
		for (let count = 0; count < 3; count++) await watch.next();
	}
	const last = await watch.next();
	for (let count = 0; count < 8; count++) await watch.next();
	// One session in all this time, in which nothing was said twice.
	expect(sessions).toHaveLength(1);
	expect(sessions[0]).toEqual(sessions[0]?.map((_, index) => BigInt(index + 1)));
	expect(sessions[0]?.length).toBeGreaterThan(last);
	expect(machine.console.text).not.toMatch(/LOST|UNREACHABLE/);

	const fork = await createFork({ ...whole, nics: others(), name: "fork" }, await machine.snapshots(), first.id);
	try {
		await fork.start();
		const forked = new Rounds(fork);
		expect(await fork.waitFor({ console: /LOST \d+|UNREACHABLE \d+/, timeout: "20s" })).toBe("LOST 104");
		const own = ["nic0", "nic1", "nic2"].map((nic) => formatMac(stableMac("", "fork", nic)));
		await fork.waitFor({ console: new RegExp(`^(?=.*${own[0]})(?=.*${own[1]})(?=.*${own[2]}).*$`, "m"), timeout: "30s" });
		await forked.next();
		expect(sessions).toHaveLength(2);
	} finally {
		await fork.stop();
	}
	await watch.next();
	expect(machine.console.text).not.toMatch(COMPLAINTS);
	server.close();
});
