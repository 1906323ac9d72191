import { assert } from "../../base/assert.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { at, CPU_BYTES, FIELD, type FieldName } from "./layout.ts";

/** Named access from TypeScript to one CPU's block. Hot paths index `i32` and `u64` themselves. */
export class CpuState {
	readonly index: number;
	/** Offset of the block in the machine's memory. */
	readonly base: number;
	readonly bytes: Uint8Array;
	readonly view: DataView;
	/** Words of the block; index with `at(name) >> 2`. */
	readonly i32: Int32Array;
	/** Quadwords of the block; index with `at(name) >> 3`. */
	readonly u64: BigUint64Array;
	/** The engine's own reading of the lazy flags, quicker than `materialiseFlags`; it takes `base`. */
	arithmeticFlags: ((base: number) => number) | undefined;
	/** The engine's own way of delivering events of the common kind (core/deliver.ts); it takes `base`. */
	deliver: ((base: number, vector: number, errorCode: number, kind: number) => number) | undefined;

	constructor(memory: GuestMemory, index: number, base: number) {
		assert(base % 4096 === 0, "CPU blocks are page-aligned");
		this.index = index;
		this.base = base;
		const buffer = memory.memory.buffer;
		this.bytes = new Uint8Array(buffer, base, CPU_BYTES);
		this.view = new DataView(buffer, base, CPU_BYTES);
		this.i32 = new Int32Array(buffer, base, CPU_BYTES / 4);
		this.u64 = new BigUint64Array(buffer, base, CPU_BYTES / 8);
	}

	get(name: FieldName, index = 0): number {
		return this.i32[at(name, index) >> 2] as number;
	}

	set(name: FieldName, value: number, index = 0): void {
		this.i32[at(name, index) >> 2] = value;
	}

	get64(name: FieldName, index = 0): bigint {
		return this.u64[at(name, index) >> 3] as bigint;
	}

	set64(name: FieldName, value: bigint, index = 0): void {
		this.u64[at(name, index) >> 3] = value;
	}

	/** A 64-bit field as a number (exact below 2^53): base addresses of tables, mostly. */
	getNumber(name: FieldName, index = 0): number {
		const word = at(name, index) >> 2;
		return ((this.i32[word] as number) >>> 0) + ((this.i32[word + 1] as number) >>> 0) * 0x1_0000_0000;
	}

	/** Low half of a 64-bit field, unsigned. */
	getLow(name: FieldName, index = 0): number {
		return (this.i32[at(name, index) >> 2] as number) >>> 0;
	}

	/** Writes a 32-bit value zero-extended into a 64-bit field. */
	setLow(name: FieldName, value: number, index = 0): void {
		const word = at(name, index) >> 2;
		this.i32[word] = value;
		this.i32[word + 1] = 0;
	}

	/** The architectural fields by name; 64-bit ones as bigint, vectors as bytes. */
	save(): Record<string, number[] | bigint[] | Uint8Array> {
		const saved: Record<string, number[] | bigint[] | Uint8Array> = {};
		for (const field of Object.values(FIELD)) {
			if (!field.isArchitectural) continue;
			const indices = Array.from({ length: field.count }, (_, i) => i);
			if (field.type === "i32") saved[field.name] = indices.map((i) => this.get(field.name, i));
			else if (field.type === "u64") saved[field.name] = indices.map((i) => this.get64(field.name, i));
			else saved[field.name] = this.bytes.slice(field.offset, field.offset + 16 * field.count);
		}
		return saved;
	}

	/** Takes what `save` gave. A missing or unknown name is refused, naming it. */
	load(saved: Record<string, unknown>): void {
		for (const field of Object.values(FIELD)) {
			if (!field.isArchitectural) continue;
			const value = saved[field.name];
			if (value === undefined) throw new RangeError(`CPU state lacks "${field.name}"`);
			if (field.type === "v128") this.bytes.set(value as Uint8Array, field.offset);
			else if (field.type === "i32") for (const [i, v] of (value as number[]).entries()) this.set(field.name, v, i);
			else for (const [i, v] of (value as bigint[]).entries()) this.set64(field.name, v, i);
		}
		for (const name of Object.keys(saved)) if (!(name in FIELD)) throw new RangeError(`CPU state has an unknown field "${name}"`);
	}
}
