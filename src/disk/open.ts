import type { Codecs } from "./codecs.ts";
import { type ByteStore, type Disk, DiskError } from "./disk.ts";
import { QCOW2_MAGIC } from "./formats/qcow2/header.ts";
import { readHeader } from "./formats/qcow2/metadata.ts";
import { Qcow2Disk } from "./formats/qcow2/qcow2-disk.ts";
import { readVhdInfo, VhdDisk } from "./formats/vhd/vhd-disk.ts";
import { VhdxDisk } from "./formats/vhd/vhdx-disk.ts";
import { readVhdxInfo } from "./formats/vhd/vhdx-metadata.ts";
import { readVmdkDescriptor, VmdkDisk } from "./formats/vmdk/vmdk-disk.ts";
import { RawDisk } from "./raw.ts";

export type DiskFormat = "raw" | "qcow2" | "vmdk" | "vhd" | "vhdx";

/** How images name each other: the host's files, a browser's, an archive's. */
export interface ImageFiles {
	/** The place that `name`, found inside the image at `from`, means; one spelling for one file. */
	resolve(from: string, name: string): string;
	/** @throws DiskError not-found, locked or io */
	open(place: string, options: { readonly isReadOnly: boolean }): Promise<ByteStore>;
}

export interface OpenImageOptions {
	/** Found out by looking at the contents unless told; telling is safer, since a guest can write any header into a raw disk. */
	readonly format?: DiskFormat;
	readonly isReadOnly?: boolean;
	readonly codecs?: Codecs;
	/** Opens a damaged image for writing all the same. */
	readonly force?: boolean;
	/** The id or name of an internal snapshot of a qcow2 image: what the disk was then, for reading only. */
	readonly snapshot?: string;
}

export interface ImageLayer {
	readonly place: string;
	readonly format: DiskFormat;
	readonly sizeBytes: number;
}

export interface OpenedImage {
	readonly disk: Disk;
	readonly format: DiskFormat;
	/** The image and everything it stands on, top first. */
	readonly layers: readonly ImageLayer[];
}

const MAX_LAYERS = 256;
/** Backing file formats as qcow2 images name them. */
const FORMAT_NAMES: Readonly<Record<string, DiskFormat>> = {
	raw: "raw",
	qcow2: "qcow2",
	vmdk: "vmdk",
	vpc: "vhd",
	vhd: "vhd",
	vhdx: "vhdx",
};

/** What the contents look like; "raw" where they look like nothing known. */
export async function probeFormat(store: ByteStore): Promise<DiskFormat> {
	const head = new Uint8Array(Math.min(512, await store.size()));
	await store.read(0, head);
	const begins = (text: string, bytes = head) => [...text].every((char, i) => bytes[i] === char.charCodeAt(0));
	if (head.length >= 4 && new DataView(head.buffer).getUint32(0) === QCOW2_MAGIC) return "qcow2";
	if (begins("KDMV") || begins("# Disk DescriptorFile")) return "vmdk";
	if (begins("vhdxfile")) return "vhdx";
	const tail = new Uint8Array(8);
	if ((await store.size()) >= 512) await store.read((await store.size()) - 512, tail);
	return begins("conectix") || begins("conectix", tail) ? "vhd" : "raw";
}

/**
 * Opens an image and everything it stands on; closing the disk closes it all.
 * @throws DiskError, naming the file at fault: not-found, corrupt, unsupported, locked, io
 */
export async function openImage(files: ImageFiles, place: string, options: OpenImageOptions = {}): Promise<OpenedImage> {
	return openLayer(files, files.resolve("", place), options, []);
}

async function openLayer(files: ImageFiles, place: string, options: OpenImageOptions, above: readonly string[]): Promise<OpenedImage> {
	if (above.includes(place)) throw new DiskError("corrupt", place, `stands on itself: ${[...above, place].join(" on ")}`);
	if (above.length >= MAX_LAYERS) throw new DiskError("unsupported", place, `a chain of more than ${MAX_LAYERS} images`);
	const isReadOnly = options.isReadOnly ?? options.snapshot !== undefined;
	const store = await files.open(place, { isReadOnly });
	let below: OpenedImage | undefined;
	try {
		const format = options.format ?? (await probeFormat(store));
		if (options.snapshot !== undefined && format !== "qcow2")
			throw new DiskError("unsupported", place, `internal snapshots are for qcow2, and this is ${format}`);
		const parent = await parentOf(store, format);
		if (above.length > 0 && options.format === undefined) checkGuess(place, format, parent !== undefined);
		if (parent !== undefined) {
			const parentPlace = files.resolve(place, localName(place, parent.name));
			below = await openLayer(files, parentPlace, parentOptions(options, parent.format), [...above, place]);
		}
		const disk = await openFormat(files, store, place, format, options, below?.disk);
		return { disk, format, layers: [{ place, format, sizeBytes: disk.sizeBytes }, ...(below?.layers ?? [])] };
	} catch (error) {
		await store.close();
		await below?.disk.close();
		throw error;
	}
}

