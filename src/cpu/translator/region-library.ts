import type { KeptPlace } from "../interpreter/kept-places.ts";
import type { KeptCode } from "../kept-code.ts";
import { placeOfKey, type RegionImage } from "./region-image.ts";

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
/** New images are worth writing everything anew when there are so many of them, and this part of all. */
const MIN_NEW = 48;
const MIN_NEW_SHARE = 1 / 32;
/** So many are worth writing while the machine still runs, which may be for long and end without notice; then twice as many, and so on. */
const MANY_NEW = 1024;

/** A file as it is in memory; machines of a process share it. */
interface Stored {
	readonly words: Int32Array<ArrayBuffer>;
	readonly run: number;
	readonly names: readonly string[];
	/** Word numbers of entries, by key. */
	readonly index: ReadonlyMap<number, readonly number[]>;
	readonly count: number;
	/** Where entries begin. */
	readonly first: number;
}

const recalled = new WeakMap<KeptCode, Map<string, Stored>>();

/** What was translated for a guest by earlier runs, and by this one for later ones (docs/decisions/0019). */
export class RegionLibrary {
	readonly #kept: KeptCode;
	readonly #name: string;
	readonly #stored: Stored;
	readonly #parsed = new Map<number, RegionImage>();
	readonly #used = new Set<number>();
	readonly #new = new Map<number, RegionImage[]>();
	#newCount = 0;
	/** Of them, so many have been written; the next are written while the machine runs when there are so many in all. */
	#keptCount = 0;
	#keepAt = MANY_NEW;
	/** Functions that images call, by their numbers in there. */
	readonly #names: string[];
	readonly #nameIds: Map<string, number>;

	constructor(kept: KeptCode, name: string) {
		this.#kept = kept;
		this.#name = name;
		this.#stored = recall(kept, name);
		this.#names = [...this.#stored.names];
		this.#nameIds = new Map(this.#names.map((each, id) => [each, id]));
	}

