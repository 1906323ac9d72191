import { constants } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * At any moment, whatever happens, the file has its old contents or the new; once this resolves, the new. Written beside, made
 * safe, then put in place; the folder's own entry is made safe, too.
 */
export async function replaceFile(path: string, contents: Uint8Array | string, mode?: number): Promise<void> {
	const file = await open(`${path}.new`, "w", mode);
	try {
		await file.writeFile(contents);
		await file.sync();
	} finally {
		await file.close();
	}
	await rename(`${path}.new`, path);
	const folder = await open(dirname(path), constants.O_RDONLY);
	await folder.sync().finally(() => folder.close());
}