/**
 * An image above did not say what it stands on. A guest may have written a header into what was its raw disk, to be shown
 * whatever files it names: such a guess has to be borne out by the file's name.
 */
function checkGuess(place: string, format: DiskFormat, hasParent: boolean): void {
	if (
		format === "raw" ||
		(!hasParent && format !== "vmdk") ||
		/\.(qcow2?|vmdk|vhdx?|vpc|img)$/i.exec(place)?.[1]?.startsWith(format.slice(0, 3))
	)
		return;
	throw new DiskError("unsupported", place, `looks like ${format} and names further files, but the image above does not say its format`);
}

function parentOptions(options: OpenImageOptions, format: DiskFormat | undefined): OpenImageOptions {
	return {
		isReadOnly: true,
		...(format === undefined ? {} : { format }),
		...(options.codecs === undefined ? {} : { codecs: options.codecs }),
	};
}

/** What an image says it stands on. */
async function parentOf(store: ByteStore, format: DiskFormat): Promise<{ name: string; format: DiskFormat | undefined } | undefined> {
	switch (format) {
		case "raw":
			return undefined;
		case "qcow2": {
			const { backingFile, backingFormat } = await readHeader(store);
			if (backingFile === undefined) return undefined;
			if (backingFormat !== undefined && FORMAT_NAMES[backingFormat] === undefined)
				throw new DiskError("unsupported", store.name, `a backing file of format ${backingFormat}`);
			return { name: backingFile, format: backingFormat === undefined ? undefined : FORMAT_NAMES[backingFormat] };
		}
		case "vmdk": {
			const { parentFile } = (await readVmdkDescriptor(store)).descriptor;
			return parentFile === undefined ? undefined : { name: parentFile, format: "vmdk" };
		}
		case "vhd": {
			const { parentFile } = await readVhdInfo(store);
			return parentFile === undefined ? undefined : { name: fromWindows(parentFile), format: "vhd" };
		}
		case "vhdx": {
			const { parentFile } = await readVhdxInfo(store);
			return parentFile === undefined ? undefined : { name: fromWindows(parentFile), format: "vhdx" };
		}
	}
}

/** Windows paths: a relative one is taken as it is, of an absolute one only the name can be found here. */
function fromWindows(path: string): string {
	const forward = path.replaceAll("\\", "/");
	return /^[A-Za-z]:|^\/\//.test(forward) ? forward.slice(forward.lastIndexOf("/") + 1) : forward.replace(/^\.\//, "");
}

/** Names may carry a protocol; only files are understood. */
function localName(place: string, name: string): string {
	if (name.startsWith("file:")) return name.slice(name.startsWith("file://") ? 7 : 5);
	if (/^[a-z][a-z0-9+.-]+:/.test(name) && !/^[A-Za-z]:[\\/]/.test(name))
		throw new DiskError("unsupported", place, `stands on ${name}, which is not a file`);
	return name;
}

async function openFormat(
	files: ImageFiles,
	store: ByteStore,
	place: string,
	format: DiskFormat,
	options: OpenImageOptions,
	parent: Disk | undefined,
): Promise<Disk> {
	const isReadOnly = options.isReadOnly ?? false;
	const withParent = parent === undefined ? {} : { parent };
	const withCodecs = options.codecs === undefined ? {} : { codecs: options.codecs };
	switch (format) {
		case "raw":
			return RawDisk.open(store, { isReadOnly });
		case "qcow2":
			return Qcow2Disk.open(store, {
				isReadOnly,
				force: options.force ?? false,
				...(options.snapshot === undefined ? {} : { snapshot: options.snapshot }),
				...withCodecs,
				...(parent === undefined ? {} : { backing: parent }),
			});
		case "vmdk":
			return VmdkDisk.open(store, {
				isReadOnly,
				openExtent: (name) => files.open(files.resolve(place, localName(place, name)), { isReadOnly }),
				...withParent,
				...withCodecs,
				...(parent instanceof VmdkDisk ? { parentCid: parent.descriptor.cid } : {}),
			});
		case "vhd":
			return VhdDisk.open(store, withParent);
		case "vhdx":
			return VhdxDisk.open(store, withParent);
	}
}
