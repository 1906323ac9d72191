export type HostErrorKind = "missing-tool" | "command-failed" | "not-found" | "bad-file" | "in-use" | "bad-argument" | "unsupported";

/** Something this host cannot do, or a file on it that is not what it should be. The message says what to do about it. */
export class HostError extends Error {
	override readonly name = "HostError";
	readonly kind: HostErrorKind;

	constructor(kind: HostErrorKind, message: string, options: { cause?: unknown } = {}) {
		super(message, options);
		this.kind = kind;
	}
}
