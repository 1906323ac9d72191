import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import { condition, flagImage, type Width } from "../emit/condition.ts";
import { CC, type FlagKind } from "../state/flags.ts";
import { at } from "../state/layout.ts";
import { defineCore } from "./registry.ts";

const KINDS = Object.keys(CC) as FlagKind[];

/** Branches on ccOp's kind; `value` gives the answer for one kind whose width is known only at run time. */
function byKind(f: FunctionBuilder, answer: (kind: FlagKind, x: Expr, y: Expr, z: Expr, width: Width) => Expr): void {
	const cpu = f.param(0);
	const ccOp = f.let(loadOp("i32Load", cpu, at("ccOp")));
	const x = f.let(loadOp("i64Load", cpu, at("ccX")));
	const y = f.let(loadOp("i64Load", cpu, at("ccY")));
	const z = f.let(loadOp("i64Load", cpu, at("ccZ")));
	const cases: { kind: FlagKind; width: Width; code: number }[] = [];
	const widths: Width[] = [8, 16, 32, 64];
	for (const kind of KINDS) for (const [log2, width] of widths.entries()) cases.push({ kind, width, code: CC[kind] | (log2 << 4) });
	const nest = (index: number, labels: Label[]): void => {
		if (index === cases.length) {
			f.block((none) => {
				const table: Label[] = new Array(64).fill(none);
				cases.forEach(({ code }, i) => {
					table[code] = labels[i] as Label;
				});
				f.brTable(table, none, ccOp);
			});
			f.unreachable();
			return;
		}
		f.block((label) => nest(index + 1, [...labels, label]));
		const { kind, width } = cases[index] as (typeof cases)[number];
		f.return(answer(kind, x, y, z, width));
	};
	nest(0, []);
}

/** The six arithmetic flags as RFLAGS has them. */
defineCore("arithmeticFlags", ["i32"], "i32", (f) => {
	byKind(f, (kind, x, y, z, width) => flagImage({ kind, width, x: f.let(x), y, z }));
	f.unreachable();
});

// Even conditions; odd ones are their negation. Subtraction and logic come first: nearly everything that is asked follows them.
for (let cc = 0; cc < 16; cc += 2)
	defineCore(`condition${cc}`, ["i32"], "i32", (f) => {
		const kindCode = op("i32And", loadOp("i32Load", f.param(0), at("ccOp")), i32(15));
		if (cc >> 1 !== 0 && cc >> 1 !== 4 && cc >> 1 !== 5)
			f.if(op("i32Eq", kindCode, i32(CC.sub)), () => {
				const x = loadOp("i64Load", f.param(0), at("ccX"));
				f.return(condition({ kind: "sub", width: 64, x, y: loadOp("i64Load", f.param(0), at("ccY")), z: i64(0) }, cc));
			});
		byKind(f, (kind, x, y, z, width) => condition({ kind, width, x, y, z }, cc));
		f.unreachable();
	});
