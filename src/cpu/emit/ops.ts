import { type Expr, i32, i64, laneOp, loadOp, op } from "../../wasm/expr.ts";
import type { MemOperand } from "../../x86/decode/insn.ts";
import { at } from "../state/layout.ts";
import type { ModifyPlace } from "./core-ops.ts";
import { MemoryOps } from "./memory-ops.ts";
import { both } from "./values.ts";

export type { Callables, GprRef, ModifyPlace, QueuedWrite, SegRef } from "./core-ops.ts";
export * from "./values.ts";

/** The abstract machine as meanings see it: operands of the instruction, whatever they are, and where it may go. */
export abstract class Ops extends MemoryOps {
	#modify: ModifyPlace | undefined;

	// ---- operands ----

	/** A general register, memory or immediate operand at its own width, zero-extended. Pinned. */
	read(n: number): Expr {
		const operand = this.insn.operands[n];
		const width = this.widthOf(n);
		switch (operand?.kind) {
			case "reg":
				if (operand.cls === "xmm" || operand.cls === "mmx") return this.readLow(n);
				return this.f.let(this.gprGet({ operand: n }, width));
			case "mem":
				return this.load({ operand: n }, this.address(n), operand.bytes as 1 | 2 | 4 | 8);
			case "imm64":
				return this.immediate(n, "i64");
			case "imm": {
				// Immediates are read at the width of the operation they belong to.
				const first = this.insn.operands[0] as { bytes: number };
				return this.immediate(n, n > 0 && first.bytes === 8 ? "i64" : "i32");
			}
			default:
				throw new Error(`${this.insn.mnemonic}: operand ${n} cannot be read`);
		}
	}

	/** An immediate as i32, whatever the operand size. */
	imm32(n: number): Expr {
		return this.immediate(n, "i32");
	}

	/** Writes a register operand (later, if `condition` holds) or a memory operand (now; `condition` does not apply). */
	write(n: number, value: Expr, condition?: Expr): void {
		const operand = this.insn.operands[n];
		if (operand?.kind === "mem") {
			const modify = this.#modify;
			if (modify !== undefined) {
				this.#modify = undefined;
				this.storePlace(modify, value);
			} else this.store({ operand: n }, this.address(n), operand.bytes as 1 | 2 | 4 | 8, value);
			return;
		}
		this.setLater({ operand: n }, this.widthOf(n), value, condition);
	}

	/** Reads an operand that `write(n)` will write afterwards (in every case): memory is checked for both first. */
	readModify(n: number): Expr {
		if (!this.isMem(n)) return this.read(n);
		const operand = this.insn.operands[n] as MemOperand;
		const place = this.probe({ operand: n }, this.address(n), operand.bytes);
		this.#modify = place;
		return this.loadPlace(place);
	}

	// ---- vectors ----

	/** A 128-bit operand. Memory must be aligned (else #GP(0)) if the instruction's row says so. */
	readVector(n: number): Expr {
		if (this.isMem(n)) {
			const linear = this.#vectorLinear(n, false);
			return this.loadLinear(linear, 16, this.isStack({ operand: n }), "v128Load", this.insn.row.aligned);
		}
		return this.f.let(this.xmmGet({ operand: n }));
	}

	writeVector(n: number, value: Expr): void {
		if (this.isMem(n)) {
			const linear = this.#vectorLinear(n, true);
			this.storeLinear(linear, 16, value, this.isStack({ operand: n }), this.insn.row.aligned);
			return;
		}
		this.setLater({ operand: n }, 128, value);
	}

