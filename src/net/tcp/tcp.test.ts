import fc from "fast-check";
import { expect, test } from "vitest";
import { parseIpv4Address } from "../frames/address.ts";
import { parseEthernet } from "../frames/ethernet.ts";
import { parseIpv4 } from "../frames/ipv4.ts";
import { parseTcp, TCP_ACK, TCP_RST, TCP_SYN } from "../frames/tcp.ts";
import { IpNode } from "../ip/node.ts";
import { Link } from "../link/link.ts";
import type { LinkSpecText } from "../link/spec.ts";
import { VirtualClock } from "../time.ts";
import type { TcpConnection } from "./connection.ts";
import type { TcpEvents } from "./contract.ts";
import { ReorderBuffer, SendBuffer } from "./send-buffer.ts";
import { TcpStack, type TcpStackOptions } from "./stack.ts";

const SERVER = parseIpv4Address("10.0.0.2") as number;

function rig(spec: LinkSpecText = {}, options: Partial<TcpStackOptions> = {}) {
	const clock = new VirtualClock();
	const link = new Link({ name: "l", clock, seed: 3, spec });
	const make = (name: string, address: string, port: Link["a"]) => {
		const node = new IpNode({ name, clock, forwards: false });
		node.addInterface({ name: "eth0", mac: 0x0200_0000_0000 + address.charCodeAt(7), address });
		node.port("eth0").plug(port);
		return new TcpStack(node, { seed: 1, ...options });
	};
	return { clock, link, client: make("client", "10.0.0.1/24", link.a), server: make("server", "10.0.0.2/24", link.b) };
}

function pattern(length: number): Uint8Array {
	const bytes = new Uint8Array(length);
	let x = 1;
	for (let at = 0; at < length; at++) bytes[at] = (x = (x * 48_271) % 2_147_483_647) >> 8;
	return bytes;
}

/** Events that note what happened, and take data at once. */
function recorder(more: (connection: () => TcpConnection) => TcpEvents = () => ({})) {
	const log: string[] = [];
	const chunks: Uint8Array[] = [];
	const events = (connection: () => TcpConnection): TcpEvents => ({
		established: () => log.push("established"),
		data: (bytes) => {
			chunks.push(bytes.slice());
			connection().consumed(bytes.length);
		},
		ended: () => log.push("ended"),
		closed: (reason) => log.push(reason),
		...more(connection),
	});
	return { log, events, bytes: () => Uint8Array.from(chunks.flatMap((chunk) => [...chunk])) };
}

test("connect, send both ways, close one side and then the other", () => {
	const { clock, client, server } = rig({ rate: "10mbit", delay: "10ms" });
	const atServer = recorder((connection) => ({
		ended: () => {
			connection().write(pattern(5000));
			connection().end();
		},
	}));
	const atClient = recorder();
	server.listen(80, (connection) => atServer.events(connection));
	const connection = client.connect(SERVER, 80, atClient.events)!;
	connection.write(pattern(3000));
	connection.end();
	clock.advance(2e9);
	expect(atServer.bytes()).toEqual(pattern(3000));
	expect(atClient.bytes()).toEqual(pattern(5000));
	expect(atClient.log).toEqual(["established", "ended"]);
	expect(connection.state).toBe("time-wait");
	expect(server.connectionCount).toBe(0);
	clock.advance(61e9);
	expect(atClient.log).toEqual(["established", "ended", "done"]);
	expect(client.connectionCount).toBe(0);
});

test("a closed port refuses; a dead host times out; abort resets the other side", () => {
	const { clock, link, client, server } = rig();
	const refused = recorder();
	client.connect(SERVER, 81, refused.events);
	clock.advance(1e9);
	expect(refused.log).toEqual(["refused"]);
	const atServer = recorder();
	server.listen(80, (connection) => atServer.events(connection));
	const atClient = recorder();
	const connection = client.connect(SERVER, 80, atClient.events)!;
	clock.advance(1e9);
	connection.abort();
	clock.advance(1e9);
	expect([atClient.log, atServer.log]).toEqual([
		["established", "reset"],
		["established", "reset"],
	]);
	link.set({ state: "silent" });
	const dead = recorder();
	client.connect(SERVER, 80, dead.events);
	clock.advance(1000e9);
	expect(dead.log).toEqual(["timeout"]);
});

test.each<[string, LinkSpecText]>([
	["loss", { rate: "10mbit", delay: "5ms", loss: "5%" }],
	["bursts", { rate: "10mbit", delay: "5ms", loss: { model: "gilbert", rate: "5%", burst: 5 } }],
	["reordering", { rate: "10mbit", delay: "5ms", jitter: { spread: "4ms", order: "free" } }],
	["duplicates and damage", { rate: "10mbit", delay: "5ms", duplicate: "10%", corrupt: "3%" }],
	["a short queue", { rate: "10mbit", delay: "20ms", queue: "5 packets" }],
])("a megabyte each way comes through %s whole", (_name, spec) => {
	const { clock, client, server } = rig(spec);
	const data = pattern(1_000_000);
	const atServer = recorder((connection) => ({ established: () => connection().write(data), ended: () => connection().end() }));
	const atClient = recorder();
	server.listen(80, (connection) => atServer.events(connection));
	const connection = client.connect(SERVER, 80, atClient.events)!;
	connection.write(data);
	connection.end();
	clock.advance(200e9);
	expect(Buffer.from(atServer.bytes()).equals(Buffer.from(data))).toBe(true);
	expect(Buffer.from(atClient.bytes()).equals(Buffer.from(data))).toBe(true);
	expect(server.connectionCount + client.connectionCount).toBe(0);
});

