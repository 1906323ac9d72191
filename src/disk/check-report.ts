export interface ImageProblem {
	/** "error": data is or may get lost; "leak": nothing is lost, but space is taken and not used, or a spare copy is out of date. */
	readonly kind: "error" | "leak";
	readonly offsetBytes: number;
	readonly message: string;
}

/** What looking an image over has found. */
export interface ImageCheckReport {
	/** The first of them, at most `MAX_PROBLEMS`. */
	readonly problems: readonly ImageProblem[];
	readonly errorCount: number;
	readonly leakCount: number;
}

export const MAX_PROBLEMS = 100;
