/** Control instructions (SDM Vol. 1 §8.3.8). */
import { i32, op } from "../../wasm/expr.ts";
import type { Ops } from "../emit/ops.ts";
import { define, type Meaning } from "./registry.ts";
import { guardMmx, guardWait, guardX87, guardX87NoWait, record, releaseFloatError, stackIndex } from "./x87-state.ts";

define("FWAIT", guardWait);
/** DB E0, E1 and E4, the 8087's FENI and FDISI and the 287's FSETPM, are FNOPs that do not wait. */
define("FNOP", (o) => {
	if (o.insn.row.opcode === 0xdb) {
		guardX87NoWait(o);
		return;
	}
	guardX87(o);
	record(o);
});

function rotate(delta: number): Meaning {
	return (o) => {
		guardX87(o);
		record(o);
		o.coreVoid("x87Rotate", o.cpu, i32(delta));
	};
}

define("FINCSTP", rotate(1));
define("FDECSTP", rotate(-1));

function free(pops: boolean): Meaning {
	return (o) => {
		guardX87(o);
		record(o);
		o.coreVoid("x87Free", o.cpu, stackIndex(o, 0), i32(pops ? 1 : 0));
	};
}

define("FFREE", free(false));
define("FFREEP", free(true));

define("FNINIT", (o) => {
	guardX87NoWait(o);
	releaseFloatError(o);
	o.coreVoid("x87Init", o.cpu);
});

/** Exceptions, ES, SF and B go; the condition codes and TOP stay. */
define("FNCLEX", (o) => {
	guardX87NoWait(o);
	releaseFloatError(o);
	o.setField32("fsw", op("i32And", o.field32("fsw"), i32(0x7f00)));
});

define("FLDCW", (o) => {
	guardX87(o);
	o.coreVoid("x87SetControl", o.cpu, o.read(0));
});

define("FNSTCW", (o) => {
	guardX87NoWait(o);
	o.write(0, o.field32("fcw"));
});

/** The status word with TOP in it. */
function statusWord(o: Ops) {
	return o.f.let(op("i32Or", o.field32("fsw"), op("i32Shl", o.field32("ftop"), i32(11))));
}

define("FNSTSW", (o) => {
	guardX87NoWait(o);
	o.write(0, statusWord(o));
});

define("EMMS", (o) => {
	guardMmx(o);
	o.setField32("ftagValid", i32(0));
	o.setField32("ftop", i32(0));
});
