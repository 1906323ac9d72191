import type { GuestMemory } from "../../machine/memory.ts";
import { decode } from "../../x86/decode/decode.ts";
import type { Insn, RelOperand } from "../../x86/decode/insn.ts";
import type { Block, BlockCache } from "../interpreter/block-cache.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { codeBitsOf, isLinearMode } from "../state/layout.ts";
import { CodeWindow } from "./code-window.ts";
import { findDominators, reversePostOrder } from "./dominators.ts";
import { targetsOf } from "./jump-targets.ts";

/** An instruction within a region; offsets count from the region's entry. */
export interface RegionInsn {
	readonly insn: Insn;
	readonly delta: number;
}

/** A basic block of a region. */
export interface RegionBlock {
	readonly delta: number;
	readonly insns: RegionInsn[];
	/** Where control may go within the region: the taken target first, then the fall-through; or the places a return may go to. */
	readonly successors: RegionBlock[];
	readonly predecessors: RegionBlock[];
	/** Offsets of the two ways out, whether or not the region holds them; undefined: computed, or left to a helper. */
	taken: number | undefined;
	fallThrough: number | undefined;
	/** It ends in a computed jump or call, or a near return, that may lead to these places in the region. */
	computed: readonly number[];
	/** Reverse post-order number. */
	order: number;
	immediateDominator: RegionBlock | undefined;
	readonly dominated: RegionBlock[];
}

/** The bytes of one physical page that a region's code was read from. */
export interface CodeExtent {
	/** Of the linear page, counted from the entry's. */
	readonly pageIndex: number;
	/** Physical address of the page. */
	readonly phys: number;
	/** Within the page. */
	firstByte: number;
	endByte: number;
}

export interface RegionGraph {
	readonly modeKey: number;
	readonly entry: RegionBlock;
	/** In reverse post-order. */
	readonly blocks: readonly RegionBlock[];
	readonly insnCount: number;
	readonly extents: readonly CodeExtent[];
	/** Where all of it stands. */
	readonly code: CodeWindow;
	/** Computed jumps note where they lead: the region may be made again, with that inside. */
	readonly notesTargets: boolean;
}

/** How far a region may reach. */
export interface RegionLimits {
	readonly insns: number;
	readonly blocks: number;
	/** Calls followed into their callees: each is one more place that the region's returns must compare with. */
	readonly calls: number;
}

/** For code that has just become hot: most of it will not stay so for long, and what is made must be quick to make. */
export const FIRST_LIMITS: RegionLimits = { insns: 300, blocks: 60, calls: 0 };
/** For code that time is really spent in (docs/decisions/0008). */
export const SECOND_LIMITS: RegionLimits = { insns: 800, blocks: 160, calls: 8 };

/** A callee joins its caller's region when it has run this part of what makes a block hot. */
const CALLEE_SHARE = 1 / 4;
/** Any other block, when it has run this part of it: code that ran once at start is not worth carrying. */
const BLOCK_SHARE = 1 / 8;

/**
 * Gathers the code that runs from `block` by direct jumps and calls, as far as it has run before (what never ran stays out: its
 * edges leave the region) and as far as no other region begins there. `lo` and `hi` are the linear address that it has now. Returns undefined
 * where the code cannot be had.
 */
