import { type Expr, i32, op } from "../../wasm/expr.ts";
import { alu, constant, type Ops, type SegRef, truncate } from "../emit/ops.ts";
import { FLAG } from "../state/flags.ts";
import { define } from "./registry.ts";

// String instructions and REP: SDM Vol. 1 §7.3.9, "String Operations".

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;

/** The destination always goes through ES; the source may be overridden. */
const ES: SegRef = { seg: 0 };

function sourceSegment(o: Ops): SegRef {
	return { operand: o.insn.operands.findIndex((operand) => operand.kind === "mem" && operand.base === RSI) };
}

/** RSI or RDI as an offset in its segment. */
export function stringPointer(o: Ops, register: number): Expr {
	const value = o.reg(register, o.insn.addrBits);
	return o.is64 && value.type === "i32" ? o.f.let(op("i64ExtendI32U", value)) : value;
}

/** Moves RSI or RDI by one element, up or down as DF says. */
export function advance(o: Ops, register: number, bytes: number): void {
	const width = o.insn.addrBits;
	const isDown = op("i32And", o.field32("flags"), i32(FLAG.DF));
	const delta = op("i32Sub", i32(bytes), op("i32ShrU", isDown, i32(9 - Math.log2(bytes))));
	const step = width === 64 ? op("i64ExtendI32S", delta) : delta;
	o.setReg(register, width, truncate(width, alu(width, "Add", o.reg(register, width), step)));
}

/**
 * Runs `element` once, or RCX times under REP. A fault leaves the registers at the element that faulted.
 * `bulk`, if given, tries several elements at once and returns how many it did (registers are moved here).
 */
export function repeat(
	o: Ops,
	element: () => void,
	options: { untilZf?: boolean; bulk?: (count: Expr) => Expr; moves?: readonly number[]; bytes?: number } = {},
): void {
	const { rep } = o.insn;
	if (rep === 0) {
		element();
		return;
	}
	const width = o.insn.addrBits;
	o.inMemory((iterate) => {
		o.f.block((done) => {
			o.f.brIf(done, alu(width, "Eqz", o.reg(RCX, width)));
			o.f.loop((again) => {
				const count = o.reg(RCX, width);
				const { bulk } = options;
				if (bulk !== undefined && width !== 16 && (o.is64 || o.isFlat)) {
					const moved = bulk(width === 64 ? count : op("i64ExtendI32U", count));
					o.f.if(moved, () => {
						const by = width === 64 ? op("i64ExtendI32U", moved) : moved;
						const left = o.f.let(alu(width, "Sub", count, by));
						const bytes = alu(width, "Mul", by, constant(width, options.bytes as number));
						for (const register of options.moves ?? []) o.setReg(register, width, alu(width, "Add", o.reg(register, width), bytes));
						o.setReg(RCX, width, left);
						o.commit();
						// Charged by the work it is: a cache line's worth an instruction.
						iterate(op("i32Add", i32(1), op("i32ShrU", op("i32Mul", moved, i32(options.bytes as number)), i32(6))));
						o.f.brIf(done, alu(width, "Eqz", left));
						o.f.br(again);
					});
				}
				element();
				const left = o.f.let(truncate(width, alu(width, "Sub", count, constant(width, 1))));
				o.setReg(RCX, width, left);
				o.commit();
				if (options.untilZf === true) {
					const zf = o.f.let(o.condition(4));
					o.f.brIf(done, rep === 0xf3 ? op("i32Eqz", zf) : zf);
				}
				// The last round ends the instruction: a trap after it finds the next one.
				o.f.brIf(done, alu(width, "Eqz", left));
				iterate();
				o.f.br(again);
			});
		});
	});
}

const elementBytes = (o: Ops): 1 | 2 | 4 | 8 => {
	const mem = o.insn.operands.find((operand) => operand.kind === "mem");
	return (mem as { bytes: number }).bytes as 1 | 2 | 4 | 8;
};

const asWide = (e: Expr): Expr => (e.type === "i64" ? e : op("i64ExtendI32U", e));

define("MOVS", (o) => {
	const bytes = elementBytes(o);
	const source = sourceSegment(o);
	const usesBase = o.insn.operands.some((operand) => operand.kind === "mem" && operand.seg >= 4);
	repeat(
		o,
		() => {
			const value = o.load(source, stringPointer(o, RSI), bytes);
			o.store(ES, stringPointer(o, RDI), bytes, value);
			advance(o, RSI, bytes);
			advance(o, RDI, bytes);
		},
		{
			...(usesBase
				? {}
				: {
						bulk: (count: Expr) =>
							o.core("bulkMove", "i32", o.cpu, asWide(stringPointer(o, RDI)), asWide(stringPointer(o, RSI)), count, i32(Math.log2(bytes))),
					}),
			moves: [RSI, RDI],
			bytes,
		},
	);
});

define("STOS", (o) => {
	const bytes = elementBytes(o);
	const value = () => (bytes === 8 ? o.reg(RAX, 64) : o.reg(RAX, (bytes * 8) as 8 | 16 | 32));
	repeat(
		o,
		() => {
			o.store(ES, stringPointer(o, RDI), bytes, value());
			advance(o, RDI, bytes);
		},
		{
			bulk: (count) => o.core("bulkFill", "i32", o.cpu, asWide(stringPointer(o, RDI)), asWide(value()), count, i32(Math.log2(bytes))),
			moves: [RDI],
			bytes,
		},
	);
});

define("LODS", (o) => {
	const bytes = elementBytes(o);
	repeat(o, () => {
		const value = o.load(sourceSegment(o), stringPointer(o, RSI), bytes);
		advance(o, RSI, bytes);
		o.setReg(RAX, (bytes * 8) as 8 | 16 | 32 | 64, value);
	});
});

define("SCAS", (o) => {
	const bytes = elementBytes(o);
	const width = (bytes * 8) as 8 | 16 | 32 | 64;
	repeat(
		o,
		() => {
			const value = o.load(ES, stringPointer(o, RDI), bytes);
			o.setFlags("sub", width, o.reg(RAX, width), value);
			advance(o, RDI, bytes);
		},
		{ untilZf: true },
	);
});

define("CMPS", (o) => {
	const bytes = elementBytes(o);
	const width = (bytes * 8) as 8 | 16 | 32 | 64;
	repeat(
		o,
		() => {
			const left = o.load(sourceSegment(o), stringPointer(o, RSI), bytes);
			const right = o.load(ES, stringPointer(o, RDI), bytes);
			o.setFlags("sub", width, left, right);
			advance(o, RSI, bytes);
			advance(o, RDI, bytes);
		},
		{ untilZf: true },
	);
});
