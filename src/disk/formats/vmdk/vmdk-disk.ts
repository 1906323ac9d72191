import type { Codecs } from "../../codecs.ts";
import { type ByteStore, type Disk, DiskError } from "../../disk.ts";
import { checkRange, checkWritable } from "../../range.ts";
import { RangeLocks } from "../../range-locks.ts";
import { storeZeroes } from "../../raw.ts";
import { Serial } from "../../serial.ts";
import { encodeUtf8 } from "../../utf8.ts";
import { cidPosition, parseDescriptor, type VmdkDescriptor } from "./descriptor.ts";
import { isSparseExtent, SparseExtent } from "./sparse-extent.ts";

export interface VmdkOptions {
	readonly isReadOnly?: boolean;
	/** Opens a file named in the descriptor, beside it. */
	readonly openExtent?: (name: string) => Promise<ByteStore>;
	/** The parent, where the descriptor names one; this disk closes it. */
	readonly parent?: Disk;
	readonly parentCid?: number;
	readonly codecs?: Codecs;
}

interface Extent {
	/** Where in the disk. */
	readonly first: number;
	readonly end: number;
	readonly part:
		| { readonly kind: "flat"; readonly store: ByteStore; readonly offset: number }
		| { readonly kind: "sparse"; readonly sparse: SparseExtent }
		| { readonly kind: "zero" };
}

const SECTOR = 512;
const MAX_DESCRIPTOR_BYTES = 1024 * 1024;

/** The descriptor: in a file of its own, or within a sparse extent. */
export async function readVmdkDescriptor(store: ByteStore): Promise<{ descriptor: VmdkDescriptor; offset: number; bytes: Uint8Array }> {
	const head = new Uint8Array(Math.min(SECTOR, await store.size()));
	await store.read(0, head);
	let offset = 0;
	let length = Math.min(await store.size(), MAX_DESCRIPTOR_BYTES);
	if (isSparseExtent(head)) {
		const view = new DataView(head.buffer);
		offset = Number(view.getBigUint64(28, true)) * SECTOR;
		length = Number(view.getBigUint64(36, true)) * SECTOR;
		if (offset === 0 || length === 0 || length > MAX_DESCRIPTOR_BYTES || offset + length > (await store.size()))
			throw new DiskError("corrupt", store.name, "an extent without a descriptor: open the file that describes the disk", {
				offsetBytes: 28,
			});
	}
	const bytes = new Uint8Array(length);
	await store.read(offset, bytes);
	return { descriptor: parseDescriptor(bytes, store.name, offset), offset, bytes };
}

/** A VMDK disk of any mix of flat, sparse and zero extents; stream-optimised ones for reading. */
/** Says that the contents are those of `cid`. Nobody has the disk open. */
export async function writeVmdkCid(store: ByteStore, cid: number): Promise<void> {
	const { offset, bytes } = await readVmdkDescriptor(store);
	const at = cidPosition(bytes);
	if (at !== undefined) await store.write(offset + at, cidDigits(cid));
}

function cidDigits(cid: number): Uint8Array {
	return encodeUtf8(cid.toString(16).padStart(8, "0"));
}

export class VmdkDisk implements Disk {
	readonly sizeBytes: number;
	readonly sectorBytes = 512;
	readonly isReadOnly: boolean;
	readonly descriptor: VmdkDescriptor;
	readonly #store: ByteStore;
	readonly #extents: readonly Extent[];
	readonly #parent: Disk | undefined;
	/** In grains of the smallest size there is: sectors would do, eight of them are cheaper. */
	readonly #locks = new RangeLocks();
	readonly #cid: { readonly at: number } | undefined;
	readonly #flushes = new Serial();
	#isChanged = false;

	private constructor(
		store: ByteStore,
		descriptor: VmdkDescriptor,
		extents: readonly Extent[],
		cid: { readonly at: number } | undefined,
		options: VmdkOptions,
		isReadOnly: boolean,
	) {
		this.#store = store;
		this.descriptor = descriptor;
		this.#extents = extents;
		this.#cid = cid;
		this.#parent = options.parent;
		this.sizeBytes = extents.at(-1)?.end ?? 0;
		this.isReadOnly = isReadOnly;
	}

