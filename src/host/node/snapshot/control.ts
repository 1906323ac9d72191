import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { userInfo } from "node:os";
import { dirname } from "node:path";
import { HostError } from "../host-error.ts";
import type { MachineHome } from "./home.ts";

/** A question to a running machine: a verb and what it needs. One line of JSON; so is the answer. */
export interface Request {
	readonly verb: string;
	readonly [key: string]: unknown;
}

/** Does what is asked. With `stream` the connection is the console's from the answer on. */
export type Handler = (request: Request) => Promise<{ readonly result: unknown; readonly stream?: (socket: Socket) => void }>;

const MAX_REQUEST_BYTES = 64 * 1024;

/** Listens on a socket that only this user can reach. @throws HostError when the folder for it is somebody else's */
export async function listen(path: string, handler: Handler): Promise<Server> {
	const folder = dirname(path);
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	const { uid, mode } = lstatSync(folder);
	if (uid !== userInfo().uid || (mode & 0o077) !== 0)
		throw new HostError("bad-file", `${folder} can be written by others; its mode should be 700`);
	rmSync(path, { force: true });
	const server = createServer((socket) => void serve(socket, handler));
	await new Promise<void>((resolve, reject) => {
		server.once("error", reject);
		server.listen(path, resolve);
	});
	chmodSync(path, 0o600);
	return server;
}

async function serve(socket: Socket, handler: Handler): Promise<void> {
	socket.on("error", () => socket.destroy());
	try {
		const line = await firstLine(socket);
		if (line === undefined) return;
		const { result, stream } = await handler(JSON.parse(line) as Request);
		const answer = `${JSON.stringify({ result })}\n`;
		if (stream === undefined) socket.end(answer);
		else {
			socket.write(answer);
			stream(socket);
		}
	} catch (error) {
		const { message, name } = error instanceof Error ? error : new Error(String(error));
		socket.end(`${JSON.stringify({ error: { name, message } })}\n`);
	}
}

/** What comes up to a line feed; what follows it stays in the socket. */
async function firstLine(socket: Socket): Promise<string | undefined> {
	const bytes: Buffer[] = [];
	return new Promise((resolve, reject) => {
		const onData = (chunk: Buffer): void => {
			const at = chunk.indexOf(10);
			bytes.push(at < 0 ? chunk : chunk.subarray(0, at));
			if (at < 0 && bytes.reduce((sum, { length }) => sum + length, 0) > MAX_REQUEST_BYTES)
				finish(() => reject(new Error("the line is too long")));
			if (at < 0) return;
			socket.pause();
			finish(() => resolve(Buffer.concat(bytes).toString("utf8")));
			if (at + 1 < chunk.length) socket.unshift(chunk.subarray(at + 1));
		};
		const onEnd = (): void => finish(() => resolve(undefined));
		const finish = (settle: () => void): void => {
			socket.off("data", onData);
			socket.off("close", onEnd);
			settle();
		};
		socket.on("data", onData);
		socket.on("close", onEnd);
	});
}

/** The running machine's end of a connection, or `undefined` when nobody runs it. */
export async function reach(home: MachineHome): Promise<Socket | undefined> {
	const socket = connect(home.socket);
	return new Promise((resolve, reject) => {
		socket.once("connect", () => resolve(socket));
		socket.once("error", (error: NodeJS.ErrnoException) => {
			if (error.code === "ENOENT" || error.code === "ECONNREFUSED") resolve(undefined);
			else reject(new HostError("bad-file", `${home.socket}: ${error.code}`, { cause: error }));
		});
	});
}

/** What a running machine answers; `undefined` when it is off. @throws HostError with what it has against the question */
export async function ask(home: MachineHome, request: Request): Promise<{ readonly result: unknown; readonly socket: Socket } | undefined> {
	const socket = await reach(home);
	if (socket === undefined) return undefined;
	socket.write(`${JSON.stringify(request)}\n`);
	const line = await firstLine(socket);
	if (line === undefined) throw new HostError("command-failed", `${home.name}: the machine ended before it answered`);
	const answer = JSON.parse(line) as { result?: unknown; error?: { message: string } };
	if (answer.error !== undefined) {
		socket.destroy();
		throw new HostError("command-failed", answer.error.message);
	}
	return { result: answer.result, socket };
}
