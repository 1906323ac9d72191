import type { CpuContext } from "../context.ts";
import { at, EXIT } from "../state/layout.ts";
import { matchPort } from "./debug.ts";
import { guarded, raise, readMemory, VECTOR } from "./fault.ts";
import { exitAfterFlags } from "./flag-instructions.ts";
import { isProtected } from "./mode.ts";
import { iopl, isVirtual8086 } from "./rflags.ts";
import { advance } from "./segments.ts";
import { TSS_IO_MAP_BASE } from "./software-interrupts.ts";
import { isTss32, tssBase, tssLimit } from "./task-stack.ts";
import { ARG0, CPL } from "./words.ts";

const ACTIVITY = at("activity") >> 2;

/** IOPL, else the TSS's permission bitmap (Intel SDM Vol. 1 §18.5.2, "I/O Permission Bit Map"). */
function checkPort(cpu: CpuContext, port: number, bytes: number): void {
	if (!isProtected(cpu)) return;
	if ((cpu.state.i32[CPL] as number) <= iopl(cpu.state) && !isVirtual8086(cpu.state)) return;
	if (!isTss32(cpu) || tssLimit(cpu) < TSS_IO_MAP_BASE + 1) raise(cpu, VECTOR.GP, 0);
	const at = readMemory(cpu, tssBase(cpu) + TSS_IO_MAP_BASE, 2) + (port >> 3);
	// Two bytes are read always, so the map ends with a byte of ones.
	if (at + 1 > tssLimit(cpu)) raise(cpu, VECTOR.GP, 0);
	const map = readMemory(cpu, tssBase(cpu) + at, 2);
	if (((map >> (port & 7)) & ((1 << bytes) - 1)) !== 0) raise(cpu, VECTOR.GP, 0);
}

export const portHelpers = {
	/** Query. a: port, b: bytes 1, 2, 4; value in arg0. IN, and one element of INS. */
	portRead: guarded((cpu, port, bytes) => {
		port &= 0xffff;
		checkPort(cpu, port, bytes);
		matchPort(cpu, port, bytes);
		cpu.state.i32[ARG0] = cpu.io.read(port, bytes);
		cpu.state.i32[ARG0 + 1] = 0;
		return 0;
	}),
	/** Query. a: port, b: bytes: #GP(0) unless the port may be used. INS and OUTS ask before they touch memory. */
	checkPort: guarded((cpu, port, bytes) => {
		checkPort(cpu, port & 0xffff, bytes);
		return 0;
	}),
	/** Query. a: port, b: bytes, c: value. One element of OUTS. */
	portWrite: guarded((cpu, port, bytes, value) => {
		port &= 0xffff;
		checkPort(cpu, port, bytes);
		matchPort(cpu, port, bytes);
		cpu.io.write(port, bytes, value >>> 0);
		return 0;
	}),
	/** System. a: length, b: port | bytes << 16, c: value. OUT: what it sets off may be a reset, so rip moves on first. */
	out: guarded((cpu, length, target, value) => {
		const port = target & 0xffff;
		const bytes = target >>> 16;
		checkPort(cpu, port, bytes);
		matchPort(cpu, port, bytes);
		advance(cpu, length);
		cpu.io.write(port, bytes, value >>> 0);
		return cpu.state.i32[ACTIVITY] !== 0 ? EXIT.resync : exitAfterFlags(cpu);
	}),
} as const;
