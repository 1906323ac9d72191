import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { host, lab, nat, openLab, sw, vm } from "../../src/host/node/lab/index.ts";
import { FakeHost } from "../../src/net/index.ts";

const folder = mkdtempSync(join(tmpdir(), "basenji-open-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const kernel = join(folder, "kernel");
writeFileSync(kernel, new Uint8Array(64));

test.each([
	["an image that is none", { image: "nonesuch" }, /no image is called "nonesuch"; there are: default/],
	["a kernel that is not there", { kernel: "nowhere" }, /nowhere: .*no such file/],
	["a kernel that is none", { kernel, memory: "64M" }, /kernel/],
	["a disk that is not there", { kernel, disks: "gone.img" }, /gone\.img/],
	["a disk's wrong key", { kernel, disks: "a.img,colour=red" }, /colour=red in a\.img,colour=red; keys are format, mode, bus/],
	["more memory than there is", { kernel, memory: "900G" }, /need 900\.\d*|need .*; expected at most/],
])("%s is told before anything runs", async (_name, spec, says) => {
	const draft = lab("wrong");
	draft.add(vm("a", spec));
	await expect(openLab(draft, { directory: folder })).rejects.toThrow(says);
});

test("relative names start from the lab file: traces are read, captures written", async () => {
	writeFileSync(join(folder, "trace"), "1\n1\n2\n5\n");
	writeFileSync(
		join(folder, "lab.yaml"),
		"lab: t\nnodes:\n  a: { kind: host, ip: 10.0.0.1/24 }\n  b: { kind: host, ip: 10.0.0.2/24 }\nlinks:\n  - a -- b: { trace: trace, capture: { file: sub/a.pcapng, points: [delivered] } }\n",
	);
	await using running = await openLab(join(folder, "lab.yaml"));
	expect(running.link("b -- a").forth.config.opportunitiesMs).toEqual([1, 1, 2, 5]);
	running.station("a").ping(running.network.addressOf("b")!, { count: 1, intervalNs: 1 }, () => {});
	await running.run({ until: "1s" });
	expect(running.link("a--b").stats.deliveredFrames).toBe(4);
});

test("a NAT leads where it is told, by default to the host", async () => {
	const draft = lab("out", { clock: "virtual" });
	const s = draft.add(sw("s"));
	draft.link(draft.add(host("a", { ip: "10.0.2.9/24", gateway: "10.0.2.1" })), s);
	draft.link(draft.add(nat("isp", { allow: "any internet" })), s);
	let outside: FakeHost | undefined;
	await using running = await openLab(draft, {
		network: (clock) => {
			outside = new FakeHost(clock);
			return outside;
		},
	});
	outside?.pings.set("93.184.216.34", "reply");
	const replies: number[] = [];
	running.station("a").ping(0x5db8d822, { count: 2, intervalNs: 1e8 }, ({ rttNs }) => replies.push(rttNs));
	await running.run({ until: "3s" });
	expect(replies).toHaveLength(2);
	await using plain = await openLab(draft);
	expect(plain.network.nats.size).toBe(1);
});
