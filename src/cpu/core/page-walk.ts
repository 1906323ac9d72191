import { CODE_FLAGS, ENGINE_BYTES, RAM_FLAGS } from "../../machine/memory.ts";
import { PAGE_FLAG } from "../../machine/ram-pages.ts";
import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import { isNonCanonical, tlbSlot } from "../emit/values.ts";
import {
	at,
	CODE_HUGE_AREAS,
	CODE_LARGE_AREAS,
	CODE_SEEN_ENTRIES,
	CODE_SEEN_GLOBAL,
	CODE_SEEN_LOCAL,
	CODE_TLB,
	CODE_TLB_ENTRIES,
	CODE_TLB_ENTRY,
	CODE_TLB_ENTRY_BYTES,
	TLB_BYTES,
	TLB_ENTRY,
	TLB_GLOBAL,
	TLB_HAS_HIGH,
	TLB_HUGE_AREAS,
	TLB_KERNEL,
	TLB_LARGE_AREAS,
	TLB_LOCAL,
	TLB_NOTE,
	TLB_USER,
	WALK,
} from "../state/layout.ts";
import { defineCore } from "./registry.ts";

/**
 * The page walks that a guest makes all the time, in WebAssembly: entries present, accessed and (for writes) dirty already, no
 * reserved bits, rights as they should be, tables and page in RAM. Everything else (faults, flags to be set, devices, breakpoints)
 * is for the walker in TypeScript (mmu/walk.ts), which knows all the rules; so a walk here either does exactly what that one would,
 * or nothing.
 */

const P = 1;
const US = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const G = 0x100;

const LEGACY_HOLE_FIRST = 0xa_0000;
const LEGACY_HOLE_BYTES = 0x6_0000;

/** Returns 0: it is left to TypeScript. */
export const giveUp = (f: FunctionBuilder) => f.return(i32(0));

/** Offset of a physical address below 4 GiB that is RAM and has been brought in; else gives up. */
export function hostOf(f: FunctionBuilder, cpu: Expr, phys: Expr): Expr {
	const isRam = op("i32LtU", phys, loadOp("i32Load", cpu, at("lowRamEnd")));
	const isHole = op("i32LtU", op("i32Sub", phys, i32(LEGACY_HOLE_FIRST)), i32(LEGACY_HOLE_BYTES));
	f.if(op("i32Or", op("i32Eqz", isRam), isHole), () => giveUp(f));
	const flags = loadOp("i32Load8U", op("i32ShrU", phys, i32(12)), RAM_FLAGS);
	f.if(op("i32And", flags, i32(PAGE_FLAG.absent)), () => giveUp(f));
	return f.let(op("i32Add", phys, i32(ENGINE_BYTES)));
}

/** What the levels of a walk work on: the AND of the entries so far, the last one's low half, the page and its size. */
interface Walk {
	readonly f: FunctionBuilder;
	readonly cpu: Expr;
	readonly low: Expr;
	readonly rights: number;
	readonly leaf: number;
	readonly page: number;
	readonly shift: number;
	readonly table: number;
	/** Bit 31 where XD is reserved, else 0. */
	readonly reservedXd: number;
	/** Bit 31: an entry had XD set. */
	readonly xd: number;
}

/** Bits 63:32 that must be 0: address bits above 4 GiB and, in PAE, bits 62:52. XD says nothing about data. */
const HIGH_FOUR_LEVEL = 0x000f_ffff;
const HIGH_PAE = 0x7fff_ffff;

/** One level with 8-byte entries. `largeShift` 0: the level has no large pages. Branches to `found` at one. */
function level64(walk: Walk, index: Expr, largeShift: number, high: number, found: Label): void {
	const { f } = walk;
	const host = hostOf(f, walk.cpu, f.get(walk.table));
	const entry = f.let(loadOp("i64Load", op("i32Add", host, op("i32Shl", op("i32And", index, i32(511)), i32(3)))));
	const upper = f.let(op("i32WrapI64", op("i64ShrU", entry, i64(32))));
	f.if(op("i32And", upper, op("i32Or", i32(high), f.get(walk.reservedXd))), () => giveUp(f));
	f.set(walk.xd, op("i32Or", f.get(walk.xd), upper));
	const low = f.let(op("i32WrapI64", entry));
	f.set(walk.rights, op("i32And", f.get(walk.rights), low));
	f.set(walk.leaf, low);
	if (largeShift > 12)
		f.if(op("i32And", low, i32(PS)), () => {
			const within = 2 ** largeShift - 1;
			// Between the PAT bit and the address, bits are reserved.
			f.if(op("i32And", low, i32(within & ~0x1fff)), () => giveUp(f));
			f.set(walk.page, op("i32Or", op("i32And", low, i32(~within)), op("i32And", walk.low, i32(within & -4096))));
			f.set(walk.shift, i32(largeShift));
			f.br(found);
		});
	else if (largeShift === 0) f.if(op("i32And", low, i32(PS)), () => giveUp(f));
	f.set(walk.table, op("i32And", low, i32(-4096)));
}

