export type MachineErrorKind = "config" | "state" | "timeout" | "exited" | "unavailable" | "engine";

/**
 * What a machine refuses or cannot do. `config`: the configuration is wrong (the message begins with the key); `state`: not
 * in the state that the call needs; `timeout`, `exited`: what was waited for did not come; `unavailable`: this host or this
 * version lacks it; `engine`: the CPU engine failed, `cause` says how.
 */
export class MachineError extends Error {
	override readonly name = "MachineError";
	readonly kind: MachineErrorKind;

	constructor(kind: MachineErrorKind, message: string, options?: ErrorOptions) {
		super(message, options);
		this.kind = kind;
	}
}