	/** Where images to choose from begin; there are none yet at a first run. */
	*places(): Iterable<KeptPlace> {
		for (const key of this.#stored.index.keys()) yield placeOfKey(key);
	}

	nameId(name: string): number {
		let id = this.#nameIds.get(name);
		if (id === undefined) {
			id = this.#names.push(name) - 1;
			this.#nameIds.set(name, id);
		}
		return id;
	}

	nameOf(id: number): string {
		return this.#names[id] as string;
	}

	has(key: number): boolean {
		return this.#stored.index.has(key);
	}

	/** Earlier runs' images with this key, the better ones first. */
	*candidates(key: number): Iterable<{ readonly image: RegionImage; readonly at: number }> {
		for (const tier of [2, 1])
			for (const at of this.#stored.index.get(key) ?? [])
				if (this.#stored.words[at + ENTRY.tier] === tier) yield { image: this.#imageAt(at), at };
	}

	#imageAt(at: number): RegionImage {
		let image = this.#parsed.get(at);
		if (image === undefined) {
			image = parse(this.#stored.words, at);
			this.#parsed.set(at, image);
		}
		return image;
	}

	/** An image that `candidates` gave is in use. */
	use(at: number): void {
		this.#used.add(at);
	}

	/** For later runs. */
	add(image: RegionImage): void {
		const { index } = this.#stored;
		if ((index.get(image.key) ?? []).some((at) => isSame(this.#imageAt(at), image))) return;
		const others = this.#new.get(image.key) ?? [];
		if (others.some((each) => isSame(each, image))) return;
		this.#new.set(image.key, [...others, image]);
		this.#newCount++;
	}

	/** Writes it all down, if there is much that is new. */
	keepMuch(): void {
		if (this.#newCount < Math.max(this.#keepAt, this.#stored.count * MIN_NEW_SHARE)) return;
		this.#keepAt = 2 * this.#newCount;
		this.keep();
	}

	/** Writes it all down, if there is enough that is new. */
	keep(): void {
		const { words, count, first, run } = this.#stored;
		if (this.#newCount - this.#keptCount < Math.max(MIN_NEW, count * MIN_NEW_SHARE)) return;
		this.#keptCount = this.#newCount;
		const entries: { lastRun: number; words: Int32Array }[] = [];
		for (const images of this.#new.values())
			for (const image of images) {
				const packed = pack(image);
				packed[ENTRY.lastRun] = run + 1;
				entries.push({ lastRun: run + 1, words: packed });
			}
		for (let at = first, n = 0; n < count; n++, at += words[at] as number) {
			const lastRun = this.#used.has(at) ? run + 1 : (words[at + ENTRY.lastRun] as number);
			const entry = words.slice(at, at + (words[at] as number));
			entry[ENTRY.lastRun] = lastRun;
			entries.push({ lastRun, words: entry });
		}
		entries.sort((a, b) => b.lastRun - a.lastRun);
		let room = MAX_BYTES / 4;
		const staying = entries.filter((entry) => {
			room -= entry.words.length;
			return room >= 0;
		});
		this.#kept.write(
			this.#name,
			write(
				run + 1,
				this.#names,
				staying.map((entry) => entry.words),
			),
		);
		recalled.get(this.#kept)?.delete(this.#name);
	}
}

function recall(kept: KeptCode, name: string): Stored {
	let known = recalled.get(kept);
	if (known === undefined) {
		known = new Map();
		recalled.set(kept, known);
	}
	let stored = known.get(name);
	if (stored === undefined) {
		stored = read(kept.read(name));
		known.set(name, stored);
	}
	return stored;
}

function read(file: Uint8Array | undefined): Stored {
	if (file === undefined) return { words: new Int32Array(0), run: 0, names: [], index: new Map(), count: 0, first: 0 };
	const isAligned = file.byteOffset % 4 === 0 && file.buffer instanceof ArrayBuffer;
	const bytes = isAligned ? file : file.slice();
	const words = new Int32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length >> 2);
	const [run, nameBytes, count] = words as unknown as [number, number, number];
	const names = String.fromCharCode(...bytes.subarray(4 * HEADER_WORDS, 4 * HEADER_WORDS + nameBytes)).split("\n");
	const first = HEADER_WORDS + wordsFor(nameBytes);
	const index = new Map<number, number[]>();
	for (let at = first, n = 0; n < count; n++, at += words[at] as number) {
		const key = words[at + ENTRY.key] as number;
		const others = index.get(key);
		if (others === undefined) index.set(key, [at]);
		else others.push(at);
	}
	return { words, run, names, index, count, first };
}

function write(run: number, names: readonly string[], entries: readonly Int32Array[]): Uint8Array {
	const text = Uint8Array.from(names.join("\n"), (letter) => letter.charCodeAt(0));
	const words = new Int32Array(entries.reduce((sum, { length }) => sum + length, HEADER_WORDS + wordsFor(text.length)));
	words.set([run, text.length, entries.length]);
	const bytes = new Uint8Array(words.buffer);
	bytes.set(text, 4 * HEADER_WORDS);
	let at = HEADER_WORDS + wordsFor(text.length);
	for (const entry of entries) {
		words.set(entry, at);
		at += entry.length;
	}
	return bytes;
}

const wordsFor = (bytes: number): number => (bytes + 3) >> 2;

function pack({ key, tier, spans, open, sites, inner, unlikely, guest, body }: RegionImage): Int32Array {
	const lists = [spans, open, sites, inner, unlikely];
	const size = lists.reduce((sum, { length }) => sum + length, ENTRY_WORDS) + wordsFor(guest.length) + wordsFor(body.length);
	const words = new Int32Array(size);
	words.set([size, key, tier, 0, ...lists.map(({ length }) => length), guest.length, body.length]);
	let at = ENTRY_WORDS;
	for (const list of lists) {
		words.set(list, at);
		at += list.length;
	}
	const bytes = new Uint8Array(words.buffer);
	bytes.set(guest, 4 * at);
	bytes.set(body, 4 * (at + wordsFor(guest.length)));
	return words;
}

function parse(words: Int32Array<ArrayBuffer>, entry: number): RegionImage {
	const word = (field: number): number => words[entry + field] as number;
	let at = entry + ENTRY_WORDS;
	const list = (count: number): number[] => {
		at += count;
		return Array.from(words.subarray(at - count, at));
	};
	const bytes = (count: number): Uint8Array => {
		at += wordsFor(count);
		return new Uint8Array(words.buffer, words.byteOffset + 4 * (at - wordsFor(count)), count);
	};
	return {
		key: word(ENTRY.key),
		tier: word(ENTRY.tier) as 1 | 2,
		spans: list(word(ENTRY.spans)),
		open: list(word(ENTRY.open)),
		sites: list(word(ENTRY.sites)),
		inner: list(word(ENTRY.inner)),
		unlikely: list(word(ENTRY.unlikely)),
		guest: bytes(word(ENTRY.guestBytes)),
		body: bytes(word(ENTRY.bodyBytes)),
	};
}

/** Made of the same guest code. */
function isSame(a: RegionImage, b: RegionImage): boolean {
	return a.tier === b.tier && areEqual(a.spans, b.spans) && areEqual(a.guest, b.guest);
}

function areEqual(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
	if (a.length !== b.length) return false;
	for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
	return true;
}
