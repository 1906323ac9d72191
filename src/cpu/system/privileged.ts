import type { CpuContext } from "../context.ts";
import { at, EXIT } from "../state/layout.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { advance } from "./segments.ts";
import { ARG0, ARG1, ARG2, CPL, getAddress, INTERRUPT_SHADOW, isCanonical } from "./words.ts";

const ACTIVITY = at("activity") >> 2;
const HALTED = 1;

function requirePrivilege(cpu: CpuContext): void {
	if (cpu.state.i32[CPL] !== 0) raise(cpu, VECTOR.GP, 0);
}

/** INVPCID's types (Intel SDM Vol. 2A): one address, one context, everything, everything that is not global. */
const INVPCID = { address: 0, context: 1, all: 2, allButGlobal: 3 } as const;
const PCID_LIMIT = 0x1000;

export const privilegedHelpers = {
	/** System. a: length. Waits for an interrupt; one that STI has just let in ends the wait at once. */
	hlt: guarded((cpu, length) => {
		requirePrivilege(cpu);
		cpu.state.i32[ACTIVITY] = HALTED;
		cpu.state.i32[INTERRUPT_SHADOW] = 0;
		advance(cpu, length);
		return EXIT.resync;
	}),
	/** System. a: length; arg0: linear address. */
	invlpg: guarded((cpu, length) => {
		requirePrivilege(cpu);
		const i32 = cpu.state.i32;
		// A non-canonical address has no translation to forget.
		if (isCanonical(getAddress(i32, ARG0))) cpu.mmu.invalidatePage(i32[ARG0] as number, i32[ARG0 + 1] as number);
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/** System. a: length; arg0: type, arg1: descriptor's PCID quadword, arg2: its linear address. */
	invpcid: guarded((cpu, length) => {
		requirePrivilege(cpu);
		const i32 = cpu.state.i32;
		const type = i32[ARG0] as number;
		if (i32[ARG0 + 1] !== 0 || type < 0 || type > INVPCID.allButGlobal) raise(cpu, VECTOR.GP, 0);
		if (type <= INVPCID.context && (i32[ARG1 + 1] !== 0 || (i32[ARG1] as number) >>> 0 >= PCID_LIMIT)) raise(cpu, VECTOR.GP, 0);
		if (type === INVPCID.address && !isCanonical(getAddress(i32, ARG2))) raise(cpu, VECTOR.GP, 0);
		if (type === INVPCID.address) cpu.mmu.invalidatePage(i32[ARG2] as number, i32[ARG2 + 1] as number);
		else cpu.mmu.flush(type !== INVPCID.all);
		advance(cpu, length);
		return EXIT.lookup;
	}),
} as const;
