import { connect, createServer, type Socket } from "node:net";
import type { HostEndpoint, HostListener, HostSocketError, HostTcpEvents, HostTcpSocket } from "../../../net/nat/host-network.ts";
import { socketError } from "./errors.ts";

/** A connection that has been asked for, as the NAT holds it. */
export function connectTcp(to: HostEndpoint, events: HostTcpEvents): HostTcpSocket {
	const socket = connect({ host: to.address, port: to.port, allowHalfOpen: true, noDelay: true });
	socket.on("connect", () => events.connected());
	return hold(socket, events);
}

/** Calls `accept` for each connection to `at`. */
export function listenTcp(
	at: HostEndpoint,
	accept: (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents,
	failed: (error: HostSocketError) => void,
): HostListener {
	const sockets = new Set<Socket>();
	const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
		sockets.add(socket);
		socket.on("close", () => sockets.delete(socket));
		let events: HostTcpEvents | undefined;
		const told = (): HostTcpEvents => events as HostTcpEvents;
		const held = hold(socket, {
			connected: () => {},
			data: (bytes) => told().data(bytes),
			sent: (bytes) => told().sent(bytes),
			ended: () => told().ended(),
			closed: (error) => told().closed(error),
		});
		events = accept(held, { address: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 });
		socket.resume();
	});
	server.on("error", (error) => failed(socketError(error)));
	server.listen({ host: at.address, port: at.port });
	return {
		close: () => {
			server.close();
			for (const socket of sockets) socket.destroy();
		},
	};
}

function hold(socket: Socket, events: HostTcpEvents): HostTcpSocket {
	let isAborted = false;
	let failure: HostSocketError | undefined;
	const tell = (action: () => void): void => {
		if (!isAborted) action();
	};
	socket.on("data", (bytes: Buffer) => tell(() => events.data(bytes)));
	socket.on("end", () => tell(() => events.ended()));
	socket.on("error", (error) => {
		failure = socketError(error);
	});
	socket.on("close", () => tell(() => events.closed(failure)));
	return {
		write: (bytes) => {
			// The bytes may lie in a frame that others hold too, but nobody writes to it any more.
			socket.write(bytes, () => tell(() => events.sent(bytes.length)));
		},
		end: () => socket.end(),
		abort: () => {
			isAborted = true;
			if (socket.connecting) socket.destroy();
			else socket.resetAndDestroy();
		},
		pause: () => socket.pause(),
		resume: () => socket.resume(),
	};
}
