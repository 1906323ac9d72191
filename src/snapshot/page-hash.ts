import { PAGE_BYTES } from "../base/units.ts";
import { type Expr, i32, i64, loadOp, op } from "../wasm/expr.ts";
import { FunctionBuilder } from "../wasm/function-builder.ts";
import { ModuleBuilder } from "../wasm/module-builder.ts";

/** Pages that are looked at together: what one write to a file takes. */
export const BATCH_PAGES = 64;
/** Words of a hash. */
export const HASH_WORDS = 4;

const BATCH_BYTES = BATCH_PAGES * PAGE_BYTES;
const MEMORY_PAGES = BATCH_BYTES / 65536 + 1;
const LANES = 4;
const LANE_BYTES = 8;

/** Odd numbers with bits all over: the fractions of the square roots of 2, 3, 5 and 7, with the lowest bit set. */
const FACTORS = [0x6a09_e667_f3bc_c909n, 0xbb67_ae85_84ca_a73bn, 0x3c6e_f372_fe94_f82bn, 0xa54f_f53a_5f1d_36f1n];

/**
 * Fingerprints of pages, 128 bits each: four lanes of multiply and rotate, folded. Chance collisions are out of question, made
 * ones are not, so whoever finds two pages alike by it compares them.
 */
export class PageHasher {
	/** Where the pages go, one after another. */
	readonly batch: Uint8Array;
	/** The hashes, HASH_WORDS for each page, after `hash`. */
	readonly words: Uint32Array;
	readonly #hash: (from: number, to: number) => number;

	constructor() {
		const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES, shared: true });
		this.batch = new Uint8Array(memory.buffer, 0, BATCH_BYTES);
		this.words = new Uint32Array(memory.buffer, BATCH_BYTES, BATCH_PAGES * HASH_WORDS);
		const instance = new WebAssembly.Instance(compiled(), { host: { memory } });
		this.#hash = instance.exports.hash as (from: number, to: number) => number;
	}

	/** Hashes page `index` of the batch; false when it is all zeros (and its hash is worth nothing). */
	hash(index: number): boolean {
		return this.#hash(index * PAGE_BYTES, BATCH_BYTES + index * HASH_WORDS * 4) !== 0;
	}
}

let module: WebAssembly.Module | undefined;

function compiled(): WebAssembly.Module {
	module ??= new WebAssembly.Module(build());
	return module;
}

/** (offset of a page, offset for its hash) → 0 when it is all zeros. */
function build(): Uint8Array {
	const builder = new ModuleBuilder();
	builder.importMemory("host", "memory", MEMORY_PAGES);
	const f = new FunctionBuilder(["i32", "i32"], "i32");
	const lanes = FACTORS.map((factor) => {
		const lane = f.local("i64");
		f.set(lane, i64(factor));
		return lane;
	});
	const any = f.local("i64");
	const at = f.local("i32");
	f.set(any, i64(0));
	f.set(at, f.param(0));
	const end = f.let(op("i32Add", f.param(0), i32(PAGE_BYTES)));
	f.loop((again) => {
		for (const [index, lane] of lanes.entries()) {
			const word = f.let(loadOp("i64Load", f.get(at), index * LANE_BYTES));
			f.set(any, op("i64Or", f.get(any), word));
			const mixed = op("i64Xor", f.get(lane), word);
			f.set(lane, op("i64Rotl", op("i64Mul", mixed, i64(FACTORS[index] as bigint)), i64(29)));
		}
		f.set(at, op("i32Add", f.get(at), i32(LANES * LANE_BYTES)));
		f.brIf(again, op("i32LtU", f.get(at), end));
	});
	const fold = (order: readonly number[]): Expr => {
		let sum: Expr = i64(0);
		for (const index of order) {
			const mixed = f.let(
				op("i64Mul", op("i64Xor", sum, f.get(lanes[index] as (typeof lanes)[0])), i64(FACTORS[order[0] as number] as bigint)),
			);
			sum = f.let(op("i64Xor", mixed, op("i64ShrU", mixed, i64(31))));
		}
		return sum;
	};
	f.store("i64Store", f.param(1), fold([0, 1, 2, 3]));
	f.store("i64Store", f.param(1), fold([2, 3, 1, 0]), 8);
	f.return(op("i64Ne", f.get(any), i64(0)));
	f.unreachable();
	builder.export("hash", builder.function(f));
	return builder.finish();
}
