import type { Codecs } from "../../codecs.ts";
import { type Disk, DiskError } from "../../disk.ts";
import { cut, fillZeros, lengthOf, type Pieces } from "../../pieces.ts";
import type { Mapping } from "./entries.ts";
import type { Qcow2Metadata } from "./metadata.ts";
import { zstdFrameBytes } from "./zstd-frame.ts";

/** Decompressed clusters kept for the neighbours' sake: guests read 4 KiB at a time. */
const CACHED_CLUSTERS = 16;

/** A stretch of the guest's disk that lies in one piece (or nowhere). */
export interface Extent {
	readonly mapping: Mapping;
	/** Where in the request it begins. */
	readonly at: number;
	lengthBytes: number;
	/** For data: where in the store it begins. */
	readonly hostOffset: number;
	/** For compressed clusters: where in the cluster it begins. */
	readonly clusterOffset: number;
}

/** Reads guest bytes through an image's tables. */
export class Qcow2Reader {
	readonly #metadata: Qcow2Metadata;
	/** What stands below; changed only while nobody reads. */
	backing: Disk | undefined;
	readonly #codecs: Codecs | undefined;
	readonly #decompressed = new Map<number, Promise<Uint8Array>>();

	constructor(metadata: Qcow2Metadata, backing: Disk | undefined, codecs: Codecs | undefined) {
		this.#metadata = metadata;
		this.backing = backing;
		this.#codecs = codecs;
	}