test("a connection that is aborted as soon as it is established says nothing behind its reset", () => {
	const { clock, link, client, server } = rig({ delay: "10ms" });
	const atServer = recorder();
	const atClient = recorder((connection) => ({ established: () => connection().abort() }));
	server.listen(80, (connection) => atServer.events(connection));
	const flags: number[] = [];
	link.up.tap(({ point, frame }) => {
		const packet = point === "sent" ? parseIpv4(parseEthernet(frame)!.payload) : undefined;
		if (packet !== undefined) flags.push(parseTcp(packet.payload, packet.source, packet.destination)!.flags);
	});
	client.connect(SERVER, 80, atClient.events)!.write(pattern(10));
	clock.advance(200e9);
	expect(flags).toEqual([TCP_SYN, TCP_RST | TCP_ACK]);
	expect([atServer.log, client.connectionCount, server.connectionCount]).toEqual([["reset"], 0, 0]);
});

test("a reader that does not read stops the sender; reading lets it go on, even if the news of it is lost", () => {
	const { clock, link, client, server } = rig({ rate: "100mbit" }, { receiveBufferBytes: 20_000 });
	let held = 0;
	let reader: TcpConnection | undefined;
	server.listen(80, (connection) => ({
		established: () => {
			reader = connection();
		},
		data: (bytes) => {
			held += bytes.length;
		},
	}));
	const connection = client.connect(SERVER, 80, () => ({}))!;
	connection.write(pattern(100_000));
	clock.advance(5e9);
	expect(held).toBeGreaterThan(19_000);
	expect(held).toBeLessThanOrEqual(20_000);
	link.set({ state: "silent" }, "down");
	reader!.consumed(held);
	held = 0;
	clock.advance(1e9);
	link.set({ state: "up" }, "down");
	clock.advance(60e9);
	expect(held).toBeGreaterThan(15_000);
	for (let round = 0; round < 20; round++) {
		const taken = held;
		held = 0;
		reader!.consumed(taken);
		clock.advance(5e9);
	}
	expect(connection.unsentBytes).toBe(0);
});

test("segments of 1448 bytes with timestamps and 1460 without; windows beyond 64 KB", () => {
	for (const [usesTimestamps, size] of [
		[true, 1448],
		[false, 1460],
	] as const) {
		const { clock, link, client, server } = rig({ delay: "50ms" }, { usesTimestamps });
		const sizes = new Set<number>();
		link.up.tap((event) => {
			const packet = parseIpv4(parseEthernet(event.frame)!.payload);
			const segment = packet === undefined ? undefined : parseTcp(packet.payload, packet.source, packet.destination);
			if (segment !== undefined && event.point === "sent") sizes.add(segment.payload.length);
		});
		const atServer = recorder();
		server.listen(80, (connection) => atServer.events(connection));
		const connection = client.connect(SERVER, 80, () => ({}))!;
		connection.write(new Uint8Array(size * 2000));
		clock.advance(1.2e9);
		expect([...sizes].sort((a, b) => a - b)).toEqual([0, size]);
		expect(atServer.bytes().length).toBe(size * 2000);
	}
});

test("forged segments: resets and data outside the window, acknowledgments of the future, SYNs in the middle", () => {
	const { clock, link, client, server } = rig({ delay: "1ms" });
	const atServer = recorder();
	server.listen(80, (connection) => atServer.events(connection));
	const connection = client.connect(SERVER, 80, recorder().events)!;
	connection.write(pattern(1000));
	let captured: Uint8Array | undefined;
	link.up.tap((event) => {
		if (event.point === "delivered" && event.frame.length > 500) captured = event.frame;
	});
	clock.advance(1e9);
	const packet = parseIpv4(parseEthernet(captured!)!.payload)!;
	const segment = parseTcp(packet.payload, packet.source, packet.destination)!;
	const forge = (change: object) => server.handle(packet, { ...segment, ...change });
	forge({ flags: 0x04, sequence: (segment.sequence + 5_000_000) >>> 0, payload: new Uint8Array(0) });
	forge({ flags: 0x02, payload: new Uint8Array(0) });
	forge({ acknowledgment: (segment.acknowledgment + 1_000_000) >>> 0, sequence: (segment.sequence + 1000) >>> 0 });
	forge({ sequence: (segment.sequence - 2_000_000) >>> 0 });
	forge({ flags: 0 });
	clock.advance(1e9);
	connection.write(pattern(10));
	clock.advance(1e9);
	expect(atServer.log).toEqual(["established"]);
	expect(atServer.bytes().length).toBe(1010);
});

test("buffers: any overlapping pieces in any order give the stream; released bytes are gone", () => {
	fc.assert(
		fc.property(fc.array(fc.tuple(fc.nat(300), fc.nat(60)), { maxLength: 60 }), (pieces) => {
			const stream = pattern(400);
			const buffer = new ReorderBuffer();
			for (const [start, length] of pieces) buffer.add(start, stream.subarray(start, start + length));
			let position = 0;
			for (let part = buffer.take(0); part !== undefined; part = buffer.take(position)) {
				expect(part).toEqual(stream.subarray(position, position + part.length));
				position += part.length;
			}
			const covers = (at: number) => pieces.some(([start, length]) => start <= at && at < start + length);
			expect(covers(position)).toBe(false);
			for (let at = 0; at < position; at++) expect(covers(at)).toBe(true);
		}),
	);
	const sent = new SendBuffer(1000);
	for (let size = 1; size < 20; size++) sent.push(pattern(size));
	expect(sent.release(1005)).toBe(5);
	expect(sent.slice(1006, 4)).toEqual(pattern(4));
	expect(sent.slice(1180, 100)).toEqual(pattern(19).subarray(9));
	expect(sent.release(5000)).toBe(185);
	expect(sent.size).toBe(0);
});