function walkLegacy(walk: Walk, found: Label): void {
	const { f, cpu, low } = walk;
	f.set(walk.table, op("i32And", loadOp("i32Load", cpu, at("cr3")), i32(-4096)));
	for (const shift of [22, 12]) {
		const host = hostOf(f, cpu, f.get(walk.table));
		const index = op("i32Shl", op("i32And", op("i32ShrU", low, i32(shift)), i32(1023)), i32(2));
		const entry = f.let(loadOp("i32Load", op("i32Add", host, index)));
		f.set(walk.rights, op("i32And", f.get(walk.rights), entry));
		f.set(walk.leaf, entry);
		if (shift === 22)
			f.if(op("i32And", entry, i32(PS)), () => {
				// Address bits above 4 GiB (PSE-36), and the reserved one.
				f.if(op("i32And", entry, i32(0x003f_e000)), () => giveUp(f));
				f.set(walk.page, op("i32Or", op("i32And", entry, i32(0xffc0_0000 | 0)), op("i32And", low, i32(0x003f_f000))));
				f.set(walk.shift, i32(22));
				f.br(found);
			});
		f.set(walk.table, op("i32And", entry, i32(-4096)));
	}
	f.set(walk.page, f.get(walk.table));
	f.br(found);
}

function walkPae(walk: Walk, found: Label): void {
	const { f, cpu, low } = walk;
	const pointer = f.let(loadOp("i64Load", op("i32Add", cpu, op("i32Shl", op("i32ShrU", low, i32(30)), i32(3))), at("pdpte")));
	f.if(op("i64Eqz", op("i64And", pointer, i64(P))), () => giveUp(f));
	f.if(op("i32WrapI64", op("i64ShrU", pointer, i64(32))), () => giveUp(f));
	f.set(walk.table, op("i32And", op("i32WrapI64", pointer), i32(-4096)));
	level64(walk, op("i32ShrU", low, i32(21)), 21, HIGH_PAE, found);
	level64(walk, op("i32ShrU", low, i32(12)), 12, HIGH_PAE, found);
	f.set(walk.page, f.get(walk.table));
	f.br(found);
}

function walkFourLevel(walk: Walk, linear: Expr, found: Label): void {
	const { f, cpu, low } = walk;
	f.if(isNonCanonical(linear), () => giveUp(f));
	const cr3 = f.let(loadOp("i64Load", cpu, at("cr3")));
	f.if(op("i32And", op("i32WrapI64", op("i64ShrU", cr3, i64(32))), i32(0xff)), () => giveUp(f));
	f.set(walk.table, op("i32And", op("i32WrapI64", cr3), i32(-4096)));
	level64(walk, op("i32WrapI64", op("i64ShrU", linear, i64(39))), 0, HIGH_FOUR_LEVEL, found);
	level64(walk, op("i32WrapI64", op("i64ShrU", linear, i64(30))), 30, HIGH_FOUR_LEVEL, found);
	level64(walk, op("i32ShrU", low, i32(21)), 21, HIGH_FOUR_LEVEL, found);
	level64(walk, op("i32ShrU", low, i32(12)), 12, HIGH_FOUR_LEVEL, found);
	f.set(walk.page, f.get(walk.table));
	f.br(found);
}

/** Enters the TLB entry (a word number within the CPU's block) in the journal of its kind, unless it is there. */
function enterJournal(f: FunctionBuilder, cpu: Expr, entry: Expr, notes: number, isGlobal: Expr): void {
	const journal = (membership: number, countAt: number, first: number) => {
		f.if(op("i32Eqz", op("i32And", f.get(notes), i32(membership))), () => {
			const count = f.let(loadOp("i32Load", cpu, countAt));
			f.store("i32Store", op("i32Add", cpu, op("i32Shl", count, i32(2))), op("i32ShrU", op("i32Sub", entry, cpu), i32(2)), first);
			f.store("i32Store", cpu, op("i32Add", count, i32(1)), countAt);
			f.set(notes, op("i32Or", f.get(notes), i32(membership)));
		});
	};
	f.if(
		isGlobal,
		() => journal(TLB_NOTE.inGlobal, at("globalCount"), TLB_GLOBAL),
		() => journal(TLB_NOTE.inLocal, at("localCount"), TLB_LOCAL),
	);
}

