/** A broken promise inside Basenji itself; never a guest's or a user's fault. */
export class InternalError extends Error {
	override readonly name = "InternalError";
}

export function assert(condition: unknown, message: string): asserts condition {
	if (!condition) throw new InternalError(message);
}

/** Marks a branch that the type system has ruled out. */
export function unreachable(value: never): never {
	throw new InternalError(`unreachable value ${String(value)}`);
}
