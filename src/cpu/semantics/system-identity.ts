import { i32, i64, op } from "../../wasm/expr.ts";
import type { Ops } from "../emit/ops.ts";
import { FLAG } from "../state/flags.ts";
import { define } from "./registry.ts";

// What the processor says of itself: identification, model-specific registers, counters, chance.

define("CPUID", (o) => {
	o.pass(0, o.reg(0, 32));
	o.pass(1, o.reg(1, 32));
	o.query("cpuid");
	// EAX, EBX, ECX, EDX by their encodings.
	for (const [slot, register] of [0, 3, 1, 2].entries()) o.setReg(register, 32, o.result(slot as 0 | 1 | 2 | 3, 32));
});

/** arg0 to EDX:EAX. */
function setPair(o: Ops): void {
	const value = o.field64("arg0");
	o.setReg(0, 32, op("i32WrapI64", value));
	o.setReg(2, 32, op("i32WrapI64", op("i64ShrU", value, i64(32))));
}

define("RDMSR", (o) => {
	o.query("rdmsr", o.reg(1, 32));
	setPair(o);
});

define("WRMSR", (o) => {
	const high = op("i64Shl", op("i64ExtendI32U", o.reg(2, 32)), i64(32));
	o.pass(0, op("i64Or", high, op("i64ExtendI32U", o.reg(0, 32))));
	o.system("wrmsr", o.length(), o.reg(1, 32));
});

define("RDTSC", (o) => {
	o.query("rdtsc");
	setPair(o);
});

define("RDTSCP", (o) => {
	o.query("rdtsc");
	setPair(o);
	o.setReg(1, 32, o.result(1, 32));
});

define("RDPMC", (o) => {
	o.query("rdpmc", o.reg(1, 32));
	setPair(o);
});

define(["RDRAND", "RDSEED"], (o) => {
	const width = o.widthOf(0);
	o.query("random");
	const value = o.field64("arg0");
	o.setFlags("image", 32, i32(FLAG.CF));
	o.write(0, width === 64 ? value : op("i32WrapI64", value));
});
