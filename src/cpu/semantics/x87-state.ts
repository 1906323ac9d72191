/** What every x87, MMX and SSE instruction asks first, and what x87 instructions leave behind about themselves. */
import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import type { RegOperand } from "../../x86/decode/insn.ts";
import type { Ops } from "../emit/ops.ts";
import { at, type FieldName } from "../state/layout.ts";

const CR0_MP = 1 << 1;
const CR0_EM = 1 << 2;
const CR0_TS = 1 << 3;
const CR0_NE = 1 << 5;
const CR4_OSFXSR = 1 << 9;
const FSW_ES = 1 << 7;

const UD = 6;
const NM = 7;

const bits = (o: Ops, field: FieldName, mask: number): Expr => op("i32And", loadOp("i32Load", o.cpu, at(field)), i32(mask));

/**
 * #MF for an exception left pending (SDM Vol. 1 §8.7, "Handling x87 FPU Exceptions in Software"). Without CR0.NE it is left to FERR#
 * and the board's interrupt 13.
 */
function raisePending(o: Ops): void {
	o.f.if(bits(o, "fsw", FSW_ES), () => o.query("floatError"));
}

/** FERR# falls with ES: before whatever clears the status word. */
export function releaseFloatError(o: Ops): void {
	const isSignalled = op("i32And", op("i32ShrU", bits(o, "fsw", FSW_ES), i32(7)), op("i32Eqz", bits(o, "cr0", CR0_NE)));
	o.f.if(isSignalled, () => o.query("floatErrorGone"));
}

/** Waiting x87 instructions: #NM by CR0.EM or CR0.TS, then #MF. */
export function guardX87(o: Ops): void {
	o.floats?.forget();
	guardWaiting(o);
}

/** The same before an instruction that goes through `o.floats`, where there are such. */
export function guardFloats(o: Ops): void {
	if (o.floats?.mustGuard() ?? true) guardWaiting(o);
}

function guardWaiting(o: Ops): void {
	o.f.ifRarely(op("i32Or", bits(o, "cr0", CR0_EM | CR0_TS), bits(o, "fsw", FSW_ES)), () => {
		o.raiseIf(bits(o, "cr0", CR0_EM | CR0_TS), NM);
		raisePending(o);
	});
}

/** Instructions that do not wait (FNINIT, FNSTSW …): #NM only. */
export function guardX87NoWait(o: Ops): void {
	o.floats?.forget();
	o.raiseIf(bits(o, "cr0", CR0_EM | CR0_TS), NM);
}

/** FWAIT: #NM if both MP and TS are set, then #MF. */
export function guardWait(o: Ops): void {
	o.floats?.forget();
	o.raiseIf(op("i32Eq", bits(o, "cr0", CR0_MP | CR0_TS), i32(CR0_MP | CR0_TS)), NM);
	raisePending(o);
}

/** MMX instructions: #UD by CR0.EM, #NM by CR0.TS, then #MF. `enterMmx` comes after the last check that may fault. */
export function guardMmx(o: Ops): void {
	o.floats?.forget();
	o.f.if(op("i32Or", bits(o, "cr0", CR0_EM | CR0_TS), bits(o, "fsw", FSW_ES)), () => {
		o.raiseIf(bits(o, "cr0", CR0_EM), UD);
		o.raiseIf(bits(o, "cr0", CR0_TS), NM);
		raisePending(o);
	});
}

/** Every MMX instruction but EMMS makes the register stack start at 0 and be full (SDM Vol. 1 §9.5.1). */
export function enterMmx(o: Ops): void {
	o.setField32("ftop", i32(0));
	o.setField32("ftagValid", i32(0xff));
}

/** SSE instructions: #UD by CR0.EM or without CR4.OSFXSR, #NM by CR0.TS. What changes these bits ends its block. */
export function guardSse(o: Ops): void {
	if (!o.mustAssure("sse")) return;
	const missing = op("i32Xor", bits(o, "cr4", CR4_OSFXSR), i32(CR4_OSFXSR));
	o.f.if(op("i32Or", bits(o, "cr0", CR0_EM | CR0_TS), missing), () => {
		o.raiseIf(op("i32Or", bits(o, "cr0", CR0_EM), missing), UD);
		o.raise(NM);
	});
}

/** Number of the stack register that the n-th operand names. */
export function stackIndex(o: Ops, n: number): Expr {
	return o.insn.row.operands[n] === "ST0" ? i32(0) : o.index(n);
}

/** The same, where the reading has x87 instructions in line. */
export function knownStackIndex(o: Ops, n: number): number {
	return o.insn.row.operands[n] === "ST0" ? 0 : (o.insn.operands[n] as RegOperand).index;
}

/**
 * The last non-control instruction's whereabouts. Selectors are always 0 (CPUID.7.0:EBX[13], "deprecates FPU CS and FPU DS").
 * `address`: offset of its memory operand. FOP: the opcode's low three bits and the ModRM byte (§8.1.9).
 */
export function record(o: Ops, address?: Expr): void {
	if (o.floats?.isGuarded) {
		o.floats.record(address);
		return;
	}
	const rip = o.rip();
	o.setField64("fip", rip.type === "i64" ? rip : op("i64ExtendI32U", rip));
	o.setField32("fop", op("i32Or", i32((o.insn.row.opcode & 7) << 8), o.modrm()));
	if (address !== undefined) o.setField64("fdp", address.type === "i64" ? address : op("i64ExtendI32U", address));
}
