import { rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { copyDisk } from "../../../disk/convert.ts";
import { DiskError } from "../../../disk/disk.ts";
import { compactQcow2 } from "../../../disk/formats/qcow2/compact.ts";
import { createVmdk } from "../../../disk/formats/vmdk/create.ts";
import { NO_PARENT_CID } from "../../../disk/formats/vmdk/descriptor.ts";
import { readVmdkDescriptor, VmdkDisk, writeVmdkCid } from "../../../disk/formats/vmdk/vmdk-disk.ts";
import { keepOpen } from "../../../disk/keep-open.ts";
import { type DiskFormat, probeFormat } from "../../../disk/open.ts";
import { RawDisk } from "../../../disk/raw.ts";
import { nodeCodecs } from "./codecs.ts";
import { replaceFile } from "./commit.ts";
import { FileStore } from "./file-store.ts";
import { resolvePath } from "./files.ts";
import { openBelow, withStore } from "./with-store.ts";

type Progress = (doneBytes: number, totalBytes: number) => void;

/** Where the host gives a file's holes back. */
const HOLE_BYTES = 4096;

/**
 * Writes an image again without free clusters and zeros, and puts it in the old one's place in one step: qcow2, a VMDK disk in
 * one sparse file, and a raw one, of which zeros become holes.
 * @throws DiskError unsupported for other formats, and where something in the image would be lost
 */
export async function compactDiskFile(
	path: string,
	options: { readonly isCompressing?: boolean; readonly onProgress?: Progress; readonly format?: DiskFormat } = {},
): Promise<void> {
	const place = resolvePath("", path);
	const backing = await openBelow(place, options.format);
	try {
		await withStore(place, false, async (store) => {
			const format = options.format ?? (await probeFormat(store));
			const refuse = (what: string): never => {
				throw new DiskError("unsupported", store.name, what);
			};
			if (options.isCompressing === true && format !== "qcow2") refuse(`format ${format} is not written compressed`);
			if (format === "qcow2")
				await replaced(place, (fresh) =>
					compactQcow2(store, fresh, { codecs: nodeCodecs, ...options, ...(backing === undefined ? {} : { backing }) }),
				);
			else if (format === "vmdk") await rewriteVmdk(store, options);
			else if (format !== "raw") refuse(`an image of format ${format} cannot be compacted`);
			else if (!(await stat(place)).isFile()) refuse("is no file whose space could be given back");
			else
				await replaced(place, async (fresh) => {
					await fresh.truncate(await store.size());
					const progress = options.onProgress === undefined ? {} : { onProgress: options.onProgress };
					await copyDisk(await RawDisk.open(store), await RawDisk.open(fresh), { unitBytes: HOLE_BYTES, ...progress });
				});
		});
	} finally {
		await backing?.close();
	}
}

/**
 * Writes a VMDK disk again, without grains of zeros, perhaps in another size. Its content id stays, unless the size changes: its
 * children would not fit any more.
 * @throws DiskError unsupported for a disk in several files, and for a child
 */
export async function rewriteVmdk(
	store: FileStore,
	options: { readonly sizeBytes?: number; readonly onProgress?: Progress },
): Promise<void> {
	const { descriptor } = await readVmdkDescriptor(store);
	const refuse = (what: string): never => {
		throw new DiskError("unsupported", store.name, what);
	};
	if (descriptor.createType !== "monolithicSparse") refuse(`${descriptor.createType} cannot be written again; convert it`);
	if (descriptor.parentCid !== NO_PARENT_CID) refuse("is a child of another disk and cannot be written again; convert it");
	const from = await VmdkDisk.open(keepOpen(store), { isReadOnly: true });
	const sizeBytes = options.sizeBytes ?? from.sizeBytes;
	if (sizeBytes < from.sizeBytes) refuse(`a VMDK disk of ${from.sizeBytes} bytes is not made smaller; convert it`);
	const place = resolvePath("", store.name);
	await replaced(place, async (fresh) => {
		const createExtent = () => refuse("one file is enough");
		await createVmdk(fresh, { sizeBytes, type: "monolithicSparse", baseName: basename(place), createExtent });
		const to = await VmdkDisk.open(keepOpen(fresh));
		await copyDisk(from, to, options.onProgress === undefined ? {} : { onProgress: options.onProgress });
		await to.close();
		if (sizeBytes === from.sizeBytes) await writeVmdkCid(fresh, descriptor.cid);
	});
}

/** Has `write` fill a new file, which then takes the old one's place; cut off at any moment, the old one is still there. */
async function replaced(place: string, write: (fresh: FileStore) => Promise<void>): Promise<void> {
	const path = join(dirname(place), `.${basename(place)}.compacted`);
	// What an earlier attempt left when it was cut off; the image's lock says that there is no other now.
	await rm(path, { force: true });
	const fresh = await FileStore.open(path, { create: true, lock: false });
	try {
		try {
			await write(fresh);
			await fresh.flush();
		} finally {
			await fresh.close();
		}
		await replaceFile(path, place);
	} catch (error) {
		await rm(path, { force: true });
		throw error;
	}
}
