import { PAGE_BYTES } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { decode } from "../../x86/decode/decode.ts";
import type { CodeBits, Insn, RelOperand } from "../../x86/decode/insn.ts";
import type { BlockCache } from "../interpreter/block-cache.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { MODE } from "../state/layout.ts";

/** An instruction within a region; offsets count from the region's entry. */
export interface RegionInsn {
	readonly insn: Insn;
	readonly delta: number;
}

/** A basic block of a region. */
export interface RegionBlock {
	readonly delta: number;
	readonly insns: RegionInsn[];
	/** Where control may go within the region: the taken target first, then the fall-through. */
	readonly successors: RegionBlock[];
	readonly predecessors: RegionBlock[];
	/** Offsets of the two ways out, whether or not the region holds them; undefined: computed, or left to a helper. */
	taken: number | undefined;
	fallThrough: number | undefined;
	/** Reverse post-order number. */
	order: number;
	immediateDominator: RegionBlock | undefined;
	readonly dominated: RegionBlock[];
}

export interface RegionGraph {
	readonly phys: number;
	readonly modeKey: number;
	readonly entry: RegionBlock;
	/** In reverse post-order. */
	readonly blocks: readonly RegionBlock[];
	readonly insnCount: number;
	/** Physical byte range that the code was read from. */
	readonly firstByte: number;
	readonly endByte: number;
}

const MAX_INSNS = 400;
const MAX_BLOCKS = 80;
const CODE_BITS: readonly CodeBits[] = [16, 32, 64, 64];

/**
 * Gathers the code that runs from `phys` by direct jumps within its page, as far as it has run before (what never ran stays
 * out: its edges leave the region). Returns undefined where the first instruction cannot be had whole.
 */
export function buildGraph(memory: GuestMemory, cache: BlockCache, phys: number, modeKey: number): RegionGraph | undefined {
	const page = memory.pageAt(phys);
	if (page.kind !== "ram" && page.kind !== "rom") return undefined;
	const codeBits = CODE_BITS[modeKey & MODE.codeMask] as CodeBits;
	const within = phys % PAGE_BYTES;
	const inPage = (delta: number) => within + delta >= 0 && within + delta < PAGE_BYTES;
	const insns = new Map<number, Insn>();
	const leaders = new Set<number>([0]);
	const work: number[] = [0];
	const hasRun = (delta: number) => cache.at(phys + delta, modeKey) !== undefined;
	let count = 0;
	while (work.length > 0) {
		let delta = work.shift() as number;
		for (;;) {
			if (insns.has(delta) || count >= MAX_INSNS || !inPage(delta)) break;
			const decoded = decode(memory.bytes, page.hostOffset + within + delta, PAGE_BYTES - within - delta, codeBits);
			if (decoded.fault !== undefined || meaningOf(decoded) === undefined) break;
			insns.set(delta, decoded);
			count++;
			const next = delta + decoded.lengthBytes;
			const target = directTarget(decoded, delta);
			const { flow } = decoded.row;
			if (target !== undefined && (flow === "jcc" || flow === "jmp") && inPage(target) && leaders.size < MAX_BLOCKS) {
				if (leaders.has(target) || hasRun(target) || target === 0) {
					leaders.add(target);
					if (!insns.has(target)) work.push(target);
				}
			}
			if (flow === "jcc") {
				if (!inPage(next) || !(leaders.has(next) || hasRun(next)) || leaders.size >= MAX_BLOCKS) break;
				leaders.add(next);
			} else if (flow !== "none") break;
			delta = next;
		}
	}
	if (!insns.has(0)) return undefined;
	return link(phys, modeKey, insns, leaders);
}

/** Offset of a direct near branch's target from the region's entry. */
export function directTarget(insn: Insn, delta: number): number | undefined {
	const operand = insn.operands[0];
	if (operand?.kind !== "rel") return undefined;
	// A target cut to 16 bits is left to the dispatcher.
	if (insn.opBytes === 2) return undefined;
	return delta + insn.lengthBytes + (operand as RelOperand).disp;
}

