import { type Document, isMap, isNode, isPair, isScalar, isSeq, type LineCounter, type Node, type Pair } from "yaml";

export interface Position {
	/** From 1. */
	readonly line: number;
	readonly column: number;
}

/** Where the key or the value at `path` stands; for what is not there, where the innermost thing around it does. */
export function positionOf(document: Document, lines: LineCounter, path: readonly string[], at: "key" | "value"): Position {
	let here: unknown = document.contents;
	let key: unknown;
	let isFound = true;
	for (const step of path) {
		const next = descend(here, step);
		if (next === undefined) {
			isFound = false;
			break;
		}
		[key, here] = [next.key ?? next.value, next.value];
	}
	// What is missing is told of where it should be: at the key of the map that lacks it.
	const wanted = at === "key" || !isFound || !isPresent(here) ? (key ?? here) : here;
	const offset = isNode(wanted) ? (wanted.range?.[0] ?? 0) : 0;
	const { line, col } = lines.linePos(offset);
	return { line, column: col };
}

function isPresent(node: unknown): boolean {
	return isNode(node) && !(isScalar(node) && node.value === null);
}

function descend(node: unknown, step: string): { key: unknown; value: unknown } | undefined {
	if (isSeq(node)) {
		const value = node.items[Number(step)];
		return value === undefined ? undefined : { key: undefined, value };
	}
	if (!isMap(node)) return undefined;
	const pair = node.items.find((each): each is Pair<Node, Node> => isPair(each) && keyText(each.key) === step);
	return pair === undefined ? undefined : { key: pair.key, value: pair.value };
}

function keyText(key: unknown): string {
	return isScalar(key) ? String(key.value) : "";
}
