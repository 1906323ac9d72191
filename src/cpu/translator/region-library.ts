import type { KeptPlace } from "../interpreter/kept-places.ts";
import type { KeptCode } from "../kept-code.ts";
import type { CodeWindow } from "./code-window.ts";
import { imageIn, LibraryFile, libraryOf, type Writable, writableOf } from "./library-file.ts";
import { isSameCode, placeOfKey, type RegionImage } from "./region-image.ts";

/** New images are worth writing everything anew when there are so many of them, and this part of all. */
const MIN_NEW = 48;
const MIN_NEW_SHARE = 1 / 32;
/** So many are worth writing while the machine still runs, which may be for long and end without notice; then twice as many, and so on. */
const MANY_NEW = 256;

/** Machines of a process share what they begin with. */
const recalled = new WeakMap<KeptCode, Map<string, LibraryFile>>();

/** What was translated for a guest by earlier runs, and by this one for later ones (docs/decisions/0019). */
export class RegionLibrary {
	readonly #kept: KeptCode;
	readonly #name: string;
	readonly #stored: LibraryFile;
	/** Entries of the file that are in use. */
	readonly #used = new Set<number>();
	readonly #new = new Map<number, Writable[]>();
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
		for (const key of this.#stored.keys()) yield placeOfKey(key);
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
		return this.#stored.entriesOf(key).length > 0;
	}

	/** The best of earlier runs' images with this key whose guest code is all there; `window` says where that is. */
	find(key: number, window: CodeWindow): { readonly image: RegionImage; readonly entry: number } | undefined {
		const entry = this.#stored.entriesOf(key).find((each) => this.#stored.isThere(each, window));
		return entry === undefined ? undefined : { image: this.#stored.image(entry), entry };
	}

	/** An image that `find` gave is in use. */
	use(entry: number): void {
		this.#used.add(entry);
	}

	/** For later runs. */
	add(image: RegionImage): void {
		if (this.#stored.entriesOf(image.key).some((entry) => isSameCode(this.#stored.image(entry), image))) return;
		const others = this.#new.get(image.key) ?? [];
		if (others.some(({ words }) => isSameCode(imageIn(words, 0), image))) return;
		this.#new.set(image.key, [...others, writableOf(image, this.#stored.run + 1)]);
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
		const { count, run } = this.#stored;
		if (this.#newCount - this.#keptCount < Math.max(MIN_NEW, count * MIN_NEW_SHARE)) return;
		this.#keptCount = this.#newCount;
		const entries = [...this.#new.values()].flat();
		for (const entry of this.#stored.entries()) entries.push(this.#stored.writable(entry, this.#used.has(entry)));
		this.#kept.write(this.#name, libraryOf(run + 1, this.#names, entries));
		recalled.get(this.#kept)?.delete(this.#name);
	}
}

function recall(kept: KeptCode, name: string): LibraryFile {
	let known = recalled.get(kept);
	if (known === undefined) {
		known = new Map();
		recalled.set(kept, known);
	}
	let stored = known.get(name);
	if (stored === undefined) {
		stored = new LibraryFile(kept.read(name));
		known.set(name, stored);
	}
	return stored;
}
