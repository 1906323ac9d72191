/** The register stack and the control registers: what moves values without arithmetic. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import { add, and, EXCEPTIONS, eqz, FSW, ne, or, shl, X87, xor } from "./f80-emit.ts";
import { defineCore } from "./registry.ts";

/** Where `physical` is empty: underflow; returns from the function if that is unmasked. */
function fill(x: X87, calls: Callables, physical: Expr): void {
	const { f } = x;
	f.if(x.isEmpty(physical), () => {
		f.if(f.callLet(calls.index("x87Underflow"), "i32", [x.cpu, physical]), () => f.return());
	});
}

/** (cpu, i): FXCH. */
defineCore("x87Exchange", ["i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const other = x.physical(top, f.param(1));
	fill(x, calls, top);
	fill(x, calls, other);
	const slotA = x.slot(top);
	const slotB = x.slot(other);
	const a = x.load(slotA);
	const b = x.load(slotB);
	x.store(slotA, b.se, b.mantissa);
	x.store(slotB, a.se, a.mantissa);
	x.clearC1();
});

/** (cpu, i, condition): FCMOVcc. Both registers must hold something whatever the condition; C1 stays. */
defineCore("x87Move", ["i32", "i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const other = x.physical(top, f.param(1));
	f.if(or(x.isEmpty(top), x.isEmpty(other)), () => {
		f.call(calls.index("x87Underflow"), [x.cpu, top], true);
		f.return();
	});
	f.if(f.param(2), () => {
		const value = x.load(x.slot(other));
		x.store(x.slot(top), value.se, value.mantissa);
	});
});

/** (cpu, keep, flip): the sign of ST(0) becomes (sign & keep) ^ flip; FCHS, FABS. */
defineCore("x87Sign", ["i32", "i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	f.if(x.isEmpty(top), () => {
		f.call(calls.index("x87Underflow"), [x.cpu, top], true);
		f.return();
	});
	const slot = x.slot(top);
	const value = x.load(slot);
	x.store(slot, xor(and(value.se, f.param(1)), f.param(2)), value.mantissa);
	x.clearC1();
});

/** (cpu, delta): FINCSTP, FDECSTP. */
defineCore("x87Rotate", ["i32", "i32"], undefined, (f) => {
	const x = new X87(f);
	x.setField("ftop", and(add(x.field("ftop"), f.param(1)), 7));
	x.clearC1();
});

/** (cpu, i, pops): FFREE, FFREEP. */
defineCore("x87Free", ["i32", "i32", "i32"], undefined, (f) => {
	const x = new X87(f);
	const physical = x.physical(x.field("ftop"), f.param(1));
	x.setField("ftagValid", and(x.field("ftagValid"), xor(shl(i32(1), physical), -1)));
	x.clearC1();
	f.if(f.param(2), () => x.pop());
});

/** (cpu, i): FSTPNCE ST(i), which copies and pops, but from an empty register only pops. */
defineCore("x87StoreQuietly", ["i32", "i32"], undefined, (f) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	f.if(eqz(x.isEmpty(top)), () => {
		const to = x.physical(top, f.param(1));
		const value = x.load(x.slot(top));
		x.store(x.slot(to), value.se, value.mantissa);
		x.markValid(to);
	});
	x.clearC1();
	x.pop();
});

/** (cpu): FNINIT; the registers keep what they hold. */
defineCore("x87Init", ["i32"], undefined, (f) => {
	const x = new X87(f);
	x.setField("fcw", i32(0x37f));
	for (const name of ["fsw", "ftop", "ftagValid", "fop", "fipSelector", "fdpSelector"] as const) x.setField(name, i32(0));
	for (const name of ["fip", "fdp"] as const) x.setField64(name, i64(0));
});

/** (cpu, value): the control word; what becomes unmasked or masked shows in ES and B at once. */
defineCore("x87SetControl", ["i32", "i32"], undefined, (f) => {
	const x = new X87(f);
	const fcw = f.let(or(and(f.param(1), 0x1f7f), 0x40));
	x.setField("fcw", fcw);
	const fsw = f.let(and(x.field("fsw"), ~(FSW.ES | FSW.B)));
	const pending = ne(and(and(fsw, EXCEPTIONS), xor(fcw, -1)), 0);
	x.setField("fsw", or(fsw, select(pending, i32(FSW.ES | FSW.B), i32(0))));
});
