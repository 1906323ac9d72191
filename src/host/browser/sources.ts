import { type Disk, DiskError } from "../../disk/disk.ts";
import { MemoryLayerFolder } from "../../disk/layers/layer-folder.ts";
import { MemoryStore } from "../../disk/memory-store.ts";
import { openImage } from "../../disk/open.ts";
import { LayeredDisk } from "../../snapshot/layered-disk.ts";
import { MachineError } from "../../vm/error.ts";
import type { SentDisk, SentSource } from "./messages.ts";

/** Where a boot image or a disk's first contents come from: an address (relative to the page), or the bytes themselves. */
export type Source = string | URL | Uint8Array | ArrayBuffer;

/** A source that means the same to a worker. @throws MachineError `config` naming the key */
export function sendSource(key: string, source: Source): SentSource {
	if (source instanceof Uint8Array) return source;
	if (source instanceof ArrayBuffer) return new Uint8Array(source);
	if (source instanceof URL) return source.href;
	if (typeof source !== "string") throw new MachineError("config", `${key}: an address or bytes are wanted, not ${String(source)}`);
	try {
		return new URL(source, globalThis.document?.baseURI ?? location.href).href;
	} catch (error) {
		throw new MachineError("config", `${key}: "${source}" is no address`, { cause: error });
	}
}

/** @throws MachineError `unavailable` naming the key and the address */
export async function load(key: string, source: SentSource): Promise<Uint8Array> {
	if (typeof source !== "string") return source;
	let response: Response;
	try {
		response = await fetch(source);
	} catch (error) {
		throw new MachineError("unavailable", `${key}: ${source} cannot be fetched; another site has to allow it (CORS)`, { cause: error });
	}
	if (!response.ok) throw new MachineError("unavailable", `${key}: ${source}: ${response.status} ${response.statusText}`);
	return new Uint8Array(await response.arrayBuffer());
}

/** A disk in memory, for snapshots to put back; what is written to it is gone with the machine. @throws MachineError, DiskError */
export async function loadDisk(index: number, { source, format, isIndependent }: SentDisk): Promise<Disk> {
	const key = `disks[${index}].source`;
	const name = typeof source === "string" ? source : key;
	const store = new MemoryStore(name, await load(key, source));
	const open = async (place: string): Promise<MemoryStore> => {
		if (place !== name) throw new DiskError("not-found", place, `${name} stands on it, and a page has no files beside a disk's own`);
		return store;
	};
	const { disk } = await openImage({ resolve: (_, place) => place, open }, name, { format });
	return isIndependent || disk.isReadOnly ? disk : LayeredDisk.open(disk, new MemoryLayerFolder());
}
