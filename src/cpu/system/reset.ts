import type { CpuContext } from "../context.ts";
import { CR0 } from "../mmu/access.ts";
import { FIELD } from "../state/layout.ts";
import { ATTR, SEG, updateMode } from "./mode.ts";
import { writeRflags } from "./rflags.ts";
import { setReal, setSegment } from "./segments.ts";
import { CR0_WORD, RDX, RIP, setAddress } from "./words.ts";

const DATA = ATTR.P | ATTR.S | ATTR.writable | ATTR.accessed;
const LDT = ATTR.P | (2 << 8);
const BUSY_TSS32 = ATTR.P | (11 << 8);
/** PAT, MXCSR, FCW, DR6 and DR7, and CR0 as table 9-1 of Intel SDM Vol. 3A has them after power-up. */
const PAT_RESET = 0x0007_0406_0007_0406n;
const MXCSR_RESET = 0x1f80;
const FCW_RESET = 0x0040;
const DR6_RESET = 0xffff_0ff0;
const DR7_RESET = 0x400;
const CR0_RESET = CR0.CD | CR0.NW | CR0.ET;
/** TscFreqSel: the TSC counts at a constant rate. */
const HWCR_RESET = 0x0100_0000n;
/** LFENCE is dispatch-serialising. */
const DE_CFG_RESET = 2n;
/** Family 17h, as CPUID's signature leaf says. */
const SIGNATURE = 0x0083_0f10;

/** What INIT keeps (table 9-1): FPU and vector registers, MTRRs and other model-specific registers, the TSC. */
const KEPT_BY_INIT: ReadonlySet<string> = new Set([
	"fpr",
	"fcw",
	"fsw",
	"ftop",
	"ftagValid",
	"fop",
	"fipSelector",
	"fdpSelector",
	"fip",
	"fdp",
	"mxcsr",
	"xmm",
	"xcr0",
	"tscOffset",
	"tscAux",
	"pat",
	"mtrrDefType",
	"mtrrFixed",
	"mtrrVariable",
	"miscEnable",
	"mcgStatus",
	"hwcr",
	"syscfg",
	"deCfg",
	"star",
	"lstar",
	"cstar",
	"sfmask",
	"kernelGsBase",
	"sysenterCs",
	"sysenterEsp",
	"sysenterEip",
]);

function clearFields(cpu: CpuContext, keeps: (name: string) => boolean): void {
	for (const field of Object.values(FIELD)) {
		if (!field.isArchitectural || keeps(field.name)) continue;
		for (let index = 0; index < field.count; index++) {
			if (field.type === "i32") cpu.state.set(field.name, 0, index);
			else if (field.type === "u64") cpu.state.set64(field.name, 0n, index);
			else cpu.state.bytes.fill(0, field.offset + 16 * index, field.offset + 16 * index + 16);
		}
	}
}

/** What RESET and INIT have in common: real mode at FFFF_FFF0. */
function enterResetVector(cpu: CpuContext, cr0: number): void {
	const { state } = cpu;
	const i32 = state.i32;
	i32[CR0_WORD] = cr0;
	writeRflags(state, 0, -1);
	for (const seg of [SEG.ES, SEG.SS, SEG.DS, SEG.FS, SEG.GS]) setSegment(cpu, seg, 0, 0, 0xffff, DATA);
	setSegment(cpu, SEG.CS, 0xf000, 0xffff_0000, 0xffff, DATA);
	setSegment(cpu, SEG.LDTR, 0, 0, 0xffff, LDT);
	setSegment(cpu, SEG.TR, 0, 0, 0xffff, BUSY_TSS32);
	state.set("gdtrLimit", 0xffff);
	state.set("idtrLimit", 0xffff);
	setAddress(i32, RIP, 0xfff0);
	setAddress(i32, RDX, SIGNATURE);
	state.setLow("dr", DR6_RESET, 6);
	state.setLow("dr", DR7_RESET, 7);
	updateMode(cpu);
	cpu.mmu.clear();
}

/** Power-on and RESET. Processors other than the first wait for SIPI. */
export function resetCpu(cpu: CpuContext): void {
	const { state } = cpu;
	clearFields(cpu, () => false);
	state.set("fcw", FCW_RESET);
	state.set("mxcsr", MXCSR_RESET);
	state.setLow("xcr0", 1);
	state.set64("pat", PAT_RESET);
	state.set64("hwcr", HWCR_RESET);
	state.set64("deCfg", DE_CFG_RESET);
	enterResetVector(cpu, CR0_RESET);
	if (state.index !== 0) state.set("activity", 2);
}

/** INIT: as RESET, but for what table 9-1 keeps. An application processor then waits for SIPI. */
export function initCpu(cpu: CpuContext): void {
	const { state } = cpu;
	const cacheBits = (state.get("cr0") as number) & (CR0.CD | CR0.NW);
	clearFields(cpu, (name) => KEPT_BY_INIT.has(name));
	enterResetVector(cpu, cacheBits | CR0.ET);
	if (state.index !== 0) state.set("activity", 2);
}

/** SIPI: real mode at `vector` << 12 (Intel SDM Vol. 3A §8.4.3). */
export function startCpu(cpu: CpuContext, vector: number): void {
	setReal(cpu, SEG.CS, (vector & 0xff) << 8);
	setAddress(cpu.state.i32, RIP, 0);
	updateMode(cpu);
	cpu.state.set("activity", 0);
}
