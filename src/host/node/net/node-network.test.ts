import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { HostTcpEvents } from "../../../net/nat/host-network.ts";
import { nodeNetwork } from "./node-network.ts";

const closing: (() => void)[] = [];
afterEach(() => {
	for (const close of closing.splice(0)) close();
});

/** Events as they come, and a way to wait for one. */
function recorder() {
	const log: string[] = [];
	let wake = (): void => {};
	const note = (what: string): void => {
		log.push(what);
		wake();
	};
	const events: HostTcpEvents = {
		connected: () => note("connected"),
		data: (bytes) => note(`data ${Buffer.from(bytes).toString()}`),
		sent: (bytes) => note(`sent ${bytes}`),
		ended: () => note("ended"),
		closed: (error) => note(`closed ${error}`),
	};
	const until = async (what: string): Promise<void> => {
		while (!log.includes(what))
			await new Promise<void>((resolve) => {
				wake = resolve;
			});
	};
	return { log, events, until };
}

async function echoServer(): Promise<number> {
	const server = createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(0, "127.0.0.1");
	closing.push(() => server.close());
	await once(server, "listening");
	return (server.address() as AddressInfo).port;
}

describe("nodeNetwork", () => {
	it("connects, sends, receives and ends", async () => {
		const { log, events, until } = recorder();
		const socket = nodeNetwork.connectTcp({ address: "127.0.0.1", port: await echoServer() }, events);
		await until("connected");
		socket.write(Buffer.from("hello"));
		await until("data hello");
		socket.end();
		await until("closed undefined");
		expect(log).toEqual(["connected", "sent 5", "data hello", "ended", "closed undefined"]);
	});

	it("says why a connection failed, and nothing after it was given up", async () => {
		const refused = recorder();
		nodeNetwork.connectTcp({ address: "127.0.0.1", port: 1 }, refused.events);
		await refused.until("closed refused");
		const aborted = recorder();
		const socket = nodeNetwork.connectTcp({ address: "127.0.0.1", port: await echoServer() }, aborted.events);
		await aborted.until("connected");
		socket.abort();
		await new Promise((resolve) => setTimeout(resolve, 30));
		expect(aborted.log).toEqual(["connected"]);
	});

	it("hands on no data while paused", async () => {
		const { log, events, until } = recorder();
		const socket = nodeNetwork.connectTcp({ address: "127.0.0.1", port: await echoServer() }, events);
		await until("connected");
		socket.pause();
		socket.write(Buffer.from("x"));
		await new Promise((resolve) => setTimeout(resolve, 30));
		expect(log).not.toContain("data x");
		socket.resume();
		await until("data x");
		socket.abort();
	});

	it("listens, and says so when a port cannot be had", async () => {
		const { events, until } = recorder();
		const probe = createServer().listen(0, "127.0.0.1");
		await once(probe, "listening");
		const { port } = probe.address() as AddressInfo;
		const failure = await new Promise<string>((resolve) => nodeNetwork.listenTcp({ address: "127.0.0.1", port }, () => events, resolve));
		expect(failure).toBe("not-permitted");
		probe.close();
		await once(probe, "close");
		const listener = nodeNetwork.listenTcp({ address: "127.0.0.1", port }, () => events, expect.fail);
		closing.push(() => listener.close());
		await new Promise((resolve) => setTimeout(resolve, 20));
		const client = connect(port, "127.0.0.1");
		client.end("hi");
		await until("data hi");
		await until("ended");
		client.destroy();
	});

	it("sends and receives datagrams", async () => {
		const peer = createSocket("udp4").bind(0, "127.0.0.1");
		closing.push(() => peer.close());
		await once(peer, "listening");
		peer.on("message", (bytes, from) => peer.send(Buffer.concat([bytes, Buffer.from("!")]), from.port, from.address));
		const { port } = peer.address();
		const text = await new Promise<string>((resolve, reject) => {
			const socket = nodeNetwork.udpSocket({
				message: (from, bytes) => resolve(`${from.port === port} ${Buffer.from(bytes).toString()}`),
				failed: (_, error) => reject(new Error(error)),
			});
			closing.push(() => socket.close());
			socket.send({ address: "127.0.0.1", port }, Buffer.from("hey"));
		});
		expect(text).toBe("true hey!");
	});

	it("resolves as the host does, and pings the host itself", async () => {
		const answer = await new Promise((resolve) => nodeNetwork.resolve("localhost", "A", resolve));
		expect(answer).toMatchObject({ kind: "records", records: [{ type: "A", address: Uint8Array.of(127, 0, 0, 1) }] });
		expect(await new Promise((resolve) => nodeNetwork.ping("127.0.0.1", new Uint8Array(8), 64, resolve))).toBe("reply");
	});
});
