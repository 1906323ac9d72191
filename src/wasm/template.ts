/**
 * Code that is written again and again, but for some things that differ from one place to the next: bytes with holes between them. It is
 * recorded while a `FunctionBuilder` writes it for the first time.
 */
export interface Template {
	readonly bytes: Uint8Array;
	/** Triples: position in `bytes`, what is to be put there (HOLE), and its argument. */
	readonly holes: readonly number[];
}

export const HOLE = {
	/** local.get or local.set of the local that plays a role; the argument is the role. */
	get: 0,
	set: 1,
	/** A constant; the argument tells which. */
	constant32: 2,
	constant64: 3,
	/** The label of `brOut`; the argument is how deep within the template it stands. */
	way: 4,
	/** A function's number; the argument is the number that it had where the template was recorded. */
	callee: 5,
	/** Nothing, but the branch that follows is hardly ever taken. */
	hint: 6,
} as const;

/** What the holes of a template are filled with. */
export interface Filling {
	local(role: number): number;
	constant(which: number): number;
	way(): number;
	callee(recorded: number): number;
}

/** Notes holes as they are written over. */
export class Recorder {
	/** Quadruples: where a hole begins and ends in the code, kind, argument. */
	readonly #found: number[] = [];
	readonly #start: number;
	readonly depth: number;
	/** What was written depends on where it stands in other ways than by holes. */
	isSpoilt = false;

	constructor(start: number, depth: number) {
		this.#start = start;
		this.depth = depth;
	}

	hole(from: number, to: number, kind: number, argument: number): void {
		this.#found.push(from - this.#start, to - this.#start, kind, argument);
	}

	/** @param code everything written since the start */
	finish(code: Uint8Array): Template {
		const bytes = new Uint8Array(code.length);
		const holes: number[] = [];
		let [taken, length] = [0, 0];
		for (let i = 0; i < this.#found.length; i += 4) {
			const [from, to, kind, argument] = this.#found.slice(i, i + 4) as [number, number, number, number];
			bytes.set(code.subarray(taken, from), length);
			length += from - taken;
			taken = to;
			holes.push(length, kind, argument);
		}
		bytes.set(code.subarray(taken), length);
		return { bytes: bytes.slice(0, length + code.length - taken), holes };
	}
}
