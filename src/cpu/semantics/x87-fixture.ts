import { PAGE_BYTES } from "../../base/units.ts";
import { GuestMemory } from "../../machine/memory.ts";
import { i32 } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { decode } from "../../x86/decode/decode.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import { CORE_HELPERS, EngineModule } from "../engine-module.ts";
import { InterpreterOps } from "../interpreter/interpreter-ops.ts";
import { REC, RECORD_BYTES, writeRecord } from "../interpreter/record.ts";
import { ARITHMETIC_FLAGS, materialiseFlags } from "../state/flags.ts";
import { at, EXIT, type FieldName, MODE, TLB_ENTRIES, TLB_ENTRY, TLB_ENTRY_BYTES, TLB_KERNEL } from "../state/layout.ts";
import { meaningOf } from "./meaning.ts";

const CPU = 0x10000;
const RECORD = 0x100000;
const DATA = 0x110000;
const CR0_NE = 1 << 5;
const RBX = 3;
/** What a handler returns whose instruction went through. */
export const DONE = 99;

/** x87 state as FNSAVE has it in 32-bit protected mode: 108 bytes; then 128 bytes of memory at [RBX]. */
export const IMAGE_BYTES = 108;
export const MEMORY_BYTES = 128;

/** For tests: one CPU block, one page of memory that RBX points to, single instructions run on them by the interpreter's reading. */
export class X87Fixture {
	readonly view: DataView;
	readonly bytes: Uint8Array;
	readonly #engine: EngineModule;
	readonly #end: number;

