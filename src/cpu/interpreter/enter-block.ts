import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { HANDLER_TYPE } from "../core/registry.ts";
import { at, EXIT } from "../state/layout.ts";
import { HEAD, REC, RECORD_BYTES } from "./record.ts";

/** Charges a block's instructions, counts its runs, goes to its first record; or leaves for the run loop. rip is the block's start. */
export function enterBlock(f: FunctionBuilder, cpu: Expr, head: Expr): void {
	const count = loadOp("i32Load8U", head, HEAD.count);
	const left = f.let(op("i32Sub", loadOp("i32Load", cpu, at("budget")), count));
	f.if(op("i32LtS", left, i32(0)), () => f.return(i32(EXIT.budget)));
	const heat = f.let(op("i32Sub", loadOp("i32Load", head, HEAD.heat), i32(1)));
	f.store("i32Store", head, heat, HEAD.heat);
	f.if(op("i32Eqz", heat), () => {
		f.store("i32Store", cpu, head, at("exitRecord"));
		f.return(i32(EXIT.hot));
	});
	f.store("i32Store", cpu, left, at("budget"));
	f.returnCallIndirect(HANDLER_TYPE, [cpu, op("i32Add", head, i32(RECORD_BYTES))], loadOp("i32Load", head, RECORD_BYTES + REC.callee));
}