	/** @throws DiskError corrupt, unsupported, or not-found where a parent has not been opened */
	static async open(store: ByteStore, options: VmdkOptions = {}): Promise<VmdkDisk> {
		const { descriptor, offset, bytes } = await readVmdkDescriptor(store);
		if (descriptor.parentFile !== undefined && options.parent === undefined)
			throw new DiskError("not-found", store.name, `stands on ${descriptor.parentFile}, which has not been opened`);
		if (options.parent !== undefined && options.parentCid !== undefined && options.parentCid !== descriptor.parentCid)
			throw new DiskError("corrupt", store.name, "its parent has been changed since this layer was made (CID mismatch)", {
				offsetBytes: offset,
			});
		const opened: ByteStore[] = [];
		try {
			const extents: Extent[] = [];
			for (const line of descriptor.extents) {
				const first = extents.at(-1)?.end ?? 0;
				const end = first + line.sectors * SECTOR;
				if (line.access === "NOACCESS") throw new DiskError("unsupported", store.name, "an extent that allows no access");
				if (line.kind === "ZERO") {
					extents.push({ first, end, part: { kind: "zero" } });
					continue;
				}
				// A monolithic sparse file describes itself.
				const file = offset > 0 ? store : await openExtent(store, line.file as string, options);
				if (file !== store) opened.push(file);
				extents.push({ first, end, part: await openPart(file, line, options.codecs, options.isReadOnly === true || file.isReadOnly) });
			}
			const isCompressed = extents.some(({ part }) => part.kind === "sparse" && part.sparse.isCompressed);
			const isReadOnly =
				options.isReadOnly === true ||
				store.isReadOnly ||
				opened.some((file) => file.isReadOnly) ||
				isCompressed ||
				descriptor.extents.some(({ access }) => access === "RDONLY");
			const cidAt = cidPosition(bytes);
			return new VmdkDisk(store, descriptor, extents, cidAt === undefined ? undefined : { at: offset + cidAt }, options, isReadOnly);
		} catch (error) {
			for (const file of opened) await file.close();
			throw error;
		}
	}

	/** For whoever looks them over. */
	get sparseExtents(): readonly SparseExtent[] {
		return this.#extents.flatMap(({ part }) => (part.kind === "sparse" ? [part.sparse] : []));
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		checkRange(this, this.#store.name, offsetBytes, into.length);
		await this.#locked(offsetBytes, into.length, false, () =>
			this.#each(offsetBytes, into.length, (extent, within, at, count) => this.#readPart(extent, within, into.subarray(at, at + count))),
		);
	}

