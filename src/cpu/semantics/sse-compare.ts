/** Floating-point comparison, minimum, maximum and rounding to an integer: SDM Vol. 1 §5.5.1.3, §5.6.1.3, §5.10.4. */
import { type Expr, i32, i64, op, select } from "../../wasm/expr.ts";
import { RELATION } from "../core/sse-compare.ts";
import { MXCSR } from "../core/sse-format.ts";
import { define } from "./registry.ts";
import { differs, exactly, FORMS, fastOr, MASKED, Numbers, numbersOf, operands, place, placeLow, shapeOf } from "./sse-guard.ts";
import { immediateOf } from "./sse-operands.ts";
import { guardSse } from "./x87-state.ts";

const { less, equal, greater, unordered } = RELATION;

/** Predicates 0–7 of CMPPS and its kin (SDM Vol. 2A, table 3-1): what makes them true, and whether they signal quiet NaNs. */
const PREDICATES = [
	{ name: "Eq", relations: equal, signals: false },
	{ name: "Lt", relations: less, signals: true },
	{ name: "Le", relations: less | equal, signals: true },
	{ name: "UNORD", relations: unordered, signals: false },
	{ name: "Ne", relations: less | greater | unordered, signals: false },
	{ name: "Ge", relations: equal | greater | unordered, signals: true },
	{ name: "Gt", relations: greater | unordered, signals: true },
	{ name: "ORD", relations: less | equal | greater, signals: false },
] as const;

for (const form of FORMS) {
	const n = shapeOf(form);
	const lanes = new Numbers(form.vector);

	for (const [name, instruction] of [
		["MIN", "Pmin"],
		["MAX", "Pmax"],
	] as const)
		define(name + form.suffix, (o) => {
			const { a, b } = operands(o, form);
			const result = fastOr(
				o,
				"v128",
				(slow) => {
					o.f.brIf(slow, differs(o, MASKED));
					const x = numbersOf(o, form, a);
					const y = numbersOf(o, form, b);
					n.rejectNaN(o, slow, x, y);
					n.rejectDenormal(o, slow, x);
					n.rejectDenormal(o, slow, y);
					return placeLow(form, a, lanes.op(instruction, b, a));
				},
				() => exactly(o, name + form.suffix, "v128", a, b),
			);
			o.writeVector(0, result);
		});

	define(
		`CMP${form.suffix}`,
		(o) => {
			const { name, relations, signals } = PREDICATES[immediateOf(o) & 7] as (typeof PREDICATES)[number];
			const { a, b } = operands(o, form);
			const result = fastOr(
				o,
				"v128",
				(slow) => {
					o.f.brIf(slow, differs(o, MASKED));
					const x = numbersOf(o, form, a);
					const y = numbersOf(o, form, b);
					n.rejectNaN(o, slow, x, y);
					n.rejectDenormal(o, slow, x);
					n.rejectDenormal(o, slow, y);
					// No NaN is left: "ordered" is what every number is to itself.
					const mask = name === "UNORD" ? lanes.op("Ne", a, a) : name === "ORD" ? lanes.op("Eq", a, a) : lanes.op(name, a, b);
					return placeLow(form, a, mask);
				},
				() => exactly(o, `CMP${form.suffix}`, "v128", a, b, i64(relations), i64(signals ? 1 : 0)),
			);
			o.writeVector(0, result);
		},
		"imm",
	);

	define(
		`ROUND${form.suffix}`,
		(o) => {
			const imm = immediateOf(o);
			const mode = imm & 4 ? 4 : imm & 3;
			const tells = (imm & 8) === 0;
			const { a, b } = operands(o, form);
			const result = fastOr(
				o,
				"v128",
				(slow) => {
					const controls = MXCSR.DAZ | (mode === 4 ? 0x6000 : 0);
					o.f.brIf(slow, differs(o, { mask: controls, value: 0 }));
					const source = numbersOf(o, form, b);
					const rounded = o.f.let(n.op(["Nearest", "Floor", "Ceil", "Trunc", "Nearest"][mode] as string, source));
					n.require(o, slow, n.op("Eq", source, source));
					if (tells)
						o.f.if(differs(o, { mask: 0x1000 | MXCSR.PE, value: 0x1000 | MXCSR.PE }), () =>
							n.require(o, slow, n.op("Eq", source, rounded)),
						);
					return place(form, a, rounded);
				},
				() => exactly(o, `ROUND${form.suffix}`, "v128", a, b, i64(mode), i64(tells ? 1 : 0)),
			);
			o.writeVector(0, result);
		},
		"imm",
	);
}

const CF = 1;
const ZF = 0x40;
const UNORDERED = 0x45;

for (const form of FORMS.filter(({ isScalar }) => isScalar)) {
	const n = shapeOf(form);
	for (const name of ["COMI", "UCOMI"] as const)
		define(name + form.suffix, (o) => {
			guardSse(o);
			const source = o.readScalar(1);
			const a = numbersOf(o, form, o.readVector(0));
			const b = numbersOf(o, form, source);
			const bits = (number: Expr): Expr =>
				form.scalar === "f64" ? op("i64ReinterpretF64", number) : op("i64ExtendI32U", op("i32ReinterpretF32", number));
			const image = fastOr(
				o,
				"i32",
				(slow) => {
					o.f.brIf(slow, differs(o, MASKED));
					n.rejectNaN(o, slow, a, b);
					n.rejectDenormal(o, slow, a);
					n.rejectDenormal(o, slow, b);
					return op("i32Or", n.op("Lt", a, b), op("i32Shl", n.op("Eq", a, b), i32(6)));
				},
				() => {
					const relation = exactly(o, `COMI${form.suffix}`, "i64", bits(a), bits(b), i64(name === "COMI" ? 1 : 0));
					const is = (bit: number): Expr => op("i32WrapI64", op("i64And", relation, i64(bit)));
					return select(is(unordered), i32(UNORDERED), select(is(less), i32(CF), select(is(equal), i32(ZF), i32(0))));
				},
			);
			o.setFlags("image", 32, image);
		});
}
