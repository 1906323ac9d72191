export type SpecErrorKind = "unknown-key" | "bad-value" | "missing-unit" | "out-of-range" | "contradiction";

/** A link or node described wrongly: which key, what was found there, what belongs there. */
export class SpecError extends Error {
	override readonly name = "SpecError";
	readonly kind: SpecErrorKind;
	/** From the outermost key inwards: `["up", "queue", "bytes"]`. */
	readonly path: readonly string[];
	readonly found: unknown;
	readonly expected: string;

	constructor(kind: SpecErrorKind, path: readonly string[], found: unknown, expected: string) {
		const where = path.length === 0 ? "" : `${path.join(".")}: `;
		super(`${where}${show(found)}; expected ${expected}`);
		this.kind = kind;
		this.path = path;
		this.found = found;
		this.expected = expected;
	}
}

function show(value: unknown): string {
	if (value === undefined) return "nothing";
	const text = typeof value === "string" ? `"${value}"` : JSON.stringify(value);
	return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
