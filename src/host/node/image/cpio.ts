/**
 * Writes "newc" cpio archives, the form an initramfs takes (Linux Documentation/driver-api/early-userspace/buffer-format,
 * "Initramfs buffer format"): a 110-byte ASCII header of hexadecimal fields, the name, the data, each padded to 4 bytes.
 */
const MAGIC = "070701";
const TRAILER = "TRAILER!!!";
/** The last header position a link count and sizes can express: 32 bits. */
const MAX_FILE_BYTES = 0xffff_ffff;

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

interface Entry {
	readonly mode: number;
	readonly data: Uint8Array;
	readonly device?: { readonly major: number; readonly minor: number };
}

/** Collects entries by path (relative, no leading slash); parents come into being by themselves. Same entries, same bytes. */
export class CpioWriter {
	readonly #entries = new Map<string, Entry>();

	directory(path: string, mode = 0o755): this {
		return this.#add(path, { mode: S_IFDIR | mode, data: new Uint8Array() });
	}

	file(path: string, data: Uint8Array | string, mode = 0o644): this {
		const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
		if (bytes.length > MAX_FILE_BYTES) throw new RangeError(`${path}: ${bytes.length} bytes do not fit a cpio entry`);
		return this.#add(path, { mode: S_IFREG | mode, data: bytes });
	}

	symlink(path: string, target: string): this {
		return this.#add(path, { mode: S_IFLNK | 0o777, data: new TextEncoder().encode(target) });
	}

	characterDevice(path: string, major: number, minor: number, mode = 0o600): this {
		return this.#add(path, { mode: S_IFCHR | mode, data: new Uint8Array(), device: { major, minor } });
	}

	has(path: string): boolean {
		return this.#entries.has(path);
	}

	#add(path: string, entry: Entry): this {
		const parts = path.split("/");
		if (parts.some((part) => part === "" || part === "." || part === "..")) throw new RangeError(`"${path}" is no plain relative path`);
		const parent = parts.slice(0, -1).join("/");
		if (parent !== "" && !this.#entries.has(parent)) this.directory(parent);
		this.#entries.set(path, entry);
		return this;
	}

	/** The archive, its trailer included. */
	toBytes(): Uint8Array {
		const chunks: Uint8Array[] = [];
		let lengthBytes = 0;
		const push = (chunk: Uint8Array): void => {
			chunks.push(chunk);
			lengthBytes += chunk.length;
			const padding = -lengthBytes & 3;
			if (padding > 0) chunks.push(new Uint8Array(padding));
			lengthBytes += padding;
		};
		let inode = 0;
		for (const [path, entry] of this.#entries) {
			push(header(path, entry, ++inode));
			push(entry.data);
		}
		push(header(TRAILER, { mode: 0, data: new Uint8Array() }, 0));
		const archive = new Uint8Array(lengthBytes);
		let at = 0;
		for (const chunk of chunks) {
			archive.set(chunk, at);
			at += chunk.length;
		}
		return archive;
	}
}

/** Header and name, to be padded together. Times are 0 and the owner is root, so that archives are reproducible. */
function header(path: string, entry: Entry, inode: number): Uint8Array {
	const name = new TextEncoder().encode(`${path}\0`);
	const linkCount = (entry.mode & 0o170000) === S_IFDIR ? 2 : 1;
	const fields = [
		inode,
		entry.mode,
		0, // owner
		0, // group
		linkCount,
		0, // modification time
		entry.data.length,
		0, // device that holds the file: major
		0, // and minor
		entry.device?.major ?? 0,
		entry.device?.minor ?? 0,
		name.length,
		0, // checksum, used by "070702" only
	];
	const text = MAGIC + fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("");
	const bytes = new Uint8Array(text.length + name.length);
	new TextEncoder().encodeInto(text, bytes);
	bytes.set(name, text.length);
	return bytes;
}
