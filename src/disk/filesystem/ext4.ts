import { type Disk, DiskError } from "../disk.ts";
import { decodeUtf8 } from "../utf8.ts";
import { Blocks } from "./blocks.ts";
import { replayJournal } from "./ext4-journal.ts";

// Linux, Documentation/filesystems/ext4: "Super Block", "Block Group Descriptors", "Index Nodes", "Directory Entries"
const SUPERBLOCK_AT = 1024;
const MAGIC = 0xef53;
const INCOMPAT_RECOVER = 0x4;
const INCOMPAT_JOURNAL_DEVICE = 0x8;
const INCOMPAT_META_BG = 0x10;
const INCOMPAT_64BIT = 0x80;
/** All but what is known here: compression, data in directory entries, encryption, and whatever comes later. */
const INCOMPAT_UNKNOWN = ~0x2_e7de;
const ROOT_INODE = 2;
const FLAG_EXTENTS = 0x8_0000;
const FLAG_INLINE = 0x1000_0000;
const EXTENT_MAGIC = 0xf30a;
const MAX_DEPTH = 5;
const MAX_PATH_DEPTH = 256;
const DIRECTORY = 0x4000;
const SYMLINK = 0xa000;
const KIND_MASK = 0xf000;
/** Bytes of a directory that are read at most; ext4's own largest ones have some ten million names. */
const MAX_DIRECTORY_BYTES = 2 ** 30;

/** What there is to know of a file but its contents; any write to a file shows in `mtime`, any change at all in `ctime`. */
export interface FileFacts {
	readonly path: string;
	readonly isDirectory: boolean;
	readonly inode: number;
	readonly mode: number;
	readonly owner: string;
	readonly sizeBytes: number;
	readonly mtime: string;
	readonly ctime: string;
	/** The inode's own 60 bytes: where the contents lie, or what a link says. */
	readonly map: string;
}

interface Inode {
	readonly number: number;
	readonly view: DataView;
}

/** An ext2, ext3 or ext4 file system, to be read: what its journal holds counts as written. */
export class Ext4 {
	readonly #blocks: Blocks;
	readonly #super: DataView;
	readonly #descriptorBytes: number;

	private constructor(blocks: Blocks, superblock: DataView) {
		this.#blocks = blocks;
		this.#super = superblock;
		this.#descriptorBytes = this.#has(INCOMPAT_64BIT) ? Math.max(64, superblock.getUint16(0xfe, true)) : 32;
	}

