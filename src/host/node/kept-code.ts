import { createHash } from "node:crypto";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { threadId } from "node:worker_threads";
import type { KeptCode } from "../../cpu/kept-code.ts";
import { cacheDirectory } from "./paths.js";

/** All that generated code is made from: `cpu` and what it may import (its tsconfig.json). */
export const CODE_SOURCES = ["base", "x86", "wasm", "machine", "cpu"] as const;
const DIGEST_BYTES = 32;
/** What clocks of files and processes may differ by. */
const CLOCK_ERROR_MS = 1000;

/**
 * Generated code in files of the user's cache. A file begins with a digest of its contents and of what its sources look like: their names, sizes and times
 * of change, which no edit leaves as they are. Whoever finds another digest has found nothing.
 */
export class CodeFiles implements KeptCode {
	readonly #folder: string;
	readonly #sources: string;
	readonly #prefix: string;
	/** null: the sources have changed since this process began, so that nobody knows which it has loaded. */
	#stamp: string | null | undefined;

	/** @param sources the folder that has `CODE_SOURCES` in it */
	constructor(folder: string, sources: string) {
		this.#folder = folder;
		this.#sources = sources;
		this.#prefix = createHash("sha256").update(sources).digest("hex").slice(0, 16);
	}

	read(name: string): Uint8Array | undefined {
		try {
			const file = readFileSync(this.#path(name));
			const contents = new Uint8Array(file.buffer, file.byteOffset + DIGEST_BYTES, file.length - DIGEST_BYTES);
			return this.#digest([contents])?.equals(file.subarray(0, DIGEST_BYTES)) === true ? contents : undefined;
		} catch {
			return undefined;
		}
	}

	write(name: string, parts: readonly Uint8Array[]): void {
		const beside = `${this.#path(name)}.${process.pid}.${threadId}`;
		try {
			const digest = this.#digest(parts);
			if (digest === undefined) return;
			mkdirSync(this.#folder, { recursive: true });
			const file = openSync(beside, "w");
			try {
				// One by one: a library is too large to have it twice.
				for (const part of [digest, ...parts]) writeFileSync(file, part);
			} finally {
				closeSync(file);
			}
			renameSync(beside, this.#path(name));
		} catch {
			// A full disk, or a folder that may not be written to: the next start takes longer.
			rmSync(beside, { force: true });
		}
	}

	#path(name: string): string {
		return join(this.#folder, `${this.#prefix}-${name}`);
	}

	#digest(parts: readonly Uint8Array[]): Buffer | undefined {
		this.#stamp ??= this.#stampOfSources();
		if (this.#stamp === null) return undefined;
		const hash = createHash("sha256").update(this.#stamp);
		for (const part of parts) hash.update(part);
		return hash.digest();
	}

	#stampOfSources(): string | null {
		const lines = [process.version];
		let changedMs = 0;
		for (const project of CODE_SOURCES)
			for (const name of readdirSync(join(this.#sources, project), { recursive: true, encoding: "utf8" }).sort()) {
				if (!name.endsWith(".ts") || name.endsWith(".test.ts")) continue;
				const { size, mtimeMs, ctimeMs, ino } = statSync(join(this.#sources, project, name));
				lines.push(`${project}/${name} ${size} ${mtimeMs} ${ctimeMs} ${ino}`);
				changedMs = Math.max(changedMs, ctimeMs, mtimeMs);
			}
		return changedMs + CLOCK_ERROR_MS < performance.timeOrigin ? lines.join("\n") : null;
	}
}

let ours: CodeFiles | undefined;

/** Code made from the sources that this process runs from. */
export function keptCode(): KeptCode {
	ours ??= new CodeFiles(join(cacheDirectory(), "code"), join(import.meta.dirname, "..", ".."));
	return ours;
}
