import { encodeUtf8, Utf8Decoder } from "../base/utf8.ts";
import type { MachineConfig } from "./config.ts";

/** How much of a port's output is kept for `text` and for patterns that are waited for. */
const KEPT_CHARACTERS = 256 * 1024;

interface Waiter {
	readonly pattern: string | RegExp;
	readonly found: (match: string) => void;
}

/** One serial port of a machine, seen from outside: what the guest writes, and what is typed at it. */
export class Console implements AsyncIterable<Uint8Array> {
	readonly port: number;
	readonly #send: (bytes: Uint8Array) => void;
	readonly #decoder = new Utf8Decoder();
	readonly #readers = new Set<Reader>();
	readonly #waiters = new Set<Waiter>();
	#text = "";
	/** Where in `#text` the next pattern is looked for: behind the last one found. */
	#searchFrom = 0;
	#isClosed = false;

	constructor(port: number, send: (bytes: Uint8Array) => void) {
		this.port = port;
		this.#send = send;
	}

	/** The last 256 Ki characters that the guest has written. */
	get text(): string {
		return this.#text;
	}

	/** Types at the guest. */
	write(input: string | Uint8Array): void {
		this.#send(typeof input === "string" ? encodeUtf8(input) : input);
	}

	/** The guest's output from now on, until the machine ends. */
	[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
		const reader = new Reader(() => this.#readers.delete(reader));
		if (this.#isClosed) reader.close();
		else this.#readers.add(reader);
		return reader;
	}

	/** For the machine: the guest has written. */
	receive(bytes: Uint8Array): void {
		for (const reader of this.#readers) reader.push(bytes);
		this.#text += this.#decoder.decode(bytes);
		this.#serve();
		// Cut by halves, so that a chatty guest does not have the text copied for every character.
		if (this.#text.length > 2 * KEPT_CHARACTERS) {
			const cut = this.#text.length - KEPT_CHARACTERS;
			this.#text = this.#text.slice(cut);
			this.#searchFrom = Math.max(0, this.#searchFrom - cut);
		}
	}

	/** For the machine: nothing more will come. */
	close(): void {
		this.#isClosed = true;
		for (const reader of this.#readers) reader.close();
		this.#readers.clear();
	}

	/**
	 * Calls `found` as soon as the pattern stands in the output behind the last match (at once, if it does already).
	 * @returns a function that gives up waiting
	 */
	expect(pattern: string | RegExp, found: (match: string) => void): () => void {
		const waiter: Waiter = { pattern, found };
		this.#waiters.add(waiter);
		this.#serve();
		return () => this.#waiters.delete(waiter);
	}

	#serve(): void {
		for (const waiter of this.#waiters) {
			const match = this.#find(waiter.pattern);
			if (match === undefined) continue;
			this.#searchFrom = match.end;
			this.#waiters.delete(waiter);
			waiter.found(match.text);
		}
	}

	#find(pattern: string | RegExp): { text: string; end: number } | undefined {
		if (typeof pattern === "string") {
			const at = this.#text.indexOf(pattern, this.#searchFrom);
			return at < 0 ? undefined : { text: pattern, end: at + pattern.length };
		}
		const match = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")).exec(this.#text.slice(this.#searchFrom));
		return match === null ? undefined : { text: match[0], end: this.#searchFrom + match.index + match[0].length };
	}
}

/** A machine's consoles: its serial ports, COM1 first, and behind them the virtio console. */
export function consolesOf(
	{ serialPorts, virtioConsole }: MachineConfig,
	typist: (port: number) => (bytes: Uint8Array) => void,
): readonly Console[] {
	return Array.from({ length: serialPorts + (virtioConsole ? 1 : 0) }, (_, port) => new Console(port, typist(port)));
}

/** One `for await` over a console. */
class Reader implements AsyncIterator<Uint8Array> {
	readonly #queue: Uint8Array[] = [];
	readonly #onReturn: () => void;
	#waiting: ((result: IteratorResult<Uint8Array>) => void) | undefined;
	#isClosed = false;

	constructor(onReturn: () => void) {
		this.#onReturn = onReturn;
	}

	push(bytes: Uint8Array): void {
		if (this.#waiting === undefined) this.#queue.push(bytes);
		else {
			this.#waiting({ done: false, value: bytes });
			this.#waiting = undefined;
		}
	}

	close(): void {
		this.#isClosed = true;
		this.#waiting?.({ done: true, value: undefined });
		this.#waiting = undefined;
	}

	next(): Promise<IteratorResult<Uint8Array>> {
		const value = this.#queue.shift();
		if (value !== undefined) return Promise.resolve({ done: false, value });
		if (this.#isClosed) return Promise.resolve({ done: true, value: undefined });
		return new Promise((resolve) => {
			this.#waiting = resolve;
		});
	}

	return(): Promise<IteratorResult<Uint8Array>> {
		this.#onReturn();
		this.close();
		return Promise.resolve({ done: true, value: undefined });
	}
}
