/** AES and carry-less multiplication: SDM Vol. 1 §5.12, §12.13. */
import { i32, laneOp } from "../../wasm/expr.ts";
import { define } from "./registry.ts";
import { immediateOf } from "./sse-operands.ts";
import { guardSse } from "./x87-state.ts";

define(["AESENC", "AESENCLAST", "AESDEC", "AESDECLAST"], (o) => {
	guardSse(o);
	const key = o.readVector(1);
	o.writeVector(0, o.core(o.insn.mnemonic, "v128", o.readVector(0), key));
});

define("AESIMC", (o) => {
	guardSse(o);
	o.writeVector(0, o.core("AESIMC", "v128", o.readVector(1)));
});

define(
	"AESKEYGENASSIST",
	(o) => {
		guardSse(o);
		o.writeVector(0, o.core("AESKEYGENASSIST", "v128", o.readVector(1), i32(immediateOf(o))));
	},
	"imm",
);

define(
	"PCLMULQDQ",
	(o) => {
		guardSse(o);
		const imm = immediateOf(o);
		const b = laneOp("i64x2ExtractLane", (imm >> 4) & 1, o.readVector(1));
		const a = laneOp("i64x2ExtractLane", imm & 1, o.readVector(0));
		o.writeVector(0, o.core("clmul64", "v128", a, b));
	},
	"imm",
);