/** As TlbTables.#noteLarge and CodePages.add; the areas' flags stand at `large` and `huge`. */
function noteLarge(f: FunctionBuilder, cpu: Expr, low: Expr, high: Expr, shift: Expr, large: number, huge: number): void {
	const mark = (e: Expr) => {
		const area = op("i32And", op("i32Xor", op("i32ShrU", e, i32(21)), high), i32(1023));
		f.store("i32Store8", op("i32Add", cpu, area), i32(1), large);
	};
	f.if(
		op("i32Eq", shift, i32(30)),
		() => {
			const area = op("i32And", op("i32Or", op("i32ShrU", low, i32(30)), op("i32Shl", high, i32(2))), i32(63));
			f.store("i32Store8", op("i32Add", cpu, area), i32(1), huge);
		},
		() => {
			mark(low);
			f.if(op("i32Eq", shift, i32(22)), () => mark(op("i32Xor", low, i32(0x20_0000))));
		},
	);
}

/** The walk for `linear`: every entry present and accessed. Gives up (0) where there is anything unusual. */
function emitWalk(f: FunctionBuilder, cpu: Expr, linear: Expr, kind: Expr): Walk {
	f.if(op("i32Eqz", kind), () => giveUp(f));
	const low = f.let(op("i32WrapI64", linear));
	const walk: Walk = {
		...{ f, cpu, low },
		...{ rights: f.local("i32"), leaf: f.local("i32"), page: f.local("i32"), shift: f.local("i32"), table: f.local("i32") },
		...{ reservedXd: f.local("i32"), xd: f.local("i32") },
	};
	f.set(walk.rights, i32(-1));
	f.set(walk.shift, i32(12));
	f.set(walk.reservedXd, op("i32Shl", op("i32And", kind, i32(WALK.noXd)), i32(25)));
	f.set(walk.xd, i32(0));
	f.block((found) => {
		const is = (which: number) => op("i32Eq", op("i32And", kind, i32(WALK.kindMask)), i32(which));
		f.if(is(WALK.fourLevel), () => walkFourLevel(walk, linear, found));
		f.if(is(WALK.legacy), () => walkLegacy(walk, found));
		f.if(is(WALK.pae), () => walkPae(walk, found));
		// Paging is off.
		f.set(walk.leaf, i32(D));
		f.set(walk.page, op("i32And", low, i32(-4096)));
	});
	f.if(op("i32Ne", op("i32And", f.get(walk.rights), i32(P | A)), i32(P | A)), () => giveUp(f));
	return walk;
}

const isGlobalPage = ({ f, leaf }: Walk, kind: Expr): Expr =>
	f.let(op("i32And", op("i32Ne", op("i32And", f.get(leaf), i32(G)), i32(0)), op("i32Ne", op("i32And", kind, i32(WALK.global)), i32(0))));

