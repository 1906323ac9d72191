import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** The folders that hold what a page may import. */
const SCRIPTS = /^(src|bench\/page|tests\/guest)\/[\w./-]+\.ts$/;
const MAX_REPORT_BYTES = 16 * 1024 * 1024;

/** What makes a page cross-origin isolated (HTML Standard, "Cross-origin opener policies"), and keeps the token to ourselves. */
const HEADERS = {
	"Cross-Origin-Opener-Policy": "same-origin",
	"Cross-Origin-Embedder-Policy": "require-corp",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy": "no-referrer",
	"X-Content-Type-Options": "nosniff",
	"Cache-Control": "no-store",
} as const;

export interface PageServer extends AsyncDisposable {
	/** Where everything begins: every path has the token before it. */
	readonly url: string;
	/** Serves this file of the host's under `name` from now on; answers its address. */
	offer(name: string, path: string): string;
	/** The next thing that a page posts to "report". */
	report(): Promise<unknown>;
}

/**
 * Serves a page and the project's sources, their types taken off on the way, to browsers on this host: bound to the loopback address,
 * for whoever has the token in the address. For benches and tests; it reads each file afresh and packs nothing.
 * @param html the page; its addresses are relative to the token's folder
 */
export async function servePage(html: string): Promise<PageServer> {
	const token = randomBytes(16).toString("hex");
	const offered = new Map<string, string>();
	const reports: unknown[] = [];
	let waiting: ((report: unknown) => void) | undefined;
	const stripped = new Map<string, string>();

	const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
		const { port } = server.address() as AddressInfo;
		const end = (status: number, type: string, body: string): void =>
			void response.writeHead(status, { ...HEADERS, "Content-Type": type }).end(body);
		// Another name for this address may be somebody else's page, which would be of the same origin (DNS rebinding).
		if (request.headers.host !== `127.0.0.1:${port}`) return end(421, "text/plain", "ask for 127.0.0.1\n");
		const { pathname } = new URL(request.url ?? "/", "http://127.0.0.1");
		const [, given, ...rest] = pathname.split("/");
		if (given !== token) return end(403, "text/plain", "the token is missing from the address\n");
		const path = normalize(decodeURIComponent(rest.join("/")));
		if (request.method === "POST" && path === "report") {
			const report: unknown = JSON.parse(await bodyOf(request));
			if (waiting === undefined) reports.push(report);
			else waiting(report);
			waiting = undefined;
			return end(200, "text/plain", "");
		}
		if (path === "." || path === "") return end(200, "text/html; charset=utf-8", html);
		if (path === "favicon.ico") return end(404, "text/plain", "");
		const file = offered.get(path);
		if (file !== undefined) {
			response.writeHead(200, { ...HEADERS, "Content-Type": "application/octet-stream", "Content-Length": (await stat(file)).size });
			return pipeline(createReadStream(file), response);
		}
		if (!SCRIPTS.test(path) || path.includes("..")) return end(404, "text/plain", `${path}: there is no such file\n`);
		let script = stripped.get(path);
		if (script === undefined) stripped.set(path, (script = stripTypeScriptTypes(await readFile(join(ROOT, path), "utf8"))));
		return end(200, "text/javascript; charset=utf-8", script);
	};

	const server: Server = createServer((request, response) => {
		answer(request, response).catch((error: NodeJS.ErrnoException) => {
			if (!response.headersSent) response.writeHead(error.code === "ENOENT" ? 404 : 500, HEADERS);
			response.end(`${error.message}\n`);
		});
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${token}/`;
	return {
		url,
		offer: (name, path) => {
			offered.set(name, path);
			return url + name;
		},
		report: () => {
			if (reports.length > 0) return Promise.resolve(reports.shift());
			return new Promise((resolve) => {
				waiting = resolve;
			});
		},
		[Symbol.asyncDispose]: async () => {
			server.closeAllConnections();
			await new Promise((resolve) => server.close(resolve));
		},
	};
}

async function bodyOf(request: IncomingMessage): Promise<string> {
	const chunks: Buffer[] = [];
	let lengthBytes = 0;
	for await (const chunk of request as AsyncIterable<Buffer>) {
		lengthBytes += chunk.length;
		if (lengthBytes > MAX_REPORT_BYTES) throw new RangeError(`a report of more than ${MAX_REPORT_BYTES} bytes`);
		chunks.push(chunk);
	}
	return Buffer.concat(chunks).toString("utf8");
}
