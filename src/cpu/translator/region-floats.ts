import { type Expr, i32 } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import { and, xor } from "../core/f80-emit.ts";
import { type Operand, shortDouble, shortProduct, shortSingle, shortStore, shortSum } from "../core/f80-short.ts";
import type { FloatOperation, Floats, RealBytes } from "../emit/floats.ts";
import { FloatStack, type Register } from "./float-stack.ts";

/** The x87's instructions in a region: each in line for the operands that it mostly has, and else by the core's function for it. */
export class RegionFloats extends FloatStack implements Floats {
	load(bits: Expr, bytes: RealBytes): void {
		const to = this.register(-1);
		this.either(
			(otherwise) => {
				this.expect(otherwise, to, "empty");
				(bytes === 8 ? shortDouble : shortSingle)(this.f, otherwise, bits, this.operand);
				this.set(to, this.operand);
				this.setFlags();
			},
			bytes === 8 ? "x87LoadDouble" : "x87LoadSingle",
			[bits],
			() => {
				this.push();
				this.hasFlags(true);
				return [to];
			},
		);
	}

	loadRegister(i: number): void {
		const from = this.held(i);
		const to = this.register(-1);
		this.either(
			(otherwise) => {
				this.expect(otherwise, from, "valid");
				this.expect(otherwise, to, "empty");
				this.set(to, from.value);
				this.setFlags();
			},
			"x87LoadRegister",
			[i32(i)],
			() => {
				this.is(from, "valid", true);
				this.push();
				this.hasFlags(true);
				return [to];
			},
		);
	}

	store(host: Expr, bytes: RealBytes, pops: boolean): void {
		const from = this.held(0);
		this.readControl();
		const f = this.f;
		this.either(
			(otherwise) => {
				this.expectControl(otherwise);
				this.expect(otherwise, from, "valid");
				const { bits, flags } = shortStore(f, otherwise, this.operandOf(from), bytes);
				f.store(bytes === 8 ? "i64Store" : "i64Store32", host, bits);
				this.setFlags(flags);
			},
			bytes === 8 ? "x87StoreDouble" : "x87StoreSingle",
			[host, i32(pops ? 1 : 0)],
			() => {
				this.is(from, "valid", true);
				this.hasFlags(false);
				if (pops) this.pop();
				return [];
			},
		);
	}

	storeRegister(i: number, pops: boolean): void {
		const from = this.held(0);
		const to = this.register(i);
		this.either(
			(otherwise) => {
				this.expect(otherwise, from, "valid");
				if (to !== from) this.set(to, from.value);
				this.setFlags();
			},
			"x87StoreRegister",
			[i32(i), i32(pops ? 1 : 0)],
			() => {
				this.is(from, "valid", true);
				this.is(to, "valid");
				if (to !== from) to.isHeld = to.isDirty = true;
				this.hasFlags(true);
				if (pops) this.pop();
				return [to];
			},
		);
	}

	exchange(i: number): void {
		const a = this.held(0);
		const b = this.held(i);
		this.either(
			(otherwise) => {
				this.expect(otherwise, a, "valid");
				this.expect(otherwise, b, "valid");
				this.setFlags();
			},
			"x87Exchange",
			[i32(i)],
			() => {
				this.is(a, "valid", true);
				this.is(b, "valid", true);
				// The locals change places.
				[a.value, b.value] = [b.value, a.value];
				a.isDirty = b.isDirty = true;
				this.hasFlags(true);
				return [a, b];
			},
		);
	}

	sign(keep: number, flip: number): void {
		const register = this.held(0);
		const f = this.f;
		this.either(
			(otherwise) => {
				this.expect(otherwise, register, "valid");
				f.set(register.value.se, xor(and(f.get(register.value.se), keep), flip));
				this.setFlags();
			},
			"x87Sign",
			[i32(keep), i32(flip)],
			() => {
				this.is(register, "valid", true);
				register.isDirty = true;
				this.hasFlags(true);
				return [register];
			},
		);
	}

	/** d ← d and s as the operation has it. */
	#short(name: FloatOperation, otherwise: Label, d: Register, s: Operand): void {
		const f = this.f;
		const flip = (operand: Operand): Operand => ({ ...operand, se: xor(operand.se, 0x8000) });
		const a = this.operandOf(d);
		const flags =
			name === "Mul"
				? shortProduct(f, otherwise, a, s, d.value)
				: shortSum(f, otherwise, name === "Subr" ? flip(a) : a, name === "Sub" ? flip(s) : s, d.value);
		this.setFlags(flags);
	}

	compute(name: FloatOperation, to: number, from: number, pops: boolean): void {
		const d = this.held(to);
		const s = this.held(from);
		this.readControl();
		this.either(
			(otherwise) => {
				this.expectControl(otherwise);
				this.expect(otherwise, d, "valid");
				if (s !== d) this.expect(otherwise, s, "valid");
				this.#short(name, otherwise, d, this.operandOf(s));
			},
			`x87${name}`,
			[i32(to), i32(from), i32(pops ? 1 : 0)],
			() => {
				this.is(d, "valid", true);
				this.is(s, "valid", true);
				d.isDirty = true;
				this.hasFlags(false);
				if (pops) this.pop();
				return [d];
			},
		);
	}

	computeWith(name: FloatOperation, bits: Expr, bytes: RealBytes): void {
		const d = this.held(0);
		this.readControl();
		const f = this.f;
		this.either(
			(otherwise) => {
				this.expectControl(otherwise);
				this.expect(otherwise, d, "valid");
				(bytes === 8 ? shortDouble : shortSingle)(f, otherwise, bits, this.operand);
				const { se, mantissa } = this.operand;
				this.#short(name, otherwise, d, { se: f.get(se), mantissa: f.get(mantissa), isShort: true });
			},
			`x87${name}${bytes === 8 ? "Double" : "Single"}`,
			[bits],
			() => {
				this.is(d, "valid", true);
				d.isDirty = true;
				this.hasFlags(false);
				return [d];
			},
		);
	}
}
