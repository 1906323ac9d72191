import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { UsageError } from "./failure.ts";

/** A path of a Unix socket has 108 bytes at most (unix(7)). */
const MAX_SOCKET_PATH = 100;

/** Where a lab that is up keeps what others need to reach it: `.basenji/NAME/` beside its file. */
export class SessionFolder {
	readonly lab: string;
	readonly directory: string;
	readonly socketPath: string;

	constructor(file: string, lab: string) {
		this.lab = lab;
		this.directory = join(dirname(resolve(file)), ".basenji", lab);
		const inside = join(this.directory, "control");
		const hash = createHash("sha256").update(this.directory).digest("hex").slice(0, 16);
		this.socketPath = inside.length <= MAX_SOCKET_PATH ? inside : join(tmpdir(), `basenji-${hash}`);
	}

	path(name: string): string {
		return join(this.directory, name);
	}

	/** The process that has it up; `undefined` when there is none, or none any more. */
	get processId(): number | undefined {
		try {
			const processId = Number(readFileSync(this.path("process"), "utf8"));
			process.kill(processId, 0);
			return processId;
		} catch (error) {
			return (error as NodeJS.ErrnoException).code === "EPERM" ? Number(readFileSync(this.path("process"), "utf8")) : undefined;
		}
	}

	/** @throws UsageError when the lab is up already */
	claim(): void {
		const owner = this.processId;
		if (owner !== undefined && owner !== process.pid)
			throw new UsageError(`lab ${this.lab} is up already (process ${owner}); basenji down ends it`);
		this.remove();
		mkdirSync(this.directory, { recursive: true, mode: 0o700 });
		writeFileSync(this.path("process"), `${process.pid}\n`);
	}

	/** Leaves nothing behind. */
	remove(): void {
		rmSync(this.directory, { recursive: true, force: true });
		rmSync(this.socketPath, { force: true });
		try {
			rmdirSync(dirname(this.directory));
		} catch {
			// Another lab has its folder there.
		}
	}
}

export interface Request {
	readonly verb: "status" | "perform" | "recording" | "down" | "capture";
	/** `perform`: lines of a timeline. */
	readonly lines?: readonly string[];
	readonly link?: string;
}

type Response = { readonly result: unknown } | { readonly error: string };

export interface Answer {
	readonly result: unknown;
	/** Done when the answer has been written. */
	readonly afterwards?: () => void;
}

/** Answers each line of JSON with another, on a socket that nobody but this user can open. */
export function serve(path: string, answer: (request: Request, socket: Socket) => Answer): Promise<Server> {
	const server = createServer((socket) => {
		socket.on("error", () => socket.destroy());
		const lines = createInterface({ input: socket });
		lines.on("line", (line) => {
			let given: Answer | undefined;
			let response: Response;
			try {
				given = answer(JSON.parse(line) as Request, socket);
				response = { result: given.result };
			} catch (error) {
				response = { error: error instanceof Error ? error.message : String(error) };
			}
			socket.write(`${JSON.stringify(response)}\n`);
			given?.afterwards?.();
		});
		lines.on("error", () => {});
	});
	return new Promise((done, failed) => {
		server.once("error", failed);
		// Made with this mode: one that is changed afterwards could be opened before.
		const before = process.umask(0o177);
		server.listen(path, () => done(server));
		process.umask(before);
	});
}

/** @throws UsageError when the lab is not up */
export function reach(folder: SessionFolder): Promise<Socket> {
	return new Promise((done, failed) => {
		const socket = connect(folder.socketPath);
		socket.once("connect", () => done(socket));
		socket.once("error", () => failed(new UsageError(`lab ${folder.lab} is not up; basenji up starts it`)));
	});
}

/** One question, one answer. @throws UsageError with what the lab has against it */
export async function ask(folder: SessionFolder, request: Request): Promise<unknown> {
	const socket = await reach(folder);
	try {
		socket.write(`${JSON.stringify(request)}\n`);
		for await (const line of createInterface({ input: socket })) {
			const response = JSON.parse(line) as Response;
			if ("error" in response) throw new UsageError(response.error);
			return response.result;
		}
		throw new UsageError(`lab ${folder.lab} has ended`);
	} finally {
		socket.destroy();
	}
}