export function buildGraph(
	memory: GuestMemory,
	cache: BlockCache,
	mmu: Mmu,
	block: Block,
	lo: number,
	hi: number,
	limits: RegionLimits,
	isEntry: (phys: number) => boolean = () => false,
	/** Other regions have a block there, which runs as part of them: how often is not known. */
	isWithin: (phys: number) => boolean = () => false,
): RegionGraph | undefined {
	const { modeKey } = block;
	const codeBits = codeBitsOf(modeKey);
	// Addresses wrap early in 16-bit code, and limits are checked page by page at best.
	const isRoaming = isLinearMode(modeKey);
	const pages = new CodeWindow(memory, mmu, block.phys, lo, hi, isRoaming);
	const insns = new Map<number, Insn>();
	const leaders = new Set<number>([0]);
	const returnSites = new Set<number>();
	const callees = new Set<number>();
	/** By offset of a computed jump or call: the places that it may go on at within the region. */
	const computed = new Map<number, readonly number[]>();
	const work: number[] = [0];
	const runsAt = (delta: number): number => {
		const phys = pages.physAt(delta);
		if (phys < 0) return 0;
		return isWithin(phys) ? Number.POSITIVE_INFINITY : cache.runsAt(phys, modeKey);
	};
	const hotAfter = cache.hotAfter(modeKey);
	const fewestRuns = Math.max(1, hotAfter * BLOCK_SHARE);
	const calleeRuns = hotAfter * CALLEE_SHARE;
	const lead = (delta: number): boolean => {
		if (leaders.has(delta)) return true;
		if (leaders.size >= limits.blocks || runsAt(delta) < fewestRuns) return false;
		leaders.add(delta);
		return true;
	};
	/** Takes in the code that a computed jump or call was seen to lead to. */
	const follow = (delta: number, { row, modrm }: Insn, next: number): void => {
		const isCall = row.flow === "call";
		if (isCall && (returnSites.size >= limits.calls || !lead(next))) return;
		const targets = targetsOf(memory, pages.physAt(delta), modrm)
			.map((distance) => delta + distance)
			.filter((target) => runsAt(target) >= calleeRuns && lead(target));
		if (targets.length === 0) return;
		computed.set(delta, targets);
		work.push(...targets.filter((target) => !insns.has(target)));
		if (!isCall) return;
		returnSites.add(next);
		if (!insns.has(next)) work.push(next);
	};
	while (work.length > 0) {
		let delta = work.shift() as number;
		for (;;) {
			if (insns.has(delta) || insns.size >= limits.insns) break;
			if (delta !== 0 && isEntry(pages.physAt(delta))) break;
			const bytes = pages.bytesAt(delta);
			if (bytes === undefined) break;
			const decoded = decode(bytes.bytes, bytes.offset, bytes.count, codeBits);
			if (decoded.fault !== undefined || meaningOf(decoded) === undefined) break;
			insns.set(delta, decoded);
			pages.use(delta, decoded.lengthBytes);
			const next = delta + decoded.lengthBytes;
			const target = directTarget(decoded, delta);
			const { flow } = decoded.row;
			if (target !== undefined && (flow === "jcc" || flow === "jmp") && lead(target) && !insns.has(target)) work.push(target);
			if (flow === "call" && target !== undefined && isRoaming && returnSites.size < limits.calls && runsAt(target) >= calleeRuns) {
				if (lead(target) && lead(next)) {
					callees.add(delta);
					returnSites.add(next);
					if (!insns.has(target)) work.push(target);
					if (!insns.has(next)) work.push(next);
				}
			}
			if (limits.calls > 0 && isRoaming && isComputed(decoded)) follow(delta, decoded, next);
			if (flow === "jcc") {
				if (!lead(next)) break;
			} else if (flow !== "none") break;
			delta = next;
		}
	}
	if (!insns.has(0)) return undefined;
	const blocks = new Map<number, RegionBlock>();
	for (const leader of leaders) if (insns.has(leader)) blocks.set(leader, gather(leader, insns, leaders, callees));
	for (const block of blocks.values()) {
		const { insn, delta } = block.insns.at(-1) as RegionInsn;
		block.computed = insn.row.flow === "ret" ? [...returnSites] : (computed.get(delta) ?? []);
	}
	const ordered = link(blocks);
	const insnCount = ordered.reduce((sum, block) => sum + block.insns.length, 0);
	return {
		modeKey,
		entry: ordered[0] as RegionBlock,
		blocks: ordered,
		insnCount,
		extents: pages.extents,
		code: pages,
		notesTargets: limits.calls === 0,
	};
}

/** A near jump or call to an address from a register or memory. */
function isComputed({ mnemonic, operands }: Insn): boolean {
	return (mnemonic === "JMP" || mnemonic === "CALL") && operands[0]?.kind !== "rel";
}

/** Offset of a direct near branch's target from the region's entry. */
export function directTarget(insn: Insn, delta: number): number | undefined {
	const operand = insn.operands[0];
	if (operand?.kind !== "rel") return undefined;
	// A target cut to 16 bits is left to the dispatcher.
	if (insn.opBytes === 2) return undefined;
	return delta + insn.lengthBytes + (operand as RelOperand).disp;
}

/** Joins the blocks to those that they lead to. Returns those that can be reached, in reverse post-order. */
function link(blocks: ReadonlyMap<number, RegionBlock>): RegionBlock[] {
	for (const block of blocks.values()) {
		const last = block.insns.at(-1) as RegionInsn;
		if (last.insn.row.flow === "sys" || last.insn.row.flow === "int") continue;
		for (const way of block.computed.length > 0 ? block.computed : [block.taken, block.fallThrough]) {
			const successor = way === undefined ? undefined : blocks.get(way);
			if (successor !== undefined && !block.successors.includes(successor)) block.successors.push(successor);
		}
	}
	const ordered = reversePostOrder(blocks.get(0) as RegionBlock);
	for (const block of ordered) for (const successor of block.successors) successor.predecessors.push(block);
	findDominators(ordered);
	return ordered;
}

function gather(leader: number, insns: Map<number, Insn>, leaders: ReadonlySet<number>, callees: ReadonlySet<number>): RegionBlock {
	const block: RegionBlock = {
		delta: leader,
		insns: [],
		successors: [],
		predecessors: [],
		taken: undefined,
		fallThrough: undefined,
		computed: [],
		order: -1,
		immediateDominator: undefined,
		dominated: [],
	};
	let delta = leader;
	for (;;) {
		const insn = insns.get(delta);
		if (insn === undefined) {
			block.fallThrough = delta;
			return block;
		}
		block.insns.push({ insn, delta });
		const next = delta + insn.lengthBytes;
		const { flow } = insn.row;
		if (flow === "jcc" || flow === "jmp" || callees.has(delta)) block.taken = directTarget(insn, delta);
		// INTO may fall through as well.
		if (flow === "jcc" || flow === "sys" || flow === "int") block.fallThrough = next;
		if (flow !== "none") return block;
		delta = next;
		if (leaders.has(delta)) {
			block.fallThrough = delta;
			return block;
		}
	}
}
