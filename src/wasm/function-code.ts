import { type ByteSink, putPadded } from "./byte-sink.ts";
import { placeBytes, placeOfNumber } from "./expr.ts";
import type { ValueType } from "./opcodes.ts";

/** A function as a module takes it. */
export interface FunctionBody {
	readonly paramTypes: readonly ValueType[];
	readonly resultType: ValueType | undefined;
	/**
	 * Appends the body with its length and local declarations, as the code section wants it. Returns where in it, its length not counted, the
	 * branches are that are hardly ever taken.
	 */
	finish(out: ByteSink): readonly number[];
}

/** What others know of the places that a function's code leaves open. */
export type Filler = (kind: number, argument: number) => number;

/** A finished function whose code may be used again elsewhere, with other values in the places that it leaves open. */
export class FunctionCode implements FunctionBody {
	readonly paramTypes: readonly ValueType[];
	readonly resultType: ValueType | undefined;
	/** As the code section has it, with its length. */
	readonly bytes: Uint8Array;
	readonly unlikely: readonly number[];
	/** Pairs: where in the body (its length not counted), and which place that is (`OpenPlace` as one number). */
	readonly open: readonly number[];

	constructor(
		paramTypes: readonly ValueType[],
		resultType: ValueType | undefined,
		bytes: Uint8Array,
		unlikely: readonly number[],
		open: readonly number[],
	) {
		this.paramTypes = paramTypes;
		this.resultType = resultType;
		this.bytes = bytes;
		this.unlikely = unlikely;
		this.open = open;
	}

	/** The same code with other values in its open places. */
	with(fill: Filler): FunctionCode {
		const bytes = this.bytes.slice();
		const start = lengthBytes(bytes);
		for (let i = 0; i < this.open.length; i += 2) {
			const { kind, argument } = placeOfNumber(this.open[i + 1] as number);
			putPadded(bytes, start + (this.open[i] as number), fill(kind, argument), placeBytes(kind));
		}
		return new FunctionCode(this.paramTypes, this.resultType, bytes, this.unlikely, this.open);
	}

	finish(out: ByteSink): readonly number[] {
		out.raw(this.bytes);
		return this.unlikely;
	}
}

/** Bytes that the length at the start of a body takes. */
function lengthBytes(bytes: Uint8Array): number {
	let count = 1;
	while ((bytes[count - 1] as number) >= 0x80) count++;
	return count;
}