	/** Cuts [offset, offset+length) where it changes its place or its kind. */
	async extents(offsetBytes: number, lengthBytes: number): Promise<Extent[]> {
		const { clusterBytes } = this.#metadata;
		const extents: Extent[] = [];
		let last: Extent | undefined;
		for (let at = 0; at < lengthBytes; ) {
			const cluster = Math.floor((offsetBytes + at) / clusterBytes);
			const within = (offsetBytes + at) % clusterBytes;
			const count = Math.min(clusterBytes - within, lengthBytes - at);
			const table = this.#metadata.peekTable(cluster) ?? (await this.#metadata.table(cluster));
			const mapping = this.#metadata.mapping(table, cluster);
			const hostOffset = mapping.kind === "data" ? mapping.hostOffset + within : 0;
			if (last !== undefined && continues(last, mapping, hostOffset)) last.lengthBytes += count;
			else extents.push((last = { mapping, at, lengthBytes: count, hostOffset, clusterOffset: within }));
			at += count;
		}
		return extents;
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		const extents = await this.extents(offsetBytes, into.length);
		if (extents.length === 1) await this.#readExtent(offsetBytes, into, extents[0] as Extent);
		else await Promise.all(extents.map((extent) => this.#readExtent(offsetBytes, into, extent)));
	}

	/** The same as `extents`, if the tables are in memory. */
	extentsNow(offsetBytes: number, lengthBytes: number): Extent[] | undefined {
		const metadata = this.#metadata;
		const { clusterBytes } = metadata;
		const extents: Extent[] = [];
		let last: Extent | undefined;
		for (let at = 0; at < lengthBytes; ) {
			const cluster = Math.floor((offsetBytes + at) / clusterBytes);
			const within = (offsetBytes + at) % clusterBytes;
			const count = Math.min(clusterBytes - within, lengthBytes - at);
			const table = metadata.peekTable(cluster);
			if (table === undefined && !metadata.isAtHand(cluster)) return undefined;
			const mapping = metadata.mapping(table, cluster);
			const hostOffset = mapping.kind === "data" ? mapping.hostOffset + within : 0;
			if (last !== undefined && continues(last, mapping, hostOffset)) last.lengthBytes += count;
			else extents.push((last = { mapping, at, lengthBytes: count, hostOffset, clusterOffset: within }));
			at += count;
		}
		return extents;
	}

	/** As `Disk.readNow`. */
	readNow(offsetBytes: number, into: Pieces): boolean {
		const length = lengthOf(into);
		const extents = this.extentsNow(offsetBytes, length);
		if (extents === undefined) return false;
		for (const { mapping, at, lengthBytes, hostOffset } of extents) {
			const part = lengthBytes === length ? into : cut(into, at, lengthBytes);
			if (mapping.kind === "zero") fillZeros(part);
			else if (mapping.kind === "data") {
				if (this.#metadata.store.readNow?.(hostOffset, part) !== true) return false;
			} else if (mapping.kind === "compressed" || !this.#readBackingNow(offsetBytes + at, part, lengthBytes)) return false;
		}
		return true;
	}

	#readBackingNow(offsetBytes: number, into: Pieces, lengthBytes: number): boolean {
		const backing = this.backing;
		const there = backing === undefined ? 0 : Math.max(0, Math.min(lengthBytes, backing.sizeBytes - offsetBytes));
		if (there > 0 && backing?.readNow?.(offsetBytes, there === lengthBytes ? into : cut(into, 0, there)) !== true) return false;
		if (there < lengthBytes) fillZeros(cut(into, there, lengthBytes - there));
		return true;
	}

	async #readExtent(offsetBytes: number, into: Uint8Array, extent: Extent): Promise<void> {
		const { mapping, at, lengthBytes } = extent;
		const part = lengthBytes === into.length ? into : into.subarray(at, at + lengthBytes);
		switch (mapping.kind) {
			case "zero":
				part.fill(0);
				return;
			case "unallocated":
				return this.readBacking(offsetBytes + at, part);
			case "data":
				return this.#metadata.store.read(extent.hostOffset, part);
			case "compressed": {
				const cluster = await this.#cluster(mapping.hostOffset, mapping.hostBytes);
				part.set(cluster.subarray(extent.clusterOffset, extent.clusterOffset + lengthBytes));
			}
		}
	}

	/** What stands below this layer; zeros behind its end. */
	async readBacking(offsetBytes: number, into: Uint8Array): Promise<void> {
		const backing = this.backing;
		const there = backing === undefined ? 0 : Math.max(0, Math.min(into.length, backing.sizeBytes - offsetBytes));
		if (there > 0) await backing?.read(offsetBytes, there === into.length ? into : into.subarray(0, there));
		if (there < into.length) into.fill(0, there);
	}

	/** Whether all of it lies behind the end of what stands below. */
	isBeyondBacking(offsetBytes: number): boolean {
		return this.backing === undefined || offsetBytes >= this.backing.sizeBytes;
	}

	/** Compressed clusters have been given up: their places may come to mean something else. */
	forgetDecompressed(): void {
		this.#decompressed.clear();
	}

	#cluster(hostOffset: number, hostBytes: number): Promise<Uint8Array> {
		const found = this.#decompressed.get(hostOffset);
		if (found !== undefined) return found;
		const made = this.#decompress(hostOffset, hostBytes);
		this.#decompressed.set(hostOffset, made);
		made.catch(() => this.#decompressed.delete(hostOffset));
		for (const oldest of this.#decompressed.keys()) {
			if (this.#decompressed.size <= CACHED_CLUSTERS) break;
			this.#decompressed.delete(oldest);
		}
		return made;
	}

	async #decompress(hostOffset: number, hostBytes: number): Promise<Uint8Array> {
		const { store, clusterBytes, header } = this.#metadata;
		if (this.#codecs === undefined)
			throw new DiskError("unsupported", store.name, "a compressed cluster, and no decompressor at hand", { offsetBytes: hostOffset });
		const bytes = new Uint8Array(hostBytes);
		await store.read(hostOffset, bytes);
		let cluster: Uint8Array;
		try {
			cluster =
				header.compression === "zstd"
					? await this.#codecs.zstdDecompress(bytes.subarray(0, zstdFrameBytes(bytes)), clusterBytes)
					: await this.#codecs.inflateRaw(bytes, clusterBytes);
		} catch (cause) {
			throw new DiskError("corrupt", store.name, "a compressed cluster does not decompress", { offsetBytes: hostOffset, cause });
		}
		if (cluster.length !== clusterBytes)
			throw new DiskError("corrupt", store.name, `a compressed cluster of ${cluster.length} bytes instead of ${clusterBytes}`, {
				offsetBytes: hostOffset,
			});
		return cluster;
	}
}

function continues(last: Extent, mapping: Mapping, hostOffset: number): boolean {
	if (last.mapping.kind !== mapping.kind || mapping.kind === "compressed") return false;
	return mapping.kind !== "data" || hostOffset === last.hostOffset + last.lengthBytes;
}
