/** Something that the bench needs cannot be made here; the message says what, and how it might. */
export class BuildError extends Error {
	override readonly name = "BuildError";
}