	/** Misaligned and beyond the segment's limit: processors tell of the first. */
	#vectorLinear(n: number, isWrite: boolean): Expr {
		const ref = { operand: n };
		const offset = this.address(n);
		if (this.insn.row.aligned && !this.is64 && !this.isFlat) this.raiseMisaligned(op("i32Add", offset, this.segBase(ref)));
		return this.linear(ref, offset, 16, isWrite);
	}

	/** An XMM register whole, or 4 or 8 bytes of memory with zeros above them. */
	readScalar(n: number): Expr {
		if (!this.isMem(n)) return this.f.let(this.xmmGet({ operand: n }));
		const bytes = (this.insn.operands[n] as MemOperand).bytes as 4 | 8;
		const linear = this.linear({ operand: n }, this.address(n), bytes, false);
		return this.loadLinear(linear, bytes, this.isStack({ operand: n }), bytes === 8 ? "v128Load64Zero" : "v128Load32Zero");
	}

	/** XMM register by number. */
	xmm(index: number): Expr {
		return this.f.let(this.xmmGet({ index }));
	}

	setXmm(index: number, value: Expr): void {
		this.setLater({ index }, 128, value);
	}

	/** The low 1–8 bytes (the operand's size) of an XMM or MMX register or of memory, as i32 or (8 bytes) i64. */
	readLow(n: number): Expr {
		const operand = this.insn.operands[n] as { kind: string; cls?: string; bytes: number };
		if (operand.kind === "mem") return this.load({ operand: n }, this.address(n), operand.bytes as 4 | 8);
		if (operand.cls === "mmx") {
			const mantissa = this.readMmx(n);
			return operand.bytes === 8 ? mantissa : op("i32WrapI64", mantissa);
		}
		const whole = this.f.let(this.xmmGet({ operand: n }));
		return this.f.let(laneOp(operand.bytes === 8 ? "i64x2ExtractLane" : "i32x4ExtractLane", 0, whole));
	}

	/** An MMX operand (register or 8-byte memory) as i64. */
	readMmx(n: number): Expr {
		if (this.isMem(n)) return this.load({ operand: n }, this.address(n), 8);
		return this.f.let(loadOp("i64Load", this.#fprAddress(n), at("fpr")));
	}

	/** Writes an MMX register (later): exponent and sign become all ones, as the register aliasing has it (SDM Vol. 1 §9.6.2). */
	writeMmx(n: number, value: Expr): void {
		if (this.isMem(n)) {
			this.store({ operand: n }, this.address(n), 8, value);
			return;
		}
		const pinned = this.f.pin(value);
		const address = this.#fprAddress(n);
		this.later(() => {
			this.f.store("i64Store", address, pinned, at("fpr"));
			this.f.store("i32Store", address, i32(0xffff), at("fpr") + 8);
		});
	}

	#fprAddress(n: number): Expr {
		return this.f.let(op("i32Add", this.cpu, op("i32Shl", this.index(n), i32(4))));
	}

	/** #GP(0) unless the n-th operand's linear address is a multiple of 16; vectors check it themselves. */
	checkAligned(n: number): void {
		if (!this.isMem(n)) return;
		this.raiseMisaligned(this.linear({ operand: n }, this.address(n), 16, false));
	}

	// ---- near transfers ----

	/** A near transfer's target is cut to the operand size (SDM Vol. 2A, JMP: "tempEIP AND 0000FFFFH"). */
	protected cut(target: Expr): Expr {
		if (this.insn.opBytes !== 2) return target;
		return target.type === "i64" ? op("i64And", target, i64(0xffff)) : op("i32And", target, i32(0xffff));
	}

	/** Whether `checkTarget` has anything to check. */
	get checksTargets(): boolean {
		return !this.is64 && !this.isFlat;
	}

	/**
	 * #GP(0), with nothing changed, where a near transfer would lead out of the code segment. `jump` and `branch` ask this
	 * themselves; CALL asks before it pushes. A region of 64-bit code finds out later, and takes the transfer back.
	 */
	checkTarget(target: Expr, condition?: Expr): void {
		if (!this.checksTargets) return;
		const isBeyond = op("i32GtU", this.cut(target), this.field32("segLimit", 1));
		this.raiseIf(both(isBeyond, condition), 13, 0);
	}

	/** The same for a relative target. */
	checkBranch(n: number, condition?: Expr): void {
		if (!this.is64 && !this.isFlat) this.checkTarget(this.branchTarget(n), condition);
	}
}
