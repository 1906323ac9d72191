import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Link, type LinkSnapshot, VirtualClock } from "../../src/net/index.ts";
import { runLab, type SimLab } from "./lab.ts";

test("the same lab twice: the same packets to the last byte, on every link", () => {
	const first = runLab();
	expect(runLab().hashes()).toEqual(first.hashes());
	expect(first.received()[0]).toBeGreaterThan(100_000);
	expect(first.received()[1]).toBeGreaterThan(100_000);
	expect(new Set(Object.values(first.hashes())).size).toBe(8);
});

test("another seed: other packets; links made in another order, or beside a stranger: the same", () => {
	const plain = runLab().hashes();
	const seeded = runLab({ seed: 8 }).hashes();
	expect(seeded["srv-sw2"]).not.toBe(plain["srv-sw2"]);
	expect(runLab({ isReversed: true }).hashes()).toEqual(plain);
	expect(runLab({ hasStranger: true }).hashes()).toEqual(plain);
});

test("live changes replay: the same changes at the same times give the same packets", () => {
	const script = ({ clock, links }: SimLab) => {
		clock.timer("change", () => links["srv-sw2"]!.set({ loss: "5%", down: { delay: "60ms" } })).arm(clock.nowNs + 0.4e9);
		clock.timer("cut", () => links["sw1-sw3"]!.set({ state: "down" })).arm(clock.nowNs + 0.8e9);
		clock.timer("mend", () => links["sw1-sw3"]!.set({ state: "up" })).arm(clock.nowNs + 1.2e9);
	};
	const changed = runLab({ script }).hashes();
	expect(runLab({ script }).hashes()).toEqual(changed);
	expect(changed).not.toEqual(runLab().hashes());
});

test("what is drawn for one purpose does not move what is drawn for another", () => {
	const fate = (spec: object) => {
		const clock = new VirtualClock();
		const link = new Link({ name: "wan", clock, seed: 5, spec: { delay: "100ms", ...spec } });
		const arrived = new Map<number, number>();
		link.b.onFrame = (frame) => {
			const id = new DataView(frame.buffer).getUint32(14);
			if (!arrived.has(id)) arrived.set(id, clock.nowNs);
		};
		for (let id = 0; id < 5000; id++) {
			const frame = new Uint8Array(60);
			new DataView(frame.buffer).setUint32(14, id);
			link.a.send(frame);
			clock.advance(400e6);
		}
		return arrived;
	};
	const jitter = { jitter: { spread: "10ms", shape: "normal", correlation: "30%" } };
	const plain = fate({ loss: "5%" });
	const both = fate({ loss: "5%", ...jitter, duplicate: "10%", reorder: "0%" });
	expect([...both.keys()]).toEqual([...plain.keys()]);
	const jittered = fate(jitter);
	for (const [id, timeNs] of both) expect(timeNs).toBe(jittered.get(id));
});

test("a link saved in the middle of a lab's traffic and put into another goes on with the same frames", () => {
	const outcome = (restores: boolean) => {
		const clock = new VirtualClock();
		let link = new Link({ name: "wan", clock, seed: 5, spec: "lte" });
		const out: string[] = [];
		const listen = () => {
			link.b.onFrame = (frame) => out.push(`${clock.nowNs} ${frame[14]}`);
		};
		listen();
		for (let id = 0; id < 600; id++) {
			const frame = new Uint8Array(1514);
			frame[14] = id;
			link.a.send(frame);
			clock.advance(900_000);
			if (id === 300 && restores) {
				const snapshot = structuredClone(link.save()) as LinkSnapshot;
				const before = link;
				link = new Link({ name: "wan", clock, seed: 5, spec: "10mbit" });
				link.load(snapshot);
				before.set({ state: "down" });
				listen();
			}
		}
		clock.advance(10e9);
		return out;
	};
	expect(outcome(true)).toEqual(outcome(false));
});

const hasTshark = spawnSync("tshark", ["--version"]).status === 0;

test.skipIf(!hasTshark)(
	`tshark finds no malformed frame of ours${hasTshark ? "" : " (skipped: no tshark here, apt-get install tshark)"}`,
	() => {
		const folder = mkdtempSync(join(tmpdir(), "basenji-sim-"));
		try {
			// The one cable that damages frames is mended: whatever is wrong now is our making.
			const { captures } = runLab({ script: ({ links }) => links["srv-sw2"]!.set({ corrupt: null }) });
			for (const [name, blocks] of Object.entries(captures)) {
				const file = join(folder, `${name}.pcapng`);
				writeFileSync(file, Buffer.concat(blocks));
				const bad = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0";
				const checks = ["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"].flatMap((each) => ["-o", each]);
				const run = spawnSync("tshark", ["-r", file, ...checks, "-Y", bad, "-T", "fields", "-e", "frame.number"], { encoding: "utf8" });
				expect(run.status).toBe(0);
				expect({ name, badFrames: run.stdout }).toEqual({ name, badFrames: "" });
			}
		} finally {
			rmSync(folder, { recursive: true });
		}
	},
);
