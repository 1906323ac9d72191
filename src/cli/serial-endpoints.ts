import { createWriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { HostError } from "../host/node/host-error.ts";
import type { Machine } from "../vm/machine.ts";
import type { SerialTarget } from "./run-options.ts";

/** One serial port's other end, while a machine runs. */
export interface SerialEndpoint {
	close(): Promise<void>;
}

const nothing: SerialEndpoint = { close: () => Promise.resolve() };

/** Connects port `port` to a file or a socket. (The terminal has its own class.) @throws HostError */
export async function connectSerial(machine: Machine, port: number, target: SerialTarget): Promise<SerialEndpoint> {
	switch (target.kind) {
		case "file":
			return toFile(machine, port, target.path);
		case "tcp":
			return toSocket(machine, port, target.port);
		default:
			return nothing;
	}
}

async function toFile(machine: Machine, port: number, path: string): Promise<SerialEndpoint> {
	// Opened here, so that a path that cannot be written is an error before the machine runs.
	const handle = await open(path, "w").catch((error: NodeJS.ErrnoException) => {
		throw new HostError("bad-file", `--serial file=${path}: ${error.code ?? error.message}`, { cause: error });
	});
	const stream = createWriteStream(path, { fd: handle });
	const off = machine.on("console", (event) => {
		if (event.port === port) stream.write(event.bytes);
	});
	return {
		close: () => {
			off();
			return new Promise((resolve) => stream.end(resolve));
		},
	};
}

/** Listens on the loopback interface only: whoever connects has the guest's console. */
async function toSocket(machine: Machine, port: number, tcpPort: number): Promise<SerialEndpoint> {
	const clients = new Set<Socket>();
	const server = createServer((socket) => {
		clients.add(socket);
		socket.setNoDelay(true);
		socket.on("data", (bytes) => machine.consoles[port]?.write(bytes));
		socket.on("error", () => socket.destroy());
		socket.on("close", () => clients.delete(socket));
	});
	await new Promise<void>((resolve, reject) => {
		server.once("error", (error: NodeJS.ErrnoException) =>
			reject(
				new HostError("in-use", `--serial tcp=:${tcpPort}: ${error.code === "EADDRINUSE" ? "the port is taken" : error.message}`, {
					cause: error,
				}),
			),
		);
		server.listen(tcpPort, "127.0.0.1", resolve);
	});
	const off = machine.on("console", (event) => {
		if (event.port === port) for (const client of clients) client.write(event.bytes);
	});
	return {
		close: () => {
			off();
			for (const client of clients) client.end();
			return new Promise((resolve) => server.close(() => resolve()));
		},
	};
}
