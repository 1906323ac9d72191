import type { CpuContext } from "../context.ts";
import { CR0, CR4 } from "../mmu/access.ts";
import type { CpuState } from "../state/cpu-state.ts";
import { at, EXIT } from "../state/layout.ts";
import { XCR0_MASK } from "./control-registers.ts";
import { guarded, probeRead, probeWrite, raise, readBlock, readMemory, VECTOR, writeBlock, writeMemory } from "./fault.ts";
import { isCode64 } from "./mode.ts";
import { advance } from "./segments.ts";
import { ARG0, CR0_WORD, CR4_WORD, getAddress, RAX } from "./words.ts";

/** Intel SDM Vol. 1 §10.5.1, table 10-2: the legacy area. Software's own bytes from 464 on are left alone. */
const LEGACY_BYTES = 416;
export const LEGACY_XMM = 160;
/** The area whole, which FXSAVE and FXRSTOR must be able to reach. */
const AREA_BYTES = 512;
export const XSAVE_HEADER = 512;
/** Bits of MXCSR that may be set: all exceptions, DAZ, rounding, FTZ. */
export const MXCSR_MASK = 0xffff;
export const FCW_RESET = 0x37f;
const X87 = 1;
const SSE = 2;

const image = new Uint8Array(LEGACY_BYTES);
const view = new DataView(image.buffer);
const header = new Uint8Array(64);
const headerView = new DataView(header.buffer);

/** x87 part of the area: bytes 0–23 and 32–159. */
function storeX87(state: CpuState, isWide: boolean): void {
	const top = state.get("ftop") & 7;
	view.setUint16(0, state.get("fcw"), true);
	view.setUint16(2, (state.get("fsw") & ~0x3800) | (top << 11), true);
	view.setUint8(4, state.get("ftagValid"));
	view.setUint8(5, 0);
	view.setUint16(6, state.get("fop") & 0x7ff, true);
	view.setBigUint64(8, state.get64("fip"), true);
	view.setBigUint64(16, state.get64("fdp"), true);
	if (!isWide) {
		view.setUint32(12, state.get("fipSelector") & 0xffff, true);
		view.setUint32(20, state.get("fdpSelector") & 0xffff, true);
	}
	for (let i = 0; i < 8; i++) {
		const from = at("fpr", (top + i) & 7);
		image.set(state.bytes.subarray(from, from + 10), 32 + 16 * i);
		image.fill(0, 42 + 16 * i, 48 + 16 * i);
	}
}

function loadX87(state: CpuState, isWide: boolean): void {
	const fsw = view.getUint16(2, true);
	const top = (fsw >> 11) & 7;
	// Bits that a control word does not have are not loaded, and ES and B follow from flags and masks.
	const fcw = (view.getUint16(0, true) & 0x1f7f) | 0x40;
	const isPending = (fsw & ~fcw & 0x3f) !== 0;
	state.set("fcw", fcw);
	state.set("fsw", (fsw & ~0xb880) | (isPending ? 0x8080 : 0));
	state.set("ftop", top);
	state.set("ftagValid", view.getUint8(4));
	state.set("fop", view.getUint16(6, true) & 0x7ff);
	state.set64("fip", isWide ? view.getBigUint64(8, true) : BigInt(view.getUint32(8, true)));
	state.set64("fdp", isWide ? view.getBigUint64(16, true) : BigInt(view.getUint32(16, true)));
	// CPUID.7.0:EBX[13]: there are no selectors.
	state.set("fipSelector", 0);
	state.set("fdpSelector", 0);
	for (let i = 0; i < 8; i++) {
		const to = at("fpr", (top + i) & 7);
		state.bytes.set(image.subarray(32 + 16 * i, 42 + 16 * i), to);
		state.bytes.fill(0, to + 10, to + 16);
	}
}

function initX87(state: CpuState): void {
	state.set("fcw", FCW_RESET);
	for (const name of ["fsw", "ftop", "ftagValid", "fop", "fipSelector", "fdpSelector"] as const) state.set(name, 0);
	state.set64("fip", 0n);
	state.set64("fdp", 0n);
	state.bytes.fill(0, at("fpr"), at("fpr", 8));
}

function xmmBytes(cpu: CpuContext): number {
	return isCode64(cpu) ? 256 : 128;
}

function checkDevice(cpu: CpuContext): void {
	if (((cpu.state.i32[CR0_WORD] as number) & (CR0.EM | CR0.TS)) !== 0) raise(cpu, VECTOR.NM);
}

function checkXsave(cpu: CpuContext, lin: number): void {
	const i32 = cpu.state.i32;
	if (((i32[CR4_WORD] as number) & CR4.OSXSAVE) === 0) raise(cpu, VECTOR.UD);
	if (((i32[CR0_WORD] as number) & CR0.TS) !== 0) raise(cpu, VECTOR.NM);
	if ((lin & 63) !== 0) raise(cpu, VECTOR.GP, 0);
}