	async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, from.length);
		await this.#noteChange();
		await this.#locked(offsetBytes, from.length, true, () =>
			this.#each(offsetBytes, from.length, (extent, within, at, count) => this.#writePart(extent, within, from.subarray(at, at + count))),
		);
	}

	async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, lengthBytes);
		await this.#noteChange();
		await this.#locked(offsetBytes, lengthBytes, true, () =>
			this.#each(offsetBytes, lengthBytes, (extent, within, _at, count) => this.#zeroPart(extent, within, count)),
		);
	}

	/** Extents have no way to give a grain back: nothing happens. */
	async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, lengthBytes);
	}

	/** One at a time: a flush may not end before what an earlier one has taken up is safe. */
	async flush(): Promise<void> {
		if (!this.isReadOnly) await this.#flushes.run(() => this.#flushExtents());
	}

	async #flushExtents(): Promise<void> {
		for (const { part } of this.#extents) {
			if (part.kind === "sparse") await part.sparse.flush();
			else if (part.kind === "flat") await part.store.flush();
		}
	}

	async close(): Promise<void> {
		try {
			if (this.#isChanged) {
				await this.flush();
				for (const { part } of this.#extents) if (part.kind === "sparse") await part.sparse.markUnclean(false);
				await this.flush();
			}
		} finally {
			const stores = new Set([this.#store]);
			for (const { part } of this.#extents) if (part.kind !== "zero") stores.add(part.kind === "flat" ? part.store : part.sparse.store);
			for (const store of stores) await store.close();
			await this.#parent?.close();
		}
	}

	/** The first change gives the disk a new content id, by which layers above notice that they no longer fit. */
	async #noteChange(): Promise<void> {
		if (this.#isChanged) return;
		this.#isChanged = true;
		for (const { part } of this.#extents) if (part.kind === "sparse") await part.sparse.markUnclean(true);
		if (this.#cid === undefined) return;
		const cid = (Math.imul(this.descriptor.cid, 1664525) + 1013904223) >>> 0;
		await this.#store.write(this.#cid.at, cidDigits(cid >= 0xffff_fffe ? 1 : cid));
	}

	async #locked(offsetBytes: number, lengthBytes: number, isExclusive: boolean, work: () => Promise<void>): Promise<void> {
		if (lengthBytes === 0) return;
		// 64 KiB, the usual grain; a claim covers whole grains of any extent because it covers whole units of the largest.
		const unit = this.#extents.reduce((most, { part }) => Math.max(most, part.kind === "sparse" ? part.sparse.grainBytes : 0), 65536);
		const first = Math.floor(offsetBytes / unit);
		const last = Math.floor((offsetBytes + lengthBytes - 1) / unit);
		const claim = await this.#locks.acquire(first, last, isExclusive);
		try {
			await work();
		} finally {
			this.#locks.release(claim);
		}
	}

	/** Cuts a range at extents and grains. */
	async #each(
		offsetBytes: number,
		lengthBytes: number,
		visit: (extent: Extent, within: number, at: number, count: number) => Promise<void>,
	): Promise<void> {
		const visits: Promise<void>[] = [];
		for (let at = 0; at < lengthBytes; ) {
			const offset = offsetBytes + at;
			const extent = this.#extents.find(({ end }) => offset < end) as Extent;
			const within = offset - extent.first;
			const unit = extent.part.kind === "sparse" ? extent.part.sparse.grainBytes : Number.POSITIVE_INFINITY;
			const unitEnd = unit === Number.POSITIVE_INFINITY ? extent.end : extent.first + (Math.floor(within / unit) + 1) * unit;
			const count = Math.min(extent.end, unitEnd, offsetBytes + lengthBytes) - offset;
			visits.push(visit(extent, within, at, count));
			at += count;
		}
		await Promise.all(visits);
	}

	async #readPart(extent: Extent, within: number, into: Uint8Array): Promise<void> {
		const { part } = extent;
		if (part.kind === "zero") into.fill(0);
		else if (part.kind === "flat") await part.store.read(part.offset + within, into);
		else {
			const grain = await part.sparse.grain(Math.floor(within / part.sparse.grainBytes));
			if (grain.kind === "data") await part.sparse.readGrain(grain, within % part.sparse.grainBytes, into);
			else if (grain.kind === "zero") into.fill(0);
			else await this.#readParent(extent.first + within, into);
		}
	}

	async #readParent(offsetBytes: number, into: Uint8Array): Promise<void> {
		const there = this.#parent === undefined ? 0 : Math.max(0, Math.min(into.length, this.#parent.sizeBytes - offsetBytes));
		if (there > 0) await this.#parent?.read(offsetBytes, into.subarray(0, there));
		into.fill(0, there);
	}

	async #writePart(extent: Extent, within: number, from: Uint8Array): Promise<void> {
		const { part } = extent;
		if (part.kind === "zero") throw new DiskError("unsupported", this.#store.name, "writing to an extent of zeros");
		if (part.kind === "flat") return part.store.write(part.offset + within, from);
		const { sparse } = part;
		const index = Math.floor(within / sparse.grainBytes);
		const inGrain = within % sparse.grainBytes;
		const grain = await sparse.grain(index);
		if (grain.kind === "data") return sparse.store.write(grain.offset + inGrain, from);
		// A new grain is written whole, with what could be read there until now.
		const whole = new Uint8Array(sparse.grainBytes);
		if (grain.kind === "unallocated" && from.length < sparse.grainBytes)
			await this.#readParent(
				extent.first + index * sparse.grainBytes,
				whole.subarray(0, Math.min(whole.length, extent.end - extent.first - index * sparse.grainBytes)),
			);
		whole.set(from, inGrain);
		const offset = sparse.takeRoom();
		await sparse.store.write(offset, whole);
		await sparse.setGrain(index, offset);
	}

	async #zeroPart(extent: Extent, within: number, count: number): Promise<void> {
		const { part } = extent;
		if (part.kind === "zero") return;
		if (part.kind === "flat") return storeZeroes(part.store, part.offset + within, count);
		const { sparse } = part;
		const index = Math.floor(within / sparse.grainBytes);
		const grain = await sparse.grain(index);
		if (grain.kind === "zero" || (grain.kind === "unallocated" && this.#parent === undefined)) return;
		if (grain.kind === "unallocated" && sparse.hasZeroedGrains && count === sparse.grainBytes) await sparse.setGrain(index, "zero");
		else await this.#writePart(extent, within, new Uint8Array(count));
	}
}

async function openExtent(store: ByteStore, name: string, options: VmdkOptions): Promise<ByteStore> {
	if (options.openExtent === undefined) throw new DiskError("not-found", store.name, `its extent ${name} has not been opened`);
	return options.openExtent(name);
}

async function openPart(
	file: ByteStore,
	line: { kind: string; sectors: number; offsetSectors: number },
	codecs: Codecs | undefined,
	isReadOnly: boolean,
) {
	if (line.kind === "FLAT") {
		const offset = line.offsetSectors * SECTOR;
		if (offset + line.sectors * SECTOR > (await file.size()))
			throw new DiskError("corrupt", file.name, `a flat extent of ${line.sectors} sectors in a file of ${await file.size()} bytes`, {
				offsetBytes: await file.size(),
			});
		return { kind: "flat" as const, store: file, offset };
	}
	const sparse = await SparseExtent.open(file, codecs, isReadOnly);
	if (sparse.header.capacitySectors < line.sectors)
		throw new DiskError("corrupt", file.name, `an extent of ${sparse.header.capacitySectors} sectors, described as ${line.sectors}`, {
			offsetBytes: 12,
		});
	return { kind: "sparse" as const, sparse };
}