	/** `undefined` where there is none. @throws DiskError corrupt, unsupported */
	static async open(disk: Disk, startBytes: number): Promise<Ext4 | undefined> {
		if (startBytes + 4096 > disk.sizeBytes) return undefined;
		const bytes = new Uint8Array(4096);
		await disk.read(startBytes, bytes);
		const view = new DataView(bytes.buffer, SUPERBLOCK_AT, 1024);
		if (view.getUint16(0x38, true) !== MAGIC) return undefined;
		const blockShift = view.getUint32(0x18, true);
		const incompat = view.getUint32(0x60, true);
		const refuse = (kind: "corrupt" | "unsupported", what: string) => {
			throw new DiskError(kind, "file system", what, { offsetBytes: startBytes + SUPERBLOCK_AT });
		};
		if (blockShift > 6 || view.getUint32(0x28, true) === 0) refuse("corrupt", "the superblock makes no sense");
		if ((incompat & INCOMPAT_UNKNOWN) !== 0) refuse("unsupported", `has features that are not known here (${incompat.toString(16)})`);
		const blocks = new Blocks(disk, startBytes, 1024 << blockShift);
		const system = new Ext4(blocks, view);
		if (system.#inodeBytes < 128 || system.#inodeBytes > blocks.blockBytes) refuse("corrupt", `inodes of ${system.#inodeBytes} bytes`);
		const journal = view.getUint32(0xe0, true);
		if (system.#has(INCOMPAT_RECOVER) && !system.#has(INCOMPAT_JOURNAL_DEVICE) && journal !== 0)
			await replayJournal(blocks, await system.#blocksOf(await system.#inode(journal)));
		return system;
	}

	#has(feature: number): boolean {
		return (this.#super.getUint32(0x60, true) & feature) !== 0;
	}

	get #inodeBytes(): number {
		return this.#super.getUint32(0x4c, true) === 0 ? 128 : this.#super.getUint16(0x58, true);
	}

	/** Every path but the root's, parents first. @throws DiskError corrupt */
	async *files(): AsyncGenerator<FileFacts> {
		yield* this.#below("", ROOT_INODE, new Set([ROOT_INODE]), 0);
	}

	async *#below(path: string, directory: number, above: Set<number>, depth: number): AsyncGenerator<FileFacts> {
		const entries = await this.#entries(await this.#inode(directory));
		for (const [name, number] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
			const inode = await this.#inode(number);
			const facts = factsOf(`${path}/${name}`, inode);
			yield facts;
			if (!facts.isDirectory) continue;
			if (above.has(number) || depth > MAX_PATH_DEPTH) throw new DiskError("corrupt", "file system", `${facts.path} leads back to itself`);
			above.add(number);
			yield* this.#below(facts.path, number, above, depth + 1);
			above.delete(number);
		}
	}

	async #inode(number: number): Promise<Inode> {
		const perGroup = this.#super.getUint32(0x28, true);
		if (number < 1 || number > this.#super.getUint32(0, true)) throw new DiskError("corrupt", "file system", `there is no inode ${number}`);
		const group = Math.floor((number - 1) / perGroup);
		const { blockBytes } = this.#blocks;
		const descriptor = await this.#descriptor(group);
		const high = this.#descriptorBytes >= 64 ? descriptor.getUint32(0x28, true) : 0;
		const offset = ((number - 1) % perGroup) * this.#inodeBytes;
		const block = high * 2 ** 32 + descriptor.getUint32(8, true) + Math.floor(offset / blockBytes);
		const { buffer, byteOffset } = await this.#blocks.read(block);
		return { number, view: new DataView(buffer, byteOffset + (offset % blockBytes), this.#inodeBytes) };
	}

	/** Behind the superblock's block; with META_BG, one block of them at the head of each group of groups. */
	async #descriptor(group: number): Promise<DataView> {
		const { blockBytes } = this.#blocks;
		const perBlock = Math.floor(blockBytes / this.#descriptorBytes);
		const table = Math.floor(group / perBlock);
		const first = this.#super.getUint32(0x14, true);
		let block = first + 1 + table;
		if (this.#has(INCOMPAT_META_BG) && table >= this.#super.getUint32(0x104, true))
			block = first + table * perBlock * this.#super.getUint32(0x20, true) + (hasSuperblock(table * perBlock) ? 1 : 0);
		const { buffer, byteOffset } = await this.#blocks.read(block);
		return new DataView(buffer, byteOffset + (group % perBlock) * this.#descriptorBytes, this.#descriptorBytes);
	}

	/** A file's blocks in order; 0 for a hole. */
	async #blocksOf({ number, view }: Inode): Promise<number[]> {
		const count = Math.ceil(sizeOf(view) / this.#blocks.blockBytes);
		if (count * this.#blocks.blockBytes > MAX_DIRECTORY_BYTES)
			throw new DiskError("corrupt", "file system", `inode ${number} is too large`);
		const map = new DataView(view.buffer, view.byteOffset + 0x28, 60);
		const blocks = new Array<number>(count).fill(0);
		if ((view.getUint32(0x20, true) & FLAG_EXTENTS) !== 0) await this.#extents(map, blocks, MAX_DEPTH, number);
		else {
			let at = 0;
			for (let index = 0; index < 15; index++)
				at = await this.#indirect(map.getUint32(4 * index, true), Math.max(0, index - 11), blocks, at);
		}
		return blocks;
	}

	async #extents(node: DataView, blocks: number[], depthLeft: number, inode: number): Promise<void> {
		const entries = node.getUint16(2, true);
		const depth = node.getUint16(6, true);
		if (node.getUint16(0, true) !== EXTENT_MAGIC || depth > depthLeft || 12 + 12 * entries > node.byteLength)
			throw new DiskError("corrupt", "file system", `inode ${inode}: its tree of extents makes no sense`);
		for (let at = 12; at < 12 + 12 * entries; at += 12) {
			const first = node.getUint32(at, true);
			if (depth > 0) {
				const child = node.getUint16(at + 8, true) * 2 ** 32 + node.getUint32(at + 4, true);
				await this.#extents(await this.#blocks.read(child), blocks, depth - 1, inode);
				continue;
			}
			const length = node.getUint16(at + 4, true);
			const start = node.getUint16(at + 6, true) * 2 ** 32 + node.getUint32(at + 8, true);
			// Longer than this: allocated and never written, so zeros.
			if (length <= 32768) for (let i = 0; i < length && first + i < blocks.length; i++) blocks[first + i] = start + i;
		}
	}

	/** Fills `blocks` from `at` on with what a pointer of that many levels leads to; answers where it ends. */
	async #indirect(pointer: number, levels: number, blocks: number[], at: number): Promise<number> {
		if (at >= blocks.length) return at;
		const perBlock = this.#blocks.blockBytes / 4;
		if (levels === 0) blocks[at] = pointer;
		if (levels === 0 || pointer === 0) return at + perBlock ** levels;
		const table = await this.#blocks.read(pointer);
		let next = at;
		for (let index = 0; index < perBlock; index++) next = await this.#indirect(table.getUint32(4 * index, true), levels - 1, blocks, next);
		return next;
	}

	/** Names and inodes. A hashed directory reads like a plain one: its index hides in entries without an inode. */
	async #entries(directory: Inode): Promise<Map<string, number>> {
		const entries = new Map<string, number>();
		const { view } = directory;
		if ((view.getUint32(0x20, true) & FLAG_INLINE) !== 0) {
			// The first four bytes are the parent's inode. What does not fit in here is an attribute behind the inode's fields.
			addEntries(new DataView(view.buffer, view.byteOffset + 0x28 + 4, 56), entries, directory.number);
			const more = inlineRest(view);
			if (more !== undefined) addEntries(more, entries, directory.number);
			return entries;
		}
		for (const block of await this.#blocksOf(directory))
			if (block !== 0) addEntries(await this.#blocks.read(block), entries, directory.number);
		return entries;
	}
}

function addEntries(view: DataView, entries: Map<string, number>, directory: number): void {
	for (let at = 0; at + 8 <= view.byteLength; ) {
		const inode = view.getUint32(at, true);
		const length = view.getUint16(at + 4, true);
		const nameBytes = view.getUint8(at + 6);
		if (length < 8 || at + length > view.byteLength || (inode !== 0 && 8 + nameBytes > length))
			throw new DiskError("corrupt", "file system", `directory ${directory} has an entry that makes no sense`);
		const name = decodeUtf8(new Uint8Array(view.buffer, view.byteOffset + at + 8, inode === 0 ? 0 : nameBytes));
		if (inode !== 0 && name !== "." && name !== "..") entries.set(name, inode);
		at += length;
	}
}

/** The attribute "system.data" within the inode, where inline contents go on. */
function inlineRest(view: DataView): DataView | undefined {
	const first = 128 + (view.byteLength > 128 ? view.getUint16(0x80, true) : 0) + 4;
	if (first > view.byteLength || view.getUint32(first - 4, true) !== 0xea02_0000) return undefined;
	for (let at = first; at + 16 <= view.byteLength && view.getUint32(at, true) !== 0; at += (16 + view.getUint8(at) + 3) & ~3) {
		const name = decodeUtf8(new Uint8Array(view.buffer, view.byteOffset + at + 16, Math.min(view.getUint8(at), view.byteLength - at - 16)));
		const [offset, size] = [first + view.getUint16(at + 2, true), view.getUint32(at + 8, true)];
		if (view.getUint8(at + 1) === 7 && name === "data" && size > 0 && offset + size <= view.byteLength)
			return new DataView(view.buffer, view.byteOffset + offset, size);
	}
	return undefined;
}

function sizeOf(view: DataView): number {
	return view.getUint32(0x6c, true) * 2 ** 32 + view.getUint32(4, true);
}

function factsOf(path: string, { number, view }: Inode): FileFacts {
	const extra = view.byteLength > 128 ? view.getUint16(0x80, true) : 0;
	const time = (at: number, extraAt: number) =>
		`${view.getUint32(at, true)}.${128 + extra >= extraAt + 4 ? view.getUint32(extraAt, true) : 0}`;
	const mode = view.getUint16(0, true);
	const map = new Uint8Array(view.buffer, view.byteOffset + 0x28, 60);
	return {
		path,
		isDirectory: (mode & KIND_MASK) === DIRECTORY,
		inode: number,
		mode,
		owner: `${view.getUint16(2, true) + view.getUint16(0x78, true) * 65536}:${view.getUint16(0x18, true) + view.getUint16(0x7a, true) * 65536}`,
		sizeBytes: (mode & KIND_MASK) === SYMLINK ? view.getUint32(4, true) : sizeOf(view),
		mtime: time(0x10, 0x88),
		ctime: time(0x0c, 0x84),
		map: map.join(),
	};
}

/** sparse_super: copies in groups 0, 1 and powers of 3, 5 and 7. */
function hasSuperblock(group: number): boolean {
	const isPowerOf = (base: number) => base ** Math.round(Math.log(group) / Math.log(base)) === group;
	return group <= 1 || isPowerOf(3) || isPowerOf(5) || isPowerOf(7);
}
