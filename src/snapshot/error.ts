export type SnapshotErrorKind = "corrupt" | "unsupported" | "not-found" | "in-use" | "mismatch" | "name" | "io";

/**
 * What snapshots refuse or cannot do. `corrupt`, `unsupported`: a file of a tree is damaged, or of a version that this one does not
 * know (`where` names it); `not-found`: there is no such snapshot; `in-use`: others stand on it; `mismatch`: it belongs to a
 * machine put together otherwise; `name`: taken, or no name; `io`: the host failed, `cause` says how.
 */
export class SnapshotError extends Error {
	override readonly name = "SnapshotError";
	readonly kind: SnapshotErrorKind;
	readonly where: string;

	constructor(kind: SnapshotErrorKind, where: string, message: string, options?: ErrorOptions) {
		super(`${where}: ${message}`, options);
		this.kind = kind;
		this.where = where;
	}
}
