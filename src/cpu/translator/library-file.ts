import type { CodeWindow } from "./code-window.ts";
import { isFieldThere, type RegionImage } from "./region-image.ts";

/** What a file begins with, in words: number of the last run, bytes of the functions' names (one a line), entries. */
const HEADER_WORDS = 3;
/** What each entry begins with, in words. */
const ENTRY = {
	words: 0,
	key: 1,
	tier: 2,
	lastRun: 3,
	spans: 4,
	open: 5,
	sites: 6,
	inner: 7,
	unlikely: 8,
	guestBytes: 9,
	bodyBytes: 10,
} as const;
const ENTRY_WORDS = 11;
/** What was of no use for longest goes beyond so many bytes. */
const MAX_BYTES = 24 * 1024 * 1024;

/** An entry that is to be written, and the last run that it was of use to. */
export interface Writable {
	readonly lastRun: number;
	readonly words: Int32Array;
}

/**
 * Images of regions as a file has them, which stay as they are there: an entry is told by its first word's number. There are thousands of them, of
 * which most are looked at and few are taken.
 */
export class LibraryFile {
	readonly #words: Int32Array<ArrayBuffer>;
	readonly #bytes: Uint8Array<ArrayBuffer>;
	/** How often the file has been written. */
	readonly run: number;
	readonly count: number;
	/** Functions that images call, by their numbers in there. */
	readonly names: readonly string[];
	/** Entries by key, the better ones first. */
	readonly #index = new Map<number, number[]>();
	readonly #first: number;

	/** @param file undefined: there is none yet */
	constructor(file: Uint8Array | undefined) {
		const bytes = file === undefined ? new Uint8Array(4 * HEADER_WORDS) : aligned(file);
		this.#bytes = bytes as Uint8Array<ArrayBuffer>;
		this.#words = new Int32Array(this.#bytes.buffer, bytes.byteOffset, bytes.length >> 2);
		const [run, nameBytes, count] = this.#words as unknown as [number, number, number];
		this.run = run;
		this.count = count;
		const names = String.fromCharCode(...bytes.subarray(4 * HEADER_WORDS, 4 * HEADER_WORDS + nameBytes));
		this.names = nameBytes === 0 ? [] : names.split("\n");
		this.#first = HEADER_WORDS + wordsFor(nameBytes);
		for (const tier of [2, 1])
			for (const entry of this.entries()) {
				if (this.#word(entry, "tier") !== tier) continue;
				const key = this.#word(entry, "key");
				const others = this.#index.get(key);
				if (others === undefined) this.#index.set(key, [entry]);
				else others.push(entry);
			}
	}

	#word(entry: number, field: keyof typeof ENTRY): number {
		return this.#words[entry + ENTRY[field]] as number;
	}

	*entries(): Iterable<number> {
		for (let entry = this.#first, n = 0; n < this.count; n++, entry += this.#word(entry, "words")) yield entry;
	}

	keys(): Iterable<number> {
		return this.#index.keys();
	}

	entriesOf(key: number): readonly number[] {
		return this.#index.get(key) ?? [];
	}

	/** Whether the guest has that code here. Afterwards `window` says what of memory it was. */
	isThere(entry: number, window: CodeWindow): boolean {
		window.forgetUse();
		const words = this.#words;
		const spans = entry + ENTRY_WORDS;
		const open = spans + this.#word(entry, "spans");
		const sites = open + this.#word(entry, "open");
		let at = 4 * (sites + this.#word(entry, "sites") + this.#word(entry, "inner") + this.#word(entry, "unlikely"));
		for (let i = spans; i < open; i += 2) {
			const count = words[i + 1] as number;
			if (!window.has(words[i] as number, this.#bytes, at, count)) return false;
			at += count;
		}
		for (let i = open + 1; i < sites; i += 2) if (!isFieldThere(words[i] as number, window)) return false;
		return true;
	}

	image(entry: number): RegionImage {
		return imageIn(this.#words, entry);
	}

	/** The entry for another file. @param isUsed it has been of use to the run that writes it */
	writable(entry: number, isUsed: boolean): Writable {
		if (isUsed) this.#words[entry + ENTRY.lastRun] = this.run + 1;
		return { lastRun: this.#word(entry, "lastRun"), words: this.#words.subarray(entry, entry + this.#word(entry, "words")) };
	}
}

const aligned = (file: Uint8Array): Uint8Array => (file.byteOffset % 4 === 0 && file.buffer instanceof ArrayBuffer ? file : file.slice());

const wordsFor = (bytes: number): number => (bytes + 3) >> 2;

/** The image that an entry has; its lists are views of it. */
export function imageIn(words: Int32Array, entry: number): RegionImage {
	const word = (field: keyof typeof ENTRY): number => words[entry + ENTRY[field]] as number;
	let at = entry + ENTRY_WORDS;
	const list = (field: keyof typeof ENTRY): Int32Array => {
		at += word(field);
		return words.subarray(at - word(field), at);
	};
	const bytes = (field: keyof typeof ENTRY): Uint8Array => {
		const first = words.byteOffset + 4 * at;
		at += wordsFor(word(field));
		return new Uint8Array(words.buffer, first, word(field));
	};
	return {
		key: word("key"),
		tier: word("tier") as 1 | 2,
		spans: list("spans"),
		open: list("open"),
		sites: list("sites"),
		inner: list("inner"),
		unlikely: list("unlikely"),
		guest: bytes("guestBytes"),
		body: bytes("bodyBytes"),
	};
}

/** A new image for a file. */
export function writableOf({ key, tier, spans, open, sites, inner, unlikely, guest, body }: RegionImage, run: number): Writable {
	const lists = [spans, open, sites, inner, unlikely];
	const size = lists.reduce((sum, { length }) => sum + length, ENTRY_WORDS) + wordsFor(guest.length) + wordsFor(body.length);
	const words = new Int32Array(size);
	words.set([size, key, tier, run, ...lists.map(({ length }) => length), guest.length, body.length]);
	let at = ENTRY_WORDS;
	for (const list of lists) {
		words.set(list, at);
		at += list.length;
	}
	const bytes = new Uint8Array(words.buffer);
	bytes.set(guest, 4 * at);
	bytes.set(body, 4 * (at + wordsFor(guest.length)));
	return { lastRun: run, words };
}

/** A whole file in parts, of the entries that were of use last if there is not room for all. */
export function libraryOf(run: number, names: readonly string[], entries: Writable[]): Uint8Array[] {
	let room = MAX_BYTES / 4;
	entries.sort((a, b) => b.lastRun - a.lastRun);
	const staying = entries.filter(({ words }) => {
		room -= words.length;
		return room >= 0;
	});
	const text = Uint8Array.from(names.join("\n"), (letter) => letter.charCodeAt(0));
	const header = new Int32Array(HEADER_WORDS + wordsFor(text.length));
	header.set([run, text.length, staying.length]);
	new Uint8Array(header.buffer).set(text, 4 * HEADER_WORDS);
	return [header, ...staying.map(({ words }) => words)].map(
		({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
	);
}
