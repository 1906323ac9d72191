import { link, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DiskError } from "../../../disk/disk.ts";

/** Says that a file is ours. */
export interface FileLock {
	release(): Promise<void>;
}

/** Attempts at a lock whose holder dies or lets go meanwhile. */
const ATTEMPTS = 5;
let made = 0;

/**
 * Takes the advisory lock of a disk image: a small file beside it that names the process. One left behind by a process
 * that is gone is taken over. Where nothing can be written beside the image there is no lock, as on read-only media.
 * @throws DiskError locked, naming the holder
 */
export async function lockFile(path: string): Promise<FileLock | undefined> {
	const real = await realpath(path);
	const lockPath = join(dirname(real), `.${basename(real)}.lock`);
	const ours = `${lockPath}.${process.pid}.${made++}`;
	const holder = JSON.stringify({ pid: process.pid, started: (await statOf(process.pid)).started });
	try {
		await writeFile(ours, holder);
	} catch {
		return undefined;
	}
	try {
		for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
			if (await take(ours, lockPath)) return { release: () => rm(lockPath, { force: true }) };
			await clearIfStale(lockPath, path, `${ours}.stale`);
		}
	} finally {
		await rm(ours, { force: true });
	}
	throw new DiskError("locked", path, "is in use by another process");
}

/** A link either makes the lock with its contents or finds one there; nothing in between. */
async function take(ours: string, lockPath: string): Promise<boolean> {
	try {
		await link(ours, lockPath);
		return true;
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
		throw new DiskError("io", lockPath, "cannot lock the disk image", { cause: error });
	}
}

async function clearIfStale(lockPath: string, path: string, aside: string): Promise<void> {
	const found = await readFile(lockPath, "utf8").catch(() => undefined);
	if (found === undefined) return;
	const pid = await livingHolder(found);
	if (pid !== undefined) {
		const who = pid === process.pid ? "by this process already" : `by process ${pid}`;
		throw new DiskError("locked", path, `is in use ${who}; if it is not, delete ${lockPath}`);
	}
	// Moved aside first: had someone taken the lock over meanwhile, theirs is put back.
	await rename(lockPath, aside).catch(() => undefined);
	const moved = await readFile(aside, "utf8").catch(() => undefined);
	if (moved !== undefined && moved !== found) await link(aside, lockPath).catch(() => undefined);
	await rm(aside, { force: true });
}

async function livingHolder(text: string): Promise<number | undefined> {
	try {
		const { pid, started } = JSON.parse(text) as { pid?: unknown; started?: unknown };
		if (typeof pid !== "number") return undefined;
		process.kill(pid, 0);
		const stat = await statOf(pid);
		return started === stat.started && !stat.isDead ? pid : undefined;
	} catch (error) {
		// A process of another user is alive all the same.
		return (error as NodeJS.ErrnoException).code === "EPERM" ? (JSON.parse(text) as { pid: number }).pid : undefined;
	}
}

/**
 * When a process began, in ticks since boot (proc(5), "/proc/pid/stat", field 22): tells a process from its number's next
 * owner. One that has ended and waits for its parent to notice (field 3) still has its number, and holds nothing.
 */
async function statOf(pid: number): Promise<{ readonly started: string; readonly isDead: boolean }> {
	const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
	return { started: fields[19] ?? "", isDead: fields[0] === "Z" || fields[0] === "X" };
}
