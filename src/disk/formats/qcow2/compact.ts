import type { Codecs } from "../../codecs.ts";
import { copyDisk } from "../../convert.ts";
import { type ByteStore, type Disk, DiskError } from "../../disk.ts";
import { keepDiskOpen, keepOpen } from "../../keep-open.ts";
import { createQcow2, optionsLike } from "./create.ts";
import { Qcow2Disk } from "./qcow2-disk.ts";

export interface Qcow2CompactOptions {
	readonly backing?: Disk;
	readonly codecs?: Codecs;
	/** Stores clusters compressed where that saves something. */
	readonly isCompressing?: boolean;
	readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Writes the same image again, without free clusters, zeros and leaks, in guest order. The host then puts `target` in
 * the place of `source`, so that a crash leaves one or the other. Both stores stay open.
 * @throws DiskError unsupported for an image with internal snapshots, which would be lost
 */
export async function compactQcow2(source: ByteStore, target: ByteStore, options: Qcow2CompactOptions = {}): Promise<void> {
	const shared = {
		...(options.backing === undefined ? {} : { backing: keepDiskOpen(options.backing) }),
		...(options.codecs === undefined ? {} : { codecs: options.codecs }),
	};
	const from = await Qcow2Disk.open(keepOpen(source), { isReadOnly: true, ...shared });
	const { header } = from;
	if (header.snapshotCount > 0)
		throw new DiskError("unsupported", source.name, `has ${header.snapshotCount} internal snapshots, which a compaction would lose`);
	await createQcow2(target, { ...optionsLike(header), sizeBytes: from.sizeBytes });
	const to = await Qcow2Disk.open(keepOpen(target), shared);
	await copyDisk(from, to, {
		isLayerOnly: header.backingFile !== undefined,
		unitBytes: 2 ** header.clusterBits,
		...(options.isCompressing === true ? { write: (at, bytes) => to.writeCompressed(at, bytes) } : {}),
		...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
	});
	await to.close();
	await from.close();
}
