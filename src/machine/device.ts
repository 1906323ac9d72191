import type { StateValue } from "../base/json.ts";

/** Something with guest-visible state. `load` puts levels back without edges; nothing is inherited, nothing optional. */
export interface Device<State extends StateValue> {
	readonly name: string;
	reset(): void;
	save(): State;
	load(state: State): void;
}

/** What the project knows it leaves out; `docs/support.md` is generated from these calls' places and counts. */
export interface UnimplementedReport {
	readonly device: string;
	readonly what: string;
	count: number;
}

const reports = new Map<string, UnimplementedReport>();

/** Records that a guest asked for something we do not do. Called where silicon's nearest behaviour is given instead. */
export function unimplemented(device: string, what: string): void {
	const key = `${device}\0${what}`;
	const report = reports.get(key);
	if (report === undefined) reports.set(key, { device, what, count: 1 });
	else report.count++;
}

export function unimplementedReports(): readonly UnimplementedReport[] {
	return [...reports.values()];
}
