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
	let errorCount = 0;
	for (const extent of extents)
		for await (const { offsetBytes, message } of extentProblems(extent)) {
			errorCount++;
			if (problems.length < MAX_PROBLEMS) problems.push({ kind: "error", offsetBytes, message: `${extent.store.name}: ${message}` });
		}
	return { problems, errorCount, leakCount: 0 };
}

async function* extentProblems(extent: SparseExtent): AsyncIterableIterator<{ offsetBytes: number; message: string }> {
	const claimed = new Set<number>();
	for (let index = 0; index < extent.grainCount; index += extent.header.entriesPerTable) {
		for await (const { index: grain, sector, redundantSector, entryOffset } of extent.tableEntries(index)) {
			if (redundantSector !== undefined && redundantSector !== sector)
				yield { offsetBytes: entryOffset, message: `grain ${grain} lies in sector ${sector}, its other table says ${redundantSector}` };
			try {
				const place = await extent.grain(grain);
				if (place.kind !== "data") continue;
				if (claimed.has(place.offset))
					yield { offsetBytes: entryOffset, message: `grain ${grain} shares its place at ${place.offset} with another` };
				claimed.add(place.offset);
			} catch (error) {
				if (!(error instanceof DiskError)) throw error;
				yield { offsetBytes: error.offsetBytes ?? entryOffset, message: error.message };
			}
		}
	}
}
