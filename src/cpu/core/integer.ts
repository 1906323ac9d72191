import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { at } from "../state/layout.ts";
import { defineCore } from "./registry.ts";

/** High 64 bits of an unsigned 64×64-bit product, from four 32-bit ones. */
function mulHigh(f: FunctionBuilder, a: Expr, b: Expr): Expr {
	const mask = i64(0xffff_ffffn);
	const aLow = f.let(op("i64And", a, mask));
	const aHigh = f.let(op("i64ShrU", a, i64(32)));
	const bLow = f.let(op("i64And", b, mask));
	const bHigh = f.let(op("i64ShrU", b, i64(32)));
	const low = op("i64ShrU", op("i64Mul", aLow, bLow), i64(32));
	const middle = f.let(op("i64Add", op("i64Mul", aHigh, bLow), low));
	const other = f.let(op("i64Add", op("i64Mul", aLow, bHigh), op("i64And", middle, mask)));
	return f.let(op("i64Add", op("i64Add", op("i64Mul", aHigh, bHigh), op("i64ShrU", middle, i64(32))), op("i64ShrU", other, i64(32))));
}

defineCore("mulHighU", ["i64", "i64"], "i64", (f) => {
	f.return(mulHigh(f, f.param(0), f.param(1)));
	f.unreachable();
});

defineCore("mulHighS", ["i64", "i64"], "i64", (f) => {
	const [a, b] = [f.param(0), f.param(1)];
	const sign = (e: Expr, other: Expr) => op("i64And", op("i64ShrS", e, i64(63)), other);
	f.return(op("i64Sub", op("i64Sub", mulHigh(f, a, b), sign(a, b)), sign(b, a)));
	f.unreachable();
});

/** 128 by 64 bits: quotient to arg0, remainder to arg1; 1 when the quotient does not fit, else 0. */
defineCore("divide128U", ["i32", "i64", "i64", "i64"], "i32", (f) => {
	const [cpu, low, high, by] = [f.param(0), f.param(1), f.param(2), f.param(3)];
	const finish = (quotient: Expr, remainder: Expr) => {
		f.store("i64Store", cpu, quotient, at("arg0"));
		f.store("i64Store", cpu, remainder, at("arg1"));
		f.return(i32(0));
	};
	f.if(op("i64Eqz", high), () => finish(op("i64DivU", low, by), op("i64RemU", low, by)));
	f.if(op("i64GeU", high, by), () => f.return(i32(1)));
	const rest = f.local("i64");
	const bits = f.local("i64");
	const left = f.local("i32");
	f.set(rest, high);
	f.set(bits, low);
	f.set(left, i32(64));
	f.loop((again) => {
		const carry = f.let(op("i64LtS", f.get(rest), i64(0)));
		f.set(rest, op("i64Or", op("i64Shl", f.get(rest), i64(1)), op("i64ShrU", f.get(bits), i64(63))));
		f.set(bits, op("i64Shl", f.get(bits), i64(1)));
		f.if(op("i32Or", carry, op("i64GeU", f.get(rest), by)), () => {
			f.set(rest, op("i64Sub", f.get(rest), by));
			f.set(bits, op("i64Or", f.get(bits), i64(1)));
		});
		f.set(left, op("i32Sub", f.get(left), i32(1)));
		f.brIf(again, f.get(left));
	});
	finish(f.get(bits), f.get(rest));
	f.unreachable();
});

defineCore("divide128S", ["i32", "i64", "i64", "i64"], "i32", (f, calls) => {
	const [cpu, low, high, by] = [f.param(0), f.param(1), f.param(2), f.param(3)];
	const dividendSign = f.let(op("i64ShrS", high, i64(63)));
	const divisorSign = f.let(op("i64ShrS", by, i64(63)));
	const isNegative = op("i32WrapI64", dividendSign);
	const negatedLow = f.let(op("i64Sub", i64(0), low));
	const negatedHigh = op("i64Sub", op("i64Xor", high, i64(-1)), op("i64ExtendI32S", op("i32Sub", i32(0), op("i64Eqz", low))));
	const absoluteLow = f.let(select(isNegative, negatedLow, low));
	const absoluteHigh = f.let(select(isNegative, negatedHigh, high));
	const absoluteBy = f.let(op("i64Sub", op("i64Xor", by, divisorSign), divisorSign));
	f.if(f.callLet(calls.index("divide128U"), "i32", [cpu, absoluteLow, absoluteHigh, absoluteBy]), () => f.return(i32(1)));
	const sign = f.let(op("i64Xor", dividendSign, divisorSign));
	const quotient = f.let(loadOp("i64Load", cpu, at("arg0")));
	const signed = f.let(op("i64Sub", op("i64Xor", quotient, sign), sign));
	// Of a magnitude beyond 2^63 - 1 only -2^63 itself fits.
	f.if(op("i32And", op("i64Ne", quotient, i64(0)), op("i64LtS", op("i64Xor", signed, sign), i64(0))), () => f.return(i32(1)));
	f.store("i64Store", cpu, signed, at("arg0"));
	const remainder = f.let(loadOp("i64Load", cpu, at("arg1")));
	f.store("i64Store", cpu, op("i64Sub", op("i64Xor", remainder, dividendSign), dividendSign), at("arg1"));
	f.return(i32(0));
	f.unreachable();
});

/** CRC-32C (polynomial 0x11EDC6F41, bits reflected) over the low 1–8 bytes of a value: SDM Vol. 2A, CRC32. */
defineCore("crc32c", ["i32", "i64", "i32"], "i32", (f) => {
	const crc = f.local("i32");
	const rest = f.local("i64");
	const bits = f.local("i32");
	f.set(crc, f.param(0));
	f.set(rest, f.param(1));
	f.set(bits, op("i32Shl", f.param(2), i32(3)));
	f.loop((again) => {
		const out = f.let(op("i32And", op("i32Xor", f.get(crc), op("i32WrapI64", f.get(rest))), i32(1)));
		f.set(crc, op("i32Xor", op("i32ShrU", f.get(crc), i32(1)), op("i32And", op("i32Sub", i32(0), out), i32(0x82f63b78))));
		f.set(rest, op("i64ShrU", f.get(rest), i64(1)));
		f.set(bits, op("i32Sub", f.get(bits), i32(1)));
		f.brIf(again, f.get(bits));
	});
	f.return(f.get(crc));
	f.unreachable();
});
