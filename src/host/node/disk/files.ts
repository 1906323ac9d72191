import { realpathSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import type { ImageFiles, OpenedImage, OpenImageOptions } from "../../../disk/open.ts";
import { openImage } from "../../../disk/open.ts";
import { nodeCodecs } from "./codecs.ts";
import { FileStore } from "./file-store.ts";

export interface NodeFilesOptions {
	/** As in `FileStoreOptions`. */
	readonly blockingBytes?: number;
}

/** Images as files of the host: names inside them count from the folder they lie in, links are followed. */
export function nodeFiles(shared: NodeFilesOptions = {}): ImageFiles {
	const blocking = shared.blockingBytes === undefined ? {} : { blockingBytes: shared.blockingBytes };
	return { resolve: resolvePath, open: (place, options) => FileStore.open(place, { ...blocking, ...options }) };
}

export function resolvePath(from: string, name: string): string {
	const path = isAbsolute(name) || from === "" ? resolve(name) : resolve(dirname(from), name);
	try {
		return realpathSync(path);
	} catch {
		return path;
	}
}

/** Opens a disk image of any format, and what it stands on. @throws DiskError naming the file at fault */
export function openImageFile(path: string, options: OpenImageOptions & NodeFilesOptions = {}): Promise<OpenedImage> {
	return openImage(nodeFiles(options), path, { codecs: nodeCodecs, ...options });
}
