import { realpathSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import type { ImageFiles, OpenedImage, OpenImageOptions } from "../../../disk/open.ts";
import { openImage } from "../../../disk/open.ts";
import { nodeCodecs } from "./codecs.ts";
import { FileStore } from "./file-store.ts";

/** Images as files of the host: names inside them count from the folder they lie in, links are followed. */
export const nodeFiles: ImageFiles = {
	resolve: (from, name) => {
		const path = isAbsolute(name) || from === "" ? resolve(name) : resolve(dirname(from), name);
		try {
			return realpathSync(path);
		} catch {
			return path;
		}
	},
	open: (place, options) => FileStore.open(place, options),
};

/** Opens a disk image of any format, and what it stands on. @throws DiskError naming the file at fault */
export function openImageFile(path: string, options: OpenImageOptions = {}): Promise<OpenedImage> {
	return openImage(nodeFiles, path, { codecs: nodeCodecs, ...options });
}
