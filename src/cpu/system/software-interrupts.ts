import type { CpuContext } from "../context.ts";
import { CR4 } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { EXIT } from "../state/layout.ts";
import { nextRip } from "./far-transfer.ts";
import { guarded, NO_ERROR_CODE, raise, readMemory, VECTOR } from "./fault.ts";
import { deliverEvent, EVENT } from "./interrupts.ts";
import { SEG, updateMode } from "./mode.ts";
import { iopl, isVirtual8086, readRflags, writeRflags } from "./rflags.ts";
import { setVirtual8086 } from "./segments.ts";
import { StackCursor } from "./stack.ts";
import { isTss32, tssBase, tssLimit } from "./task-stack.ts";
import { CR4_WORD, DEBUG_PENDING, RIP, SEG_SELECTOR, setAddress } from "./words.ts";

const USER = 4;
/** Where a TSS says at what offset its I/O permission bitmap starts (Intel SDM Vol. 3A §7.2.1). */
export const TSS_IO_MAP_BASE = 0x66;
const REDIRECTION_BYTES = 32;

const cursor = new StackCursor();

/** Whether the TSS's redirection bitmap leaves INT n to the virtual-8086 program's own table (SDM Vol. 3B §20.3.3). */
function isRedirected(cpu: CpuContext, vector: number): boolean {
	if (!isTss32(cpu) || tssLimit(cpu) < TSS_IO_MAP_BASE + 1) return false;
	const at = readMemory(cpu, tssBase(cpu) + TSS_IO_MAP_BASE, 2) - REDIRECTION_BYTES + (vector >> 3);
	if (at < 0 || at > tssLimit(cpu)) return false;
	return ((readMemory(cpu, tssBase(cpu) + at, 1) >> (vector & 7)) & 1) === 0;
}

/** Through the program's own vector table at linear 0, as on an 8086 (SDM Vol. 3B §20.3.3.4, methods 5 and 6). */
function redirect(cpu: CpuContext, vector: number, returnRip: number): void {
	const { state } = cpu;
	const i32 = state.i32;
	const offset = readMemory(cpu, vector * 4, 2, USER);
	const selector = readMemory(cpu, vector * 4 + 2, 2, USER);
	const flags = readRflags(state);
	const isVirtualized = iopl(state) < 3;
	let image = flags;
	if (isVirtualized) image = (flags & ~FLAG.IF) | FLAG.IOPL | ((flags & FLAG.VIF) !== 0 ? FLAG.IF : 0);
	cursor.useCurrent(cpu);
	cursor.push(2, image);
	cursor.push(2, i32[SEG_SELECTOR + SEG.CS] as number);
	cursor.push(2, returnRip);
	cursor.commit();
	writeRflags(state, 0, FLAG.TF | FLAG.NT | FLAG.RF | (isVirtualized ? FLAG.VIF : FLAG.IF));
	setVirtual8086(cpu, SEG.CS, selector);
	setAddress(i32, RIP, offset);
	i32[DEBUG_PENDING] = 0;
	updateMode(cpu);
}

export const softwareInterruptHelpers = {
	/** System. a: length, b: vector. INT n. */
	interrupt: guarded((cpu, length, vector) => {
		const returnRip = nextRip(cpu, length);
		if (isVirtual8086(cpu.state)) {
			if (((cpu.state.i32[CR4_WORD] as number) & CR4.VME) !== 0 && isRedirected(cpu, vector)) {
				redirect(cpu, vector, returnRip);
				return EXIT.lookup;
			}
			if (iopl(cpu.state) < 3) raise(cpu, VECTOR.GP, 0);
		}
		return deliverEvent(cpu, vector, NO_ERROR_CODE, EVENT.software, returnRip);
	}),
	/** System. a: length, b: vector 3 or 4. INT3, and INTO when OF is set: in virtual-8086 mode IOPL does not count. */
	trap: guarded((cpu, length, vector) => deliverEvent(cpu, vector, NO_ERROR_CODE, EVENT.software, nextRip(cpu, length))),
	/** System. a: length. INT1: neither privilege nor IOPL counts. */
	debugInterrupt: guarded((cpu, length) => deliverEvent(cpu, VECTOR.DB, NO_ERROR_CODE, EVENT.external, nextRip(cpu, length))),
} as const;
