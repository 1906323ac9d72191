import type { Codecs } from "../../codecs.ts";
import { DiskError } from "../../disk.ts";
import type { Qcow2Metadata } from "./metadata.ts";

/**
 * Packs compressed clusters tightly, one behind the other, several to a host cluster (section "Compressed Clusters
 * Descriptor"). For images that are being made: it keeps no room for changes.
 */
export class ClusterPacker {
	readonly #metadata: Qcow2Metadata;
	readonly #codecs: Codecs;
	/** Room left in the clusters taken so far: [next, end) in the store. */
	#next = 0;
	#end = 0;

	constructor(metadata: Qcow2Metadata, codecs: Codecs) {
		this.#metadata = metadata;
		this.#codecs = codecs;
	}

	/** Stores a whole cluster compressed; answers false, having done nothing, where that would not save anything. */
	async write(cluster: number, bytes: Uint8Array): Promise<boolean> {
		const metadata = this.#metadata;
		const { clusterBytes, store } = metadata;
		if (bytes.length !== clusterBytes) throw new DiskError("out-of-range", store.name, "compressed writes take whole clusters");
		const packed = metadata.header.compression === "zstd" ? await this.#codecs.zstdCompress(bytes) : await this.#codecs.deflateRaw(bytes);
		if (packed.length >= clusterBytes) return false;
		await metadata.change(async () => {
			const hostOffset = await this.#place(packed.length);
			// Whole sectors, so that a reader that fetches them all stays within the file.
			const sectors = Math.ceil(((hostOffset % 512) + packed.length) / 512) * 512;
			const padded = new Uint8Array(sectors - (hostOffset % 512));
			padded.set(packed);
			metadata.noteWritten(hostOffset + padded.length);
			await store.write(hostOffset, padded);
			await metadata.map(cluster, { kind: "compressed", hostOffset, hostBytes: packed.length });
		});
		return true;
	}

	/** Finds room and counts its user in each cluster touched. */
	async #place(count: number): Promise<number> {
		const { clusterBytes, refcounts } = this.#metadata;
		if (this.#next + count > this.#end) {
			const { first } = await refcounts.allocate(1);
			// The new cluster is its first user's: who begins in it, or reaches into it from the one before.
			if (first * clusterBytes !== this.#end || this.#next === this.#end) this.#next = first * clusterBytes;
			else await this.#countUsers(this.#next, this.#end - this.#next);
			this.#end = (first + 1) * clusterBytes;
		} else await this.#countUsers(this.#next, count);
		const hostOffset = this.#next;
		this.#next += count;
		return hostOffset;
	}

	async #countUsers(offset: number, count: number): Promise<void> {
		const { clusterBytes, refcounts } = this.#metadata;
		const last = Math.floor((offset + count - 1) / clusterBytes);
		for (let cluster = Math.floor(offset / clusterBytes); cluster <= last; cluster++) await refcounts.add(cluster, 1);
	}
}