function link(phys: number, modeKey: number, insns: Map<number, Insn>, leaders: ReadonlySet<number>): RegionGraph {
	const blocks = new Map<number, RegionBlock>();
	for (const leader of leaders) {
		if (!insns.has(leader)) continue;
		const block: RegionBlock = {
			delta: leader,
			insns: [],
			successors: [],
			predecessors: [],
			taken: undefined,
			fallThrough: undefined,
			order: -1,
			immediateDominator: undefined,
			dominated: [],
		};
		let delta = leader;
		for (;;) {
			const insn = insns.get(delta);
			if (insn === undefined) {
				block.fallThrough = delta;
				break;
			}
			block.insns.push({ insn, delta });
			const next = delta + insn.lengthBytes;
			const { flow } = insn.row;
			if (flow === "jcc" || flow === "jmp") block.taken = directTarget(insn, delta);
			// INTO may fall through as well.
			if (flow === "jcc" || flow === "sys" || flow === "int") block.fallThrough = next;
			if (flow !== "none") break;
			delta = next;
			if (leaders.has(delta)) {
				block.fallThrough = delta;
				break;
			}
		}
		blocks.set(leader, block);
	}
	for (const block of blocks.values()) {
		const last = block.insns.at(-1) as RegionInsn;
		if (last.insn.row.flow === "sys" || last.insn.row.flow === "int") continue;
		for (const way of [block.taken, block.fallThrough]) {
			const successor = way === undefined ? undefined : blocks.get(way);
			if (successor !== undefined && !block.successors.includes(successor)) block.successors.push(successor);
		}
	}
	const ordered = reversePostOrder(blocks.get(0) as RegionBlock);
	for (const block of ordered) for (const successor of block.successors) successor.predecessors.push(block);
	findDominators(ordered);
	let firstByte = phys;
	let endByte = phys;
	let insnCount = 0;
	for (const block of ordered)
		for (const { insn, delta } of block.insns) {
			insnCount++;
			firstByte = Math.min(firstByte, phys + delta);
			endByte = Math.max(endByte, phys + delta + insn.lengthBytes);
		}
	return { phys, modeKey, entry: ordered[0] as RegionBlock, blocks: ordered, insnCount, firstByte, endByte };
}

function reversePostOrder(entry: RegionBlock): RegionBlock[] {
	const order: RegionBlock[] = [];
	const seen = new Set<RegionBlock>([entry]);
	const stack: { block: RegionBlock; next: number }[] = [{ block: entry, next: 0 }];
	while (stack.length > 0) {
		const top = stack.at(-1) as { block: RegionBlock; next: number };
		const successor = top.block.successors[top.next++];
		if (successor === undefined) {
			order.push(top.block);
			stack.pop();
		} else if (!seen.has(successor)) {
			seen.add(successor);
			stack.push({ block: successor, next: 0 });
		}
	}
	order.reverse();
	for (const [i, block] of order.entries()) block.order = i;
	return order;
}

/** Immediate dominators by iteration to a fixed point (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"). */
function findDominators(ordered: readonly RegionBlock[]): void {
	const entry = ordered[0] as RegionBlock;
	entry.immediateDominator = entry;
	const meet = (a: RegionBlock, b: RegionBlock): RegionBlock => {
		while (a !== b) {
			while (a.order > b.order) a = a.immediateDominator as RegionBlock;
			while (b.order > a.order) b = b.immediateDominator as RegionBlock;
		}
		return a;
	};
	for (let changed = true; changed; ) {
		changed = false;
		for (const block of ordered) {
			if (block === entry) continue;
			let dominator: RegionBlock | undefined;
			for (const predecessor of block.predecessors)
				if (predecessor.immediateDominator !== undefined) dominator = dominator === undefined ? predecessor : meet(predecessor, dominator);
			if (dominator !== block.immediateDominator) {
				block.immediateDominator = dominator;
				changed = true;
			}
		}
	}
	for (const block of ordered) if (block !== entry) block.immediateDominator?.dominated.push(block);
	entry.immediateDominator = undefined;
}

export function dominates(a: RegionBlock, b: RegionBlock): boolean {
	for (let at: RegionBlock | undefined = b; at !== undefined; at = at.immediateDominator) if (at === a) return true;
	return false;
}
