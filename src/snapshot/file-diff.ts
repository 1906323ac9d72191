import { type Disk, DiskError } from "../disk/disk.ts";
import { Ext4, type FileFacts } from "../disk/filesystem/ext4.ts";
import { type Partition, partitionsOf } from "../disk/filesystem/partitions.ts";

/** What has become of the files of one file system, by path. A directory has changed when its rights have. */
export interface FileDifference {
	/** 0: it fills the whole disk. */
	readonly partition: number;
	readonly added: readonly string[];
	readonly removed: readonly string[];
	readonly changed: readonly string[];
	/** Why it could not be read, or not to the end: what is listed is then not all. */
	readonly problem?: string;
}

/** For each file system of the ext family that both disks have, which files differ. What a guest has not written yet is not there. */
export async function fileDifference(a: Disk, b: Disk): Promise<readonly FileDifference[]> {
	const found: FileDifference[] = [];
	for (const partition of await partitionsOf(b)) {
		const difference = await compare(a, b, partition);
		if (difference !== undefined) found.push(difference);
	}
	return found;
}

async function compare(a: Disk, b: Disk, { number, startBytes }: Partition): Promise<FileDifference | undefined> {
	const [added, removed, changed]: [string[], string[], string[]] = [[], [], []];
	const lists = { partition: number, added, removed, changed };
	try {
		const [left, right] = [await Ext4.open(a, startBytes), await Ext4.open(b, startBytes)];
		if (left === undefined || right === undefined) return undefined;
		const before = new Map<string, string>();
		for await (const facts of left.files()) before.set(facts.path, keyOf(facts));
		for await (const facts of right.files()) {
			const key = before.get(facts.path);
			if (key === undefined) added.push(facts.path);
			else if (key !== keyOf(facts)) changed.push(facts.path);
			before.delete(facts.path);
		}
		removed.push(...before.keys());
		return lists;
	} catch (error) {
		if (!(error instanceof DiskError)) throw error;
		return { ...lists, problem: error.message };
	}
}

function keyOf({ isDirectory, inode, mode, owner, sizeBytes, mtime, ctime, map }: FileFacts): string {
	return isDirectory ? `${mode} ${owner}` : `${inode} ${mode} ${owner} ${sizeBytes} ${mtime} ${ctime} ${map}`;
}