function fxsave(cpu: CpuContext, length: number, isWide: number): number {
	checkDevice(cpu);
	const lin = getAddress(cpu.state.i32, ARG0);
	if ((lin & 15) !== 0) raise(cpu, VECTOR.GP, 0);
	const { state } = cpu;
	const hasSse = ((state.i32[CR4_WORD] as number) & CR4.OSFXSR) !== 0;
	const bytes = hasSse ? LEGACY_XMM + xmmBytes(cpu) : LEGACY_XMM;
	probeWrite(cpu, lin, AREA_BYTES, cpu.mmu.dataAccess());
	storeX87(state, isWide !== 0);
	view.setUint32(24, state.get("mxcsr"), true);
	view.setUint32(28, MXCSR_MASK, true);
	if (hasSse) image.set(state.bytes.subarray(at("xmm"), at("xmm") + xmmBytes(cpu)), LEGACY_XMM);
	writeBlock(cpu, lin, image.subarray(0, bytes), cpu.mmu.dataAccess());
	advance(cpu, length);
	return EXIT.lookup;
}

function fxrstor(cpu: CpuContext, length: number, isWide: number): number {
	checkDevice(cpu);
	const lin = getAddress(cpu.state.i32, ARG0);
	if ((lin & 15) !== 0) raise(cpu, VECTOR.GP, 0);
	const { state } = cpu;
	probeRead(cpu, lin, AREA_BYTES, cpu.mmu.dataAccess());
	readBlock(cpu, lin, image, cpu.mmu.dataAccess());
	const mxcsr = view.getUint32(24, true);
	if ((mxcsr & ~MXCSR_MASK) !== 0) raise(cpu, VECTOR.GP, 0);
	loadX87(state, isWide !== 0);
	if (((state.i32[CR4_WORD] as number) & CR4.OSFXSR) !== 0) {
		state.set("mxcsr", mxcsr);
		state.bytes.set(image.subarray(LEGACY_XMM, LEGACY_XMM + xmmBytes(cpu)), at("xmm"));
	}
	advance(cpu, length);
	return EXIT.lookup;
}

/** XSAVE and XSAVEOPT (SDM Vol. 1 §13.7, §13.9; the optimisations are not made: both write whatever is asked for). */
function xsave(cpu: CpuContext, length: number, isWide: number): number {
	const { state } = cpu;
	const lin = getAddress(state.i32, ARG0);
	checkXsave(cpu, lin);
	const access = cpu.mmu.dataAccess();
	const wanted = (state.i32[RAX] as number) & state.getLow("xcr0") & XCR0_MASK;
	const bitmap = readMemory(cpu, lin + XSAVE_HEADER, 4, access);
	if ((wanted & X87) !== 0) {
		storeX87(state, isWide !== 0);
		writeBlock(cpu, lin + 32, image.subarray(32, LEGACY_XMM), access);
		writeBlock(cpu, lin, image.subarray(0, 24), access);
	}
	if ((wanted & SSE) !== 0) {
		view.setUint32(24, state.get("mxcsr"), true);
		view.setUint32(28, MXCSR_MASK, true);
		writeBlock(cpu, lin + 24, image.subarray(24, 32), access);
		writeBlock(cpu, lin + LEGACY_XMM, state.bytes.slice(at("xmm"), at("xmm") + xmmBytes(cpu)), access);
	}
	writeMemory(cpu, lin + XSAVE_HEADER, 4, bitmap | wanted, access);
	advance(cpu, length);
	return EXIT.lookup;
}

/** XRSTOR of the standard form (SDM Vol. 1 §13.8); the compacted one is not offered. */
function xrstor(cpu: CpuContext, length: number, isWide: number): number {
	const { state } = cpu;
	const lin = getAddress(state.i32, ARG0);
	checkXsave(cpu, lin);
	const access = cpu.mmu.dataAccess();
	readBlock(cpu, lin, image, access);
	readBlock(cpu, lin + XSAVE_HEADER, header, access);
	const bitmap = headerView.getUint32(0, true);
	const enabled = state.getLow("xcr0") & XCR0_MASK;
	for (let i = 4; i < 24; i++) if (header[i] !== 0) raise(cpu, VECTOR.GP, 0);
	if ((bitmap & ~enabled) !== 0) raise(cpu, VECTOR.GP, 0);
	const wanted = (state.i32[RAX] as number) & enabled;
	const mxcsr = view.getUint32(24, true);
	if ((wanted & SSE) !== 0 && (mxcsr & ~MXCSR_MASK) !== 0) raise(cpu, VECTOR.GP, 0);
	if ((wanted & X87) !== 0) {
		if ((bitmap & X87) !== 0) loadX87(state, isWide !== 0);
		else initX87(state);
	}
	if ((wanted & SSE) !== 0) {
		const bytes = xmmBytes(cpu);
		if ((bitmap & SSE) !== 0) state.bytes.set(image.subarray(LEGACY_XMM, LEGACY_XMM + bytes), at("xmm"));
		else state.bytes.fill(0, at("xmm"), at("xmm") + bytes);
		// MXCSR comes from memory whether or not the component was in its initial state (§13.8.1).
		state.set("mxcsr", mxcsr);
	}
	advance(cpu, length);
	return EXIT.lookup;
}

export const fpuImageHelpers = {
	/** System. a: length, b: 1 with REX.W; arg0: linear address. */
	fxsave: guarded(fxsave),
	/** System. a: length, b: 1 with REX.W; arg0: linear address. */
	fxrstor: guarded(fxrstor),
	/** System. a: length, b: 1 with REX.W; arg0: linear address; EDX:EAX from the registers. XSAVE, XSAVEOPT. */
	xsave: guarded(xsave),
	/** System. a: length, b: 1 with REX.W; arg0: linear address; EDX:EAX from the registers. */
	xrstor: guarded(xrstor),
} as const;
