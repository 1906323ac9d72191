import type { CpuContext } from "../context.ts";
import { STORE } from "../mmu/mmu.ts";
import { EXIT } from "../state/layout.ts";
import { FAULT_ERROR, FAULT_VECTOR } from "./words.ts";

/** Exception vectors (Intel SDM Vol. 3A §6.3.1, table 6-1). */
export const VECTOR = {
	DE: 0,
	DB: 1,
	NMI: 2,
	BP: 3,
	OF: 4,
	BR: 5,
	UD: 6,
	NM: 7,
	DF: 8,
	TS: 10,
	NP: 11,
	SS: 12,
	GP: 13,
	PF: 14,
	MF: 16,
	AC: 17,
	MC: 18,
	XM: 19,
} as const;

/** No error code is pushed. */
export const NO_ERROR_CODE = -1;

/** Thrown inside helpers only, always the same two objects, so that leaving a deep check costs no stack trace. */
class Abandoned {
	readonly exit: number;
	constructor(exit: number) {
		this.exit = exit;
	}
}
const FAULT = new Abandoned(EXIT.fault);
const SINGLE = new Abandoned(EXIT.single);

/** Gives the instruction up with an exception. Only within `guarded`. */
export function raise(cpu: CpuContext, vector: number, errorCode: number = NO_ERROR_CODE): never {
	const i32 = cpu.state.i32;
	i32[FAULT_VECTOR] = vector;
	i32[FAULT_ERROR] = errorCode;
	throw FAULT;
}

/** As `raise`, for a fault that the memory side has already recorded. */
export function raiseRecorded(): never {
	throw FAULT;
}

/** What `thrown` means as an exit; anything that is no guest's affair is thrown on. */
export function exitOf(thrown: unknown): number {
	if (thrown instanceof Abandoned) return thrown.exit;
	throw thrown;
}

export type Helper = (cpu: CpuContext, a: number, b: number, c: number) => number;

/** Turns what `raise` throws inside `body` into an exit status. */
export function guarded(body: Helper): Helper {
	return (cpu, a, b, c) => {
		try {
			return body(cpu, a, b, c);
		} catch (thrown) {
			return exitOf(thrown);
		}
	};
}

/** Reads 1, 2 or 4 bytes at a linear address, by default as the processor itself does. Unsigned. */
export function readMemory(cpu: CpuContext, lin: number, bytes: number, access = 0): number {
	const value = cpu.mmu.read(lin, bytes, access);
	if (value < 0) throw FAULT;
	return value;
}

export function writeMemory(cpu: CpuContext, lin: number, bytes: number, value: number, access = 0): void {
	const status = cpu.mmu.write(lin, bytes, value, access);
	if (status !== STORE.done) throw status === STORE.fault ? FAULT : SINGLE;
}

/** Reads 8 bytes: the low half unsigned; the high half, signed, stands in `cpu.mmu.pairHigh`. */
export function readMemoryPair(cpu: CpuContext, lin: number, access = 0): number {
	const low = cpu.mmu.readPair(lin, access);
	if (low < 0) throw FAULT;
	return low;
}

export function writeMemoryPair(cpu: CpuContext, lin: number, low: number, high: number, access = 0): void {
	const status = cpu.mmu.writePair(lin, low, high, access);
	if (status !== STORE.done) throw status === STORE.fault ? FAULT : SINGLE;
}

export function readBlock(cpu: CpuContext, lin: number, into: Uint8Array, access: number): void {
	if (!cpu.mmu.readBlock(lin, into, access)) throw FAULT;
}

export function writeBlock(cpu: CpuContext, lin: number, from: Uint8Array, access: number): void {
	const status = cpu.mmu.writeBlock(lin, from, access);
	if (status !== STORE.done) throw status === STORE.fault ? FAULT : SINGLE;
}

/** Faults now if a later read of `bytes` would. */
export function probeRead(cpu: CpuContext, lin: number, bytes: number, access = 0): void {
	if (!cpu.mmu.probe(lin, bytes, access)) throw FAULT;
}

/** Faults now if a later write of `bytes` would. */
export function probeWrite(cpu: CpuContext, lin: number, bytes: number, access = 0): void {
	if (!cpu.mmu.probe(lin, bytes, access | 2)) throw FAULT;
}
