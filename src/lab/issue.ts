import { SpecError, type SpecErrorKind } from "../net/link/errors.ts";

export type LabPath = readonly string[];

/**
 * What is wrong with a lab.
 * - `syntax`: not the format at all · `missing`: a key that has to be there · `unknown-name`: a node, port, link or profile that is not there
 * - `duplicate`: said twice · `cycle`: an order that bites its tail · the rest as in `SpecError`
 */
export type LabIssueKind = SpecErrorKind | "syntax" | "missing" | "unknown-name" | "duplicate" | "cycle";

export interface LabIssue {
	readonly kind: LabIssueKind;
	/** A warning does not keep the lab from running. */
	readonly severity: "error" | "warning";
	/** From the outermost key inwards; entries of lists by their number, from 0: `["links", "2", "a -- b", "rate"]`. */
	readonly path: LabPath;
	/** Whether the key or what stands behind it is to blame. */
	readonly at: "key" | "value";
	/** What was found there. */
	readonly problem: string;
	/** What belongs there. */
	readonly expected: string;
}

/** One line: where, what was found, what belongs there. */
export function describeIssue(issue: LabIssue): string {
	const where = issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
	return `${where}${issue.problem}; expected ${issue.expected}`;
}

/** A lab that cannot be built, with everything that is wrong with it. */
export class LabError extends Error {
	override readonly name: string = "LabError";
	readonly issues: readonly LabIssue[];

	/** @param lines what the message says, where more is known of the places than their keys */
	constructor(issues: readonly LabIssue[], lines: readonly string[] = issues.map(describeIssue)) {
		super(lines.join("\n"));
		this.issues = issues;
	}
}

/** Everything that is found wrong in one reading: whoever wrote a file wants to mend it all at once. */
export class IssueLog {
	readonly issues: LabIssue[] = [];

	get hasErrors(): boolean {
		return this.issues.some(({ severity }) => severity === "error");
	}

	error(kind: LabIssueKind, path: LabPath, problem: string, expected: string, at: "key" | "value" = "value"): undefined {
		this.issues.push({ kind, severity: "error", path, at, problem, expected });
		return undefined;
	}

	warn(path: LabPath, problem: string, expected: string): void {
		this.issues.push({ kind: "contradiction", severity: "warning", path, at: "value", problem, expected });
	}

	/** Runs `read`; a `SpecError` in it becomes an issue. */
	attempt<T>(read: () => T): T | undefined {
		try {
			return read();
		} catch (error) {
			if (!(error instanceof SpecError)) throw error;
			const isKey = error.kind === "unknown-key";
			const found = isKey ? `unknown key ${error.path.at(-1) ?? ""}` : show(error.found);
			return this.error(error.kind, error.path, found, error.expected, isKey ? "key" : "value");
		}
	}
}

export function show(value: unknown): string {
	if (value === undefined || value === null) return "nothing";
	const text =
		typeof value === "string" ? `"${value}"` : Array.isArray(value) ? "a list" : typeof value === "object" ? "a map" : String(value);
	return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** ", or did you mean …" where one of `known` is at most two letters off. */
export function suggestion(found: string, known: Iterable<string>): string {
	let best: string | undefined;
	let bestDistance = Math.min(3, Math.ceil(found.length / 2));
	for (const each of known) {
		const distance = editDistance(found.toLowerCase(), each.toLowerCase());
		if (distance < bestDistance) [best, bestDistance] = [each, distance];
	}
	return best === undefined ? "" : ` (did you mean ${best}?)`;
}

/** Insertions, removals, exchanges, and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
	let [before, row] = [[] as number[], Array.from({ length: b.length + 1 }, (_, at) => at)];
	const at = (list: readonly number[], index: number): number => list[index] as number;
	for (let i = 1; i <= a.length; i++) {
		const next = [i];
		for (let j = 1; j <= b.length; j++) {
			const isSame = a[i - 1] === b[j - 1];
			let least = Math.min(at(row, j) + 1, at(next, j - 1) + 1, at(row, j - 1) + (isSame ? 0 : 1));
			if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, at(before, j - 2) + 1);
			next.push(least);
		}
		[before, row] = [row, next];
	}
	return at(row, b.length);
}