/** (cpu, linear address, isWrite) → offset of the byte, its TLB entry filled; 0: not a walk for here, nothing has happened. */
defineCore("fillTlb", ["i32", "i64", "i32"], "i32", (f) => {
	const [cpu, linear, isWrite] = [f.param(0), f.param(1), f.param(2)];
	const kind = f.let(loadOp("i32Load", cpu, at("walkKind")));
	const walk = emitWalk(f, cpu, linear, kind);
	const { low } = walk;
	const rights = f.get(walk.rights);
	const page = f.get(walk.page);
	const tlb = f.let(op("i32Sub", loadOp("i32Load", cpu, at("tlbBase")), cpu));
	const isWritable = f.local("i32");
	f.set(isWritable, op("i32And", op("i32ShrU", rights, i32(1)), i32(1)));
	f.if(
		op("i32Eq", tlb, i32(TLB_USER)),
		() => f.if(op("i32Eqz", op("i32And", rights, i32(US))), () => giveUp(f)),
		() => {
			f.if(op("i32And", kind, i32(WALK.noProtect)), () => f.set(isWritable, i32(1)));
			// Without paging every page is as good as a user's, and SMAP does not apply.
			const isRefused = op("i32And", op("i32Eq", tlb, i32(TLB_KERNEL)), op("i32Ne", op("i32And", kind, i32(WALK.smap)), i32(0)));
			f.if(op("i32And", op("i32Ne", op("i32And", rights, i32(US)), i32(0)), isRefused), () => giveUp(f));
		},
	);
	const host = hostOf(f, cpu, page);
	const pageNumber = f.let(op("i32ShrU", page, i32(12)));
	const isPlain = op("i32Eq", loadOp("i32Load8U", pageNumber, RAM_FLAGS), i32(PAGE_FLAG.dirty));
	const hasCode = loadOp("i32Load8U", pageNumber, CODE_FLAGS);
	const isDirty = op("i32And", op("i32ShrU", f.get(walk.leaf), i32(6)), i32(1));
	const canWrite = f.let(op("i32And", op("i32And", f.get(isWritable), isDirty), op("i32And", isPlain, op("i32Eqz", hasCode))));
	f.if(op("i32And", isWrite, op("i32Eqz", canWrite)), () => giveUp(f));

	const entry = f.let(op("i32Add", op("i32Add", cpu, tlb), tlbSlot(low)));
	const tag = f.let(op("i64And", linear, i64(-4096)));
	f.store("i64Store", entry, tag, TLB_ENTRY.readTag);
	f.store("i64Store", entry, select(canWrite, tag, i64(-1)), TLB_ENTRY.writeTag);
	f.store("i32Store", entry, op("i32Sub", host, op("i32And", low, i32(-4096))), TLB_ENTRY.addend);
	const isGlobal = isGlobalPage(walk, kind);
	f.store("i32Store", entry, isGlobal, TLB_ENTRY.isGlobal);
	f.store("i32Store", entry, pageNumber, TLB_ENTRY.physPage);
	const notes = f.local("i32");
	const shift = f.get(walk.shift);
	f.set(notes, op("i32Or", op("i32And", loadOp("i32Load", entry, TLB_ENTRY.notes), i32(~TLB_NOTE.shiftMask)), shift));
	enterJournal(f, cpu, entry, notes, isGlobal);
	f.store("i32Store", entry, f.get(notes), TLB_ENTRY.notes);
	const high = f.let(op("i32WrapI64", op("i64ShrU", linear, i64(32))));
	f.if(high, () => {
		const number = op("i32DivU", op("i32Sub", tlb, i32(TLB_KERNEL)), i32(TLB_BYTES));
		f.store("i32Store8", op("i32Add", cpu, number), i32(1), TLB_HAS_HIGH);
	});
	f.if(op("i32GtU", shift, i32(12)), () => noteLarge(f, cpu, low, high, shift, TLB_LARGE_AREAS, TLB_HUGE_AREAS));
	f.return(op("i32Add", host, op("i32And", low, i32(4095))));
	f.unreachable();
});

/**
 * (cpu, linear address, tag of its page in the code TLB) → 1, the code TLB's entry filled; 0: not a walk for here. Instructions come from
 * physical pages of any kind.
 */
