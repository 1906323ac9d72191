import type { RegionBlock } from "./region-graph.ts";

/** The blocks that can be reached from `entry`, numbered; each comes before its successors, but for loops. */
export function reversePostOrder(entry: RegionBlock): RegionBlock[] {
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
export function findDominators(ordered: readonly RegionBlock[]): void {
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
