/** What thinning looks at. */
export interface Dated {
	readonly id: string;
	readonly createdMs: number;
	readonly isAutomatic: boolean;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Up to which age there is one in how long; older ones than the last go. */
const STEPS = [
	{ ageMs: HOUR_MS, everyMs: 0 },
	{ ageMs: DAY_MS, everyMs: HOUR_MS },
	{ ageMs: 30 * DAY_MS, everyMs: DAY_MS },
	{ ageMs: 365 * DAY_MS, everyMs: 7 * DAY_MS },
] as const;

/**
 * Which automatic snapshots have had their time: all of the last hour stay, then one an hour for a day, one a day for a month, one
 * a week for a year. Those that somebody took on purpose stay for ever. Of each stretch the oldest stays, so that what is kept
 * once is not dropped later for a newer one.
 */
export function thinned(snapshots: readonly Dated[], nowMs: number): readonly string[] {
	const removed: string[] = [];
	const seen = new Set<string>();
	for (const { id, createdMs } of snapshots.filter((each) => each.isAutomatic).sort((a, b) => a.createdMs - b.createdMs)) {
		const step = STEPS.find(({ ageMs }) => nowMs - createdMs <= ageMs);
		if (step === undefined) removed.push(id);
		else if (step.everyMs > 0) {
			const stretch = `${step.everyMs}/${Math.floor(createdMs / step.everyMs)}`;
			if (seen.has(stretch)) removed.push(id);
			seen.add(stretch);
		}
	}
	return removed;
}