defineCore("fillCodeTlb", ["i32", "i64", "i64"], "i32", (f) => {
	const [cpu, linear, tag] = [f.param(0), f.param(1), f.param(2)];
	const kind = f.let(loadOp("i32Load", cpu, at("walkKind")));
	const walk = emitWalk(f, cpu, linear, kind);
	const { low } = walk;
	const isUserPage = op("i32And", f.get(walk.rights), i32(US));
	// Bit 31 of what was gathered is XD.
	f.if(op("i32LtS", f.get(walk.xd), i32(0)), () => giveUp(f));
	f.if(
		op("i32WrapI64", op("i64And", tag, i64(1))),
		() => f.if(op("i32Eqz", isUserPage), () => giveUp(f)),
		() => {
			const isPaging = op("i32Ne", op("i32And", kind, i32(WALK.kindMask)), i32(WALK.off));
			f.if(
				op("i32And", op("i32And", isPaging, op("i32Ne", isUserPage, i32(0))), op("i32Ne", op("i32And", kind, i32(WALK.smep)), i32(0))),
				() => giveUp(f),
			);
		},
	);
	const high = f.let(op("i32WrapI64", op("i64ShrU", linear, i64(32))));
	const number = f.let(op("i32ShrU", low, i32(12)));
	const entry = f.let(op("i32Add", cpu, codeTlbSlot(number)));
	const isGlobal = isGlobalPage(walk, kind);
	const seen = f.let(op("i32Add", cpu, op("i32Shl", op("i32And", op("i32Xor", number, high), i32(CODE_SEEN_ENTRIES - 1)), i32(2))));
	const mark = (stampAt: "codeLocalStamp" | "codeGlobalStamp", table: number) => {
		const stamp = f.let(loadOp("i32Load", cpu, at(stampAt)));
		f.store("i32Store", entry, stamp, CODE_TLB + CODE_TLB_ENTRY.stamp);
		f.if(op("i32Eq", f.get(walk.shift), i32(12)), () => f.store("i32Store", seen, stamp, table));
	};
	f.if(
		isGlobal,
		() => mark("codeGlobalStamp", CODE_SEEN_GLOBAL),
		() => {
			mark("codeLocalStamp", CODE_SEEN_LOCAL);
			f.if(op("i64Eqz", op("i64And", tag, i64(1))), () => f.store("i32Store", cpu, i32(1), at("hasLocalKernelCode")));
		},
	);
	f.store("i64Store", entry, tag, CODE_TLB + CODE_TLB_ENTRY.tag);
	f.store("i32Store", entry, op("i32ShrU", f.get(walk.page), i32(12)), CODE_TLB + CODE_TLB_ENTRY.physPage);
	const shift = f.get(walk.shift);
	f.if(op("i32GtU", shift, i32(12)), () => noteLarge(f, cpu, low, high, shift, CODE_LARGE_AREAS, CODE_HUGE_AREAS));
	f.return(i32(1));
	f.unreachable();
});

/** Offset of a page's entry from the code TLB's start. @param number linear address >> 12, its low 20 bits */
export function codeTlbSlot(number: Expr): Expr {
	return op("i32Shl", op("i32And", number, i32(CODE_TLB_ENTRIES - 1)), i32(Math.log2(CODE_TLB_ENTRY_BYTES)));
}

/** The access lies within a page. `request` is what slowLoad and its like take: bytes in bits 7:0. */
const isWithinPage = (linear: Expr, request: Expr): Expr =>
	op("i32LeU", op("i32Add", op("i32And", op("i32WrapI64", linear), i32(4095)), op("i32And", request, i32(0xff))), i32(4096));

/** Tries to fill the TLB and go on with `hit(host)`; falls through when that is not to be. */
function tryFill(f: FunctionBuilder, fill: number, isWrite: 0 | 1, hit: (host: Expr) => void): void {
	const [cpu, linear, request] = [f.param(0), f.param(1), f.param(2)];
	f.if(isWithinPage(linear, request), () => {
		const host = f.callLet(fill, "i32", [cpu, linear, i32(isWrite)]);
		f.if(host, () => hit(host));
	});
	f.store("i64Store", cpu, linear, at("arg0"));
}

/** A load missed the TLB: (cpu, linear, request) → offset of the data, 0 with a fault. See `Mmu.slowLoad`. */
defineCore("missLoad", ["i32", "i64", "i32"], "i32", (f, calls) => {
	tryFill(f, calls.index("fillTlb"), 0, (host) => f.return(host));
	f.returnCall(calls.index("slowLoad"), [f.param(0), f.param(2)]);
	f.unreachable();
});

/** A probe missed: (cpu, linear, request) → offset of plain RAM, −1, or 0 with a fault. See `Mmu.slowProbe`. */
defineCore("missProbe", ["i32", "i64", "i32"], "i32", (f, calls) => {
	tryFill(f, calls.index("fillTlb"), 1, (host) => f.return(host));
	f.returnCall(calls.index("slowProbe"), [f.param(0), f.param(2)]);
	f.unreachable();
});

/** A store missed, its data is in `scratch`: (cpu, linear, request) → STORE status. See `Mmu.slowStore`. */
defineCore("missStore", ["i32", "i64", "i32"], "i32", (f, calls) => {
	const cpu = f.param(0);
	tryFill(f, calls.index("fillTlb"), 1, (host) => {
		f.memoryCopy(host, op("i32Add", cpu, i32(at("scratch"))), op("i32And", f.param(2), i32(0xff)));
		f.return(i32(0));
	});
	f.returnCall(calls.index("slowStore"), [cpu, f.param(2)]);
	f.unreachable();
});
