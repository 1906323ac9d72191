import { readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { copyDisk } from "../../../disk/convert.ts";
import { type ByteStore, type Disk, DiskError } from "../../../disk/disk.ts";
import { checkQcow2, type Qcow2CheckReport, repair } from "../../../disk/formats/qcow2/check.ts";
import { createQcow2, type Qcow2CreateOptions } from "../../../disk/formats/qcow2/create.ts";
import { COMPATIBLE, INCOMPATIBLE, type Qcow2Header } from "../../../disk/formats/qcow2/header.ts";
import { readHeader } from "../../../disk/formats/qcow2/metadata.ts";
import { Qcow2Disk } from "../../../disk/formats/qcow2/qcow2-disk.ts";
import { resizeQcow2 } from "../../../disk/formats/qcow2/resize.ts";
import { type Qcow2Snapshot, readSnapshots } from "../../../disk/formats/qcow2/snapshots.ts";
import { checkVmdkExtents, type ImageCheckReport } from "../../../disk/formats/vmdk/check.ts";
import { createVmdk, type VmdkCreateOptions } from "../../../disk/formats/vmdk/create.ts";
import { readVmdkDescriptor, VmdkDisk } from "../../../disk/formats/vmdk/vmdk-disk.ts";
import { type DiskFormat, type ImageLayer, probeFormat } from "../../../disk/open.ts";
import { FileStore } from "./file-store.ts";
import { openImageFile, resolvePath } from "./files.ts";
import { rewriteVmdk } from "./rewrite.ts";
import { openBelow, withStore } from "./with-store.ts";

export type NewDiskOptions =
	| { readonly format: "raw"; readonly sizeBytes: number }
	| ({ readonly format: "qcow2" } & Qcow2CreateOptions)
	| {
			readonly format: "vmdk";
			readonly sizeBytes: number;
			readonly type?: NonNullable<VmdkCreateOptions["type"]>;
			/** A VMDK disk that this one's changes are changes of; by its path from the new one's folder, or from the root. */
			readonly parentFile?: string;
	  };

type Progress = (doneBytes: number, totalBytes: number) => void;

/**
 * Makes an empty disk image; what it makes is removed again if it fails.
 * @throws DiskError where there is a file already, or options do not go together
 */
export async function createDiskFile(path: string, options: NewDiskOptions): Promise<void> {
	if (!Number.isSafeInteger(options.sizeBytes) || options.sizeBytes < 0 || options.sizeBytes % 512 !== 0)
		throw new DiskError("unsupported", path, `a disk of ${options.sizeBytes} bytes; it takes whole sectors of 512`);
	const store = await FileStore.open(path, { create: true });
	const made = [path];
	try {
		if (options.format === "raw") await store.truncate(options.sizeBytes);
		else if (options.format === "qcow2") await createQcow2(store, options);
		else
			await createVmdk(store, {
				sizeBytes: options.sizeBytes,
				...(options.type === undefined ? {} : { type: options.type }),
				...(options.parentFile === undefined
					? {}
					: { parent: { file: options.parentFile, cid: await vmdkCid(resolvePath(path, options.parentFile)) } }),
				baseName: basename(path, extname(path)),
				createExtent: async (name) => {
					const extent = await FileStore.open(join(dirname(path), name), { create: true });
					made.push(extent.name);
					return extent;
				},
			});
		await store.flush();
	} catch (error) {
		for (const file of made) await rm(file, { force: true });
		throw error;
	} finally {
		await store.close();
	}
}

async function vmdkCid(path: string): Promise<number> {
	return withStore(path, true, async (store) => (await readVmdkDescriptor(store)).descriptor.cid);
}

export interface DiskFileInfo {
	readonly format: DiskFormat;
	/** The guest's disk. */
	readonly sizeBytes: number;
	/** The file's length, and what it takes up on the host's disk. */
	readonly fileBytes: number;
	readonly allocatedBytes: number;
	/** The image and what it stands on, top first. */
	readonly layers: readonly ImageLayer[];
	readonly snapshots: readonly Qcow2Snapshot[];
	/** How many layers of an undoable disk lie beside it. */
	readonly undoLayers: number;
	readonly qcow2: Qcow2Details | undefined;
	/** For VMDK: its createType. */
	readonly subformat: string | undefined;
}

export interface Qcow2Details {
	readonly version: 2 | 3;
	readonly clusterBytes: number;
	readonly refcountBits: number;
	readonly compression: "zlib" | "zstd";
	readonly hasLazyRefcounts: boolean;
	/** Its last writer was cut off before it had written its counts down: the next one counts afresh. */
	readonly isDirty: boolean;
	readonly isMarkedCorrupt: boolean;
}

export async function diskFileInfo(path: string, options: { readonly format?: DiskFormat } = {}): Promise<DiskFileInfo> {
	const { disk, format, layers } = await openImageFile(path, { ...options, isReadOnly: true });
	try {
		const file = await stat(path);
		const header = disk instanceof Qcow2Disk ? disk.header : undefined;
		return {
			format,
			sizeBytes: disk.sizeBytes,
			fileBytes: file.size,
			allocatedBytes: file.blocks * 512,
			layers,
			snapshots: format === "qcow2" ? await snapshotsOf(path) : [],
			undoLayers: (await readdir(`${resolvePath("", path)}.undo`).catch(() => [])).filter((name) => name.endsWith(".qcow2")).length,
			qcow2: header === undefined ? undefined : qcow2Details(header),
			subformat: disk instanceof VmdkDisk ? disk.descriptor.createType : undefined,
		};
	} finally {
		await disk.close();
	}
}

function qcow2Details(header: Qcow2Header): Qcow2Details {
	return {
		version: header.version,
		clusterBytes: 2 ** header.clusterBits,
		refcountBits: 2 ** header.refcountOrder,
		compression: header.compression,
		hasLazyRefcounts: (header.compatible & COMPATIBLE.LAZY_REFCOUNTS) !== 0,
		isDirty: (header.incompatible & INCOMPATIBLE.DIRTY) !== 0,
		isMarkedCorrupt: (header.incompatible & INCOMPATIBLE.CORRUPT) !== 0,
	};
}

async function snapshotsOf(path: string): Promise<readonly Qcow2Snapshot[]> {
	return withStore(path, true, async (store) => readSnapshots(store, await readHeader(store)));
}

/**
 * Looks a qcow2 or VMDK image over, and repairs a qcow2 one if told to; answers what was found.
 * @throws DiskError unsupported for formats that keep nothing to check, and for a repair of VMDK
 */
export async function checkDiskFile(
	path: string,
	options: { readonly isRepairing?: boolean; readonly format?: DiskFormat } = {},
): Promise<ImageCheckReport | Qcow2CheckReport> {
	const isRepairing = options.isRepairing === true;
	const format = await withStore(path, true, async (store) => options.format ?? (await probeFormat(store)));
	if (format === "vmdk" && !isRepairing) {
		const { disk } = await openImageFile(path, { format, isReadOnly: true });
		return checkVmdkExtents((disk as VmdkDisk).sparseExtents).finally(() => disk.close());
	}
	return withStore(path, !isRepairing, async (store) => {
		await expectQcow2(store, isRepairing ? "repairing" : "checking");
		const report = await checkQcow2(store);
		if (isRepairing && report.errorCount + report.leakCount > 0) await repair(store);
		return report;
	});
}

/** Copies a disk, of whatever format and standing on whatever, into a new image of its own. */
export async function convertDiskFile(
	source: string,
	target: string,
	options: {
		readonly format: "raw" | "qcow2" | "vmdk";
		readonly sourceFormat?: DiskFormat;
		/** An internal snapshot of the source instead of its present contents. */
		readonly snapshot?: string;
		readonly isCompressing?: boolean;
		readonly onProgress?: Progress;
		readonly vmdkType?: NonNullable<VmdkCreateOptions["type"]>;
		readonly qcow2?: Omit<Qcow2CreateOptions, "sizeBytes" | "backingFile" | "backingFormat">;
	},
): Promise<void> {
	const { disk: from } = await openImageFile(source, {
		isReadOnly: true,
		...(options.sourceFormat === undefined ? {} : { format: options.sourceFormat }),
		...(options.snapshot === undefined ? {} : { snapshot: options.snapshot }),
	});
	try {
		const { sizeBytes } = from;
		if (options.isCompressing === true && options.format !== "qcow2")
			throw new DiskError("unsupported", target, `format ${options.format} is not written compressed`);
		if (options.format === "qcow2") await createDiskFile(target, { format: "qcow2", sizeBytes, ...options.qcow2 });
		else if (options.format === "raw") await createDiskFile(target, { format: "raw", sizeBytes });
		else
			await createDiskFile(target, {
				format: "vmdk",
				sizeBytes,
				...(options.vmdkType === undefined ? {} : { type: options.vmdkType }),
			});
		const { disk: to } = await openImageFile(target, { format: options.format });
		try {
			await copyDisk(from, to, copyOptions(to, options));
			await to.flush();
		} finally {
			await to.close();
		}
	} finally {
		await from.close();
	}
}

function copyOptions(to: Disk, options: { readonly isCompressing?: boolean; readonly onProgress?: Progress }) {
	const progress = options.onProgress === undefined ? {} : { onProgress: options.onProgress };
	if (!(to instanceof Qcow2Disk)) return progress;
	const unitBytes = 2 ** to.header.clusterBits;
	if (options.isCompressing !== true) return { ...progress, unitBytes };
	return { ...progress, unitBytes, write: (at: number, bytes: Uint8Array) => to.writeCompressed(at, bytes) };
}

/**
 * Gives a disk another size.
 * @throws DiskError unsupported for a shrink without `allowShrink`, for VHD and VHDX, and for VMDK but growing a whole one in one sparse file
 */
export async function resizeDiskFile(
	path: string,
	sizeBytes: number,
	options: { readonly format?: DiskFormat; readonly allowShrink?: boolean } = {},
): Promise<void> {
	const backing = await openBelow(path, options.format);
	try {
		await withStore(path, false, async (store) => {
			const format = options.format ?? (await probeFormat(store));
			const shrink = options.allowShrink === undefined ? {} : { allowShrink: options.allowShrink };
			if (format === "vmdk") return rewriteVmdk(store, { sizeBytes });
			if (format === "qcow2") return resizeQcow2(store, sizeBytes, { ...shrink, ...(backing === undefined ? {} : { backing }) });
			if (format !== "raw") throw new DiskError("unsupported", path, `a disk of format ${format} cannot be given another size`);
			if (sizeBytes < (await store.size()) && options.allowShrink !== true)
				throw new DiskError("unsupported", path, `shrinking from ${await store.size()} to ${sizeBytes} bytes loses what lies behind`);
			await store.truncate(sizeBytes);
			await store.flush();
		});
	} finally {
		await backing?.close();
	}
}

async function expectQcow2(store: ByteStore, what: string): Promise<void> {
	const format = await probeFormat(store);
	if (format !== "qcow2") throw new DiskError("unsupported", store.name, `${what} is for qcow2, and this is ${format}`);
}
