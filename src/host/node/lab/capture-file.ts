import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { CaptureSink } from "../../../lab/lab.ts";
import { HostError } from "../host-error.ts";

/** Blocks are gathered up to this, so that a busy link does not cost a system call a frame. */
const GATHER_BYTES = 64 * 1024;
/** How long a block may wait: whoever follows the file live sees it by then. */
const GATHER_MS = 200;

/**
 * A capture's file; also a named pipe (Wireshark at its other end), or `-` for standard output. It is written in order
 * and complete after `close`.
 */
export class CaptureFile implements CaptureSink {
	readonly path: string;
	readonly #descriptor: number;
	#gathered: Uint8Array[] = [];
	#gatheredBytes = 0;
	#timer: NodeJS.Timeout | undefined;
	#error: unknown;

	/** @throws HostError when it cannot be made */
	constructor(path: string) {
		this.path = path;
		try {
			if (path !== "-") mkdirSync(dirname(path), { recursive: true });
			this.#descriptor = path === "-" ? 1 : openSync(path, "w");
		} catch (error) {
			throw new HostError("bad-file", `capture: ${path}: ${(error as Error).message}`, { cause: error });
		}
	}

	write(bytes: Uint8Array): void {
		this.#gathered.push(bytes);
		this.#gatheredBytes += bytes.length;
		if (this.#gatheredBytes >= GATHER_BYTES) this.flush();
		else
			this.#timer ??= setTimeout(() => {
				this.flush();
			}, GATHER_MS);
	}

	/** @throws HostError when not everything could be written */
	async close(): Promise<void> {
		this.flush();
		if (this.#descriptor !== 1) closeSync(this.#descriptor);
		if (this.#error !== undefined)
			throw new HostError("bad-file", `capture: ${this.path}: ${(this.#error as Error).message}`, { cause: this.#error });
	}

	/** What has been gathered is in the file afterwards. */
	flush(): void {
		clearTimeout(this.#timer);
		this.#timer = undefined;
		const bytes = Buffer.concat(this.#gathered);
		this.#gathered = [];
		this.#gatheredBytes = 0;
		// A reader that has gone (a closed pipe), a full disk: told at the end, and the lab goes on.
		if (this.#error !== undefined) return;
		try {
			for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
		} catch (error) {
			this.#error = error;
		}
	}
}
