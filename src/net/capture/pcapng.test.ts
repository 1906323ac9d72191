import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { buildEthernet, buildIpv4, buildUdp } from "../frames/index.ts";
import { Link } from "../link/link.ts";
import { VirtualClock } from "../time.ts";
import { captureLink } from "./link-capture.ts";
import { PcapngWriter } from "./pcapng.ts";

function recording() {
	const blocks: Uint8Array[] = [];
	return { blocks, write: (bytes: Uint8Array) => blocks.push(bytes), file: () => Buffer.concat(blocks) };
}

test("blocks frame themselves at both ends and are whole words", () => {
	const { blocks, write } = recording();
	const writer = new PcapngWriter(write, { comment: "lab “x”" });
	const id = writer.addInterface({ name: "wan", speedBps: 10e9 });
	for (let size = 0; size < 9; size++)
		writer.packet({ interfaceId: id, timeNs: 2 ** 40 + size, frame: new Uint8Array(size), comment: "c".repeat(size) });
	writer.statistics(id, 2 ** 41, 9, 0);
	for (const block of blocks) {
		const view = new DataView(block.buffer, block.byteOffset);
		expect(block.length % 4).toBe(0);
		expect(view.getUint32(4, true)).toBe(block.length);
		expect(view.getUint32(block.length - 4, true)).toBe(block.length);
	}
	expect(blocks.map((block) => block[0])).toEqual([0x0a, 1, ...Array(9).fill(6), 5]);
	const packet = new DataView(blocks[2]!.buffer);
	expect([packet.getUint32(12, true), packet.getUint32(16, true)]).toEqual([256, 0]);
});

/** A link with drops of two kinds, recorded. */
function linkCapture(): Buffer {
	const { write, file } = recording();
	const clock = new VirtualClock();
	const link = new Link({
		name: "wan",
		clock,
		seed: 1,
		spec: { rate: "10mbit", delay: "5ms", queue: "2 packets", down: { loss: { model: "pattern", pattern: ".x" } } },
	});
	const end = captureLink(link, new PcapngWriter(write, { epochNs: 1_700_000_000_000_000_000n }), clock);
	for (let id = 0; id < 5; id++) {
		const udp = buildUdp({ sourcePort: 1000 + id, destinationPort: 9, payload: new Uint8Array(100) }, 1, 2);
		const payload = buildIpv4({ protocol: 17, source: 0x0a000001, destination: 0x0a000002, payload: udp });
		for (const port of [link.a, link.b]) port.send(buildEthernet({ destination: 2, source: 1, etherType: 0x0800, payload }));
	}
	clock.advance(1e9);
	end();
	return file();
}

test("a link's capture repeats to the last byte", () => {
	expect(linkCapture().equals(linkCapture())).toBe(true);
});

const hasTshark = spawnSync("tshark", ["--version"]).status === 0;

test.skipIf(!hasTshark)(`tshark reads a link's capture${hasTshark ? "" : " (skipped: no tshark here, apt-get install tshark)"}`, () => {
	const folder = mkdtempSync(join(tmpdir(), "basenji-pcapng-"));
	try {
		const file = join(folder, "wan.pcapng");
		writeFileSync(file, linkCapture());
		const fields = ["frame.interface_name", "frame.time_epoch", "frame.comment", "udp.srcport", "_ws.malformed"];
		const lines = execFileSync("tshark", ["-r", file, "-T", "fields", "-E", "separator=|", ...fields.flatMap((field) => ["-e", field])], {
			encoding: "utf8",
		})
			.trim()
			.split("\n")
			.map((line) => line.split("|"));
		const of = (name: string) => lines.filter((line) => line[0] === name);
		expect(of("wan a>b sent")).toHaveLength(5);
		expect(of("wan a>b delivered")).toHaveLength(3);
		expect(of("wan a>b dropped").map((line) => line[2])).toEqual([
			"frame 3 dropped (queue): no room in the queue",
			"frame 4 dropped (queue): no room in the queue",
		]);
		expect(of("wan b>a dropped").map((line) => line[2])[2]).toBe("frame 1 dropped (loss): lost by the loss model");
		expect(of("wan a>b delivered").map((line) => line[1])).toEqual([
			"1700000000.005132800",
			"1700000000.005265600",
			"1700000000.005398400",
		]);
		expect(lines.every((line) => line[4] === "")).toBe(true);
	} finally {
		rmSync(folder, { recursive: true });
	}
});
