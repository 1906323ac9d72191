import { type ImageCheckReport, type ImageProblem, MAX_PROBLEMS } from "../../check-report.ts";
import { DiskError } from "../../disk.ts";
import type { SparseExtent } from "./sparse-extent.ts";

export type { ImageCheckReport } from "../../check-report.ts";

/**
 * Looks a VMDK disk's sparse extents over: every grain lies within its file and in a place of its own, and both sets of
 * grain tables agree.
 */
export async function checkVmdkExtents(extents: readonly SparseExtent[]): Promise<ImageCheckReport> {
	const problems: ImageProblem[] = [];
	const counts = { error: 0, leak: 0 };
	for (const extent of extents)
		for await (const { kind, offsetBytes, message } of extentProblems(extent)) {
			counts[kind]++;
			if (problems.length < MAX_PROBLEMS) problems.push({ kind, offsetBytes, message: `${extent.store.name}: ${message}` });
		}
	return { problems, errorCount: counts.error, leakCount: counts.leak };
}

async function* extentProblems(extent: SparseExtent): AsyncIterableIterator<ImageProblem> {
	const claimed = new Set<number>();
	for (let index = 0; index < extent.grainCount; index += extent.header.entriesPerTable) {
		for await (const { index: grain, sector, redundantSector, entryOffset } of extent.tableEntries(index)) {
			if (redundantSector !== undefined && redundantSector !== sector)
				yield {
					kind: "leak",
					offsetBytes: entryOffset,
					message: `grain ${grain} lies in sector ${sector}, its other table says ${redundantSector}`,
				};
			try {
				const place = await extent.grain(grain);
				if (place.kind !== "data") continue;
				if (claimed.has(place.offset))
					yield { kind: "error", offsetBytes: entryOffset, message: `grain ${grain} shares its place at ${place.offset} with another` };
				claimed.add(place.offset);
			} catch (error) {
				if (!(error instanceof DiskError)) throw error;
				yield { kind: "error", offsetBytes: error.offsetBytes ?? entryOffset, message: error.message };
			}
		}
	}
}
