import type { Disk } from "../../../disk/disk.ts";
import { readHeader } from "../../../disk/formats/qcow2/metadata.ts";
import { type DiskFormat, probeFormat } from "../../../disk/open.ts";
import { FileStore } from "./file-store.ts";
import { openImageFile, resolvePath } from "./files.ts";

/** What a qcow2 image stands on, opened. */
export async function openBelow(path: string, format: DiskFormat | undefined): Promise<Disk | undefined> {
	const named = await withStore(path, true, async (store) => {
		if ((format ?? (await probeFormat(store))) !== "qcow2") return undefined;
		const { backingFile, backingFormat } = await readHeader(store);
		return backingFile === undefined ? undefined : { backingFile, backingFormat };
	});
	if (named === undefined) return undefined;
	const formats: Readonly<Record<string, DiskFormat>> = { raw: "raw", qcow2: "qcow2", vmdk: "vmdk", vpc: "vhd", vhdx: "vhdx" };
	const below = named.backingFormat === undefined ? undefined : formats[named.backingFormat];
	const place = resolvePath(resolvePath("", path), named.backingFile);
	return (await openImageFile(place, { isReadOnly: true, ...(below === undefined ? {} : { format: below }) })).disk;
}

export async function withStore<Result>(path: string, isReadOnly: boolean, work: (store: FileStore) => Promise<Result>): Promise<Result> {
	const store = await FileStore.open(path, { isReadOnly });
	try {
		return await work(store);
	} finally {
		await store.close();
	}
}
