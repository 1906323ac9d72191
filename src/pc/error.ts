/** What can be wrong with what a user asks of a board. */
export type PcErrorKind =
	| "not-a-kernel"
	| "kernel-truncated"
	| "kernel-unsupported"
	| "too-little-memory"
	| "initrd-too-large"
	| "command-line-too-long"
	| "bad-firmware"
	| "bad-configuration"
	| "bad-snapshot";

/** A configuration or a boot image that the board cannot use. `kind` says which; the message is one clear line. */
export class PcError extends Error {
	override readonly name = "PcError";
	readonly kind: PcErrorKind;

	constructor(kind: PcErrorKind, message: string, options?: ErrorOptions) {
		super(message, options);
		this.kind = kind;
	}
}