	constructor() {
		const { memory, view, bytes } = new GuestMemory(PAGE_BYTES);
		this.view = view;
		this.bytes = bytes;
		// Memory that the TLB does not let through is read and written here: a probe says "nowhere", a load finds the page.
		this.#engine = new EngineModule(memory, {
			...Object.fromEntries(CORE_HELPERS.map((name) => [name, () => 0])),
			floatError: () => {
				if ((this.get("cr0") & CR0_NE) === 0) return 0;
				this.set("faultVector", 16);
				this.set("faultErrorCode", -1);
				return EXIT.fault;
			},
			floatErrorGone: () => 0,
			slowLoad: () => DATA,
			slowProbe: () => -1,
			slowStore: (_cpu, bytes) => {
				const to = DATA + (this.view.getUint32(CPU + at("arg0"), true) & 0xfff);
				this.bytes.copyWithin(to, CPU + at("scratch"), CPU + at("scratch") + bytes);
				return 0;
			},
		});
		this.#end = this.#engine.reserveSlot();
		const module = this.#engine.newModule();
		const end = new FunctionBuilder(HANDLER_PARAMS, "i32");
		end.return(i32(DONE));
		module.add(this.#end, end, "end");
		module.instantiate();
		this.allowStores(true);
		this.set("cr0", 0x31);
	}

	/** Whether the page may be written without the slow path. */
	allowStores(allowed: boolean): void {
		const entry = CPU + TLB_KERNEL + ((DATA >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES;
		this.view.setBigInt64(entry + TLB_ENTRY.readTag, BigInt(DATA), true);
		this.view.setBigInt64(entry + TLB_ENTRY.writeTag, allowed ? BigInt(DATA) : -1n, true);
		this.view.setInt32(entry + TLB_ENTRY.addend, 0, true);
	}

	get(name: FieldName, index = 0): number {
		return this.view.getInt32(CPU + at(name, index), true);
	}

	set(name: FieldName, value: number, index = 0): void {
		this.view.setInt32(CPU + at(name, index), value, true);
	}

	/** A function that runs one instruction of 64-bit code: DONE, or the way out that it took. */
	compile(code: readonly number[]): () => number {
		const insn = decode(Uint8Array.from([...code, ...new Array(15).fill(0)]), 0, 15, 64);
		if (insn.fault !== undefined) throw new Error(`${code} does not decode`);
		const module = this.#engine.newModule();
		const ops = new InterpreterOps(module, MODE.code64 | MODE.flat | MODE.stack32);
		ops.insn = insn;
		meaningOf(insn)?.emit(ops);
		const slot = this.#engine.reserveSlot();
		module.add(slot, ops.finish(), "under test");
		module.instantiate();
		const handler = this.#engine.table.get(slot) as (cpu: number, record: number) => number;
		return () => {
			writeRecord(this.view, RECORD, slot, insn, 0, 1);
			this.view.setInt32(RECORD + RECORD_BYTES + REC.callee, this.#end, true);
			this.view.setBigUint64(CPU + at("gpr", RBX), BigInt(DATA), true);
			this.set("tlbBase", CPU + TLB_KERNEL);
			return handler(CPU, RECORD);
		};
	}

	/** Takes state from an image at `offset` of `from`, memory behind it and then RFLAGS. */
	load(from: DataView, offset: number): void {
		const fsw = from.getUint16(offset + 4, true);
		const top = (fsw >> 11) & 7;
		this.set("fcw", from.getUint16(offset, true));
		this.set("fsw", fsw & ~0x3800);
		this.set("ftop", top);
		const tags = from.getUint16(offset + 8, true);
		let valid = 0;
		for (let i = 0; i < 8; i++) if (((tags >> (2 * i)) & 3) !== 3) valid |= 1 << i;
		this.set("ftagValid", valid);
		for (let k = 0; k < 8; k++) {
			const to = CPU + at("fpr", (top + k) & 7);
			this.view.setBigUint64(to, from.getBigUint64(offset + 28 + 10 * k, true), true);
			this.view.setUint32(to + 8, from.getUint16(offset + 36 + 10 * k, true), true);
		}
		for (let i = 0; i < MEMORY_BYTES; i++) this.bytes[DATA + i] = from.getUint8(offset + IMAGE_BYTES + i);
		this.set("ccOp", 0);
		this.view.setBigUint64(CPU + at("ccX"), BigInt(from.getUint32(offset + IMAGE_BYTES + MEMORY_BYTES, true) & ARITHMETIC_FLAGS), true);
	}

	/** Leaves the same where `load` would find it; the environment's pointers are 0. */
	save(to: DataView, offset: number): void {
		const top = this.get("ftop");
		to.setUint16(offset, this.get("fcw"), true);
		to.setUint16(offset + 4, this.get("fsw") | (top << 11), true);
		to.setUint16(offset + 8, this.tagWord(), true);
		for (let k = 0; k < 8; k++) {
			const from = CPU + at("fpr", (top + k) & 7);
			to.setBigUint64(offset + 28 + 10 * k, this.view.getBigUint64(from, true), true);
			to.setUint16(offset + 36 + 10 * k, this.view.getUint16(from + 8, true), true);
		}
		for (let i = 0; i < MEMORY_BYTES; i++) to.setUint8(offset + IMAGE_BYTES + i, this.bytes[DATA + i] as number);
		to.setUint32(offset + IMAGE_BYTES + MEMORY_BYTES, this.arithmeticFlags(), true);
	}

	arithmeticFlags(): number {
		const wide = (name: FieldName) => this.view.getBigUint64(CPU + at(name), true);
		return materialiseFlags(this.get("ccOp"), wide("ccX"), wide("ccY"), wide("ccZ"));
	}

	tagWord(): number {
		return this.#engine.coreFunction("x87TagWord")(CPU) as number;
	}

	/** ST(i) as "sign and exponent:significand". */
	register(i: number): string {
		const from = CPU + at("fpr", (this.get("ftop") + i) & 7);
		return `${hex(BigInt(this.view.getUint16(from + 8, true)), 4)}:${hex(this.view.getBigUint64(from, true), 16)}`;
	}

	/** ST(i) becomes what `register` would give. */
	setRegister(i: number, value: string): void {
		const to = CPU + at("fpr", (this.get("ftop") + i) & 7);
		const [se, mantissa] = value.split(":");
		this.view.setUint32(to + 8, Number.parseInt(se as string, 16), true);
		this.view.setBigUint64(to, BigInt(`0x${mantissa}`), true);
	}

	/** The page that RBX points to. */
	get data(): DataView {
		return new DataView(this.bytes.buffer, DATA, 4096);
	}
}

function hex(value: bigint, digits: number): string {
	return value.toString(16).padStart(digits, "0");
}
