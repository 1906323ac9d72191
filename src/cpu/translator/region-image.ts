import { PAGE_BYTES } from "../../base/units.ts";
import { CALLEE, numberOfPlace, placeOfNumber } from "../../wasm/expr.ts";
import type { FunctionCode } from "../../wasm/function-code.ts";
import type { MemOperand } from "../../x86/decode/insn.ts";
import type { KeptPlace } from "../interpreter/kept-places.ts";
import { memoryOperand } from "../interpreter/record.ts";
import type { CodeWindow } from "./code-window.ts";
import { PLACE } from "./open-places.ts";
import type { RegionGraph, RegionInsn } from "./region-graph.ts";
import type { ExitSites } from "./region-sites.ts";

/** A region as another run may use it: its code, and all that this follows from. Offsets of guest code count from the entry. */
export interface RegionImage {
	readonly key: number;
	/** 1 or 2, as it was made. */
	readonly tier: 1 | 2;
	/** Pairs: offset and count of guest bytes that must be the same. Fields that the code leaves open lie between them. */
	readonly spans: ArrayLike<number>;
	/** Those bytes. */
	readonly guest: Uint8Array;
	/** As `FunctionCode` has them; of its open places, callees are numbers that the library has names for, fields are told by the offset of their four bytes. */
	readonly body: Uint8Array;
	readonly unlikely: ArrayLike<number>;
	readonly open: ArrayLike<number>;
	/** As `ExitSites` packs them. */
	readonly sites: ArrayLike<number>;
	/** Offsets of its blocks but the first. */
	readonly inner: ArrayLike<number>;
}

/** What can be told of an entry at once: where in its page it stands, the mode, and its first byte. */
export function keyOf(phys: number, modeKey: number, firstByte: number): number {
	return (phys % PAGE_BYTES) | (modeKey << 12) | (firstByte << 20);
}

/** What `keyOf` put together. */
export function placeOfKey(key: number): KeptPlace {
	return { offset: key % PAGE_BYTES, modeKey: (key >>> 12) & 0xff, firstByte: key >>> 20 };
}

const FIELD_BYTES = 4;
/** Bytes of immediates that may stand behind a displacement. */
const IMMEDIATES = [0, 1, 2, 4];

/** What a region becomes for others; undefined: it is of use only where it is. @param nameId number of a called function, by the number that the code has for it */
export function imageOf(
	graph: RegionGraph,
	tier: 1 | 2,
	code: FunctionCode,
	sites: ExitSites,
	nameId: (callee: number) => number,
): RegionImage | undefined {
	const { code: window, modeKey } = graph;
	const insns = new Map<number, RegionInsn>();
	for (const block of graph.blocks) for (const each of block.insns) insns.set(each.delta, each);
	const open = [...code.open];
	const fields = new Set<number>();
	for (let i = 1; i < open.length; i += 2) {
		const { kind, argument } = placeOfNumber(open[i] as number);
		if (kind === CALLEE) open[i] = numberOfPlace({ kind, argument: nameId(argument) });
		else if (kind !== PLACE.slot) {
			const field = fieldOf(insns.get(argument) as RegionInsn, kind, window);
			if (field === undefined) return undefined;
			fields.add(field);
			const number = numberOfPlace({ kind, argument: field });
			// A callee far away: offsets have to fit into a word of the library.
			if (number !== (number | 0)) return undefined;
			open[i] = number;
		}
	}
	const spans = spansOf([...insns.values()], fields);
	let total = 0;
	for (let i = 1; i < spans.length; i += 2) total += spans[i] as number;
	const guest = new Uint8Array(total);
	for (let i = 0, to = 0; i < spans.length; i += 2) {
		window.read(spans[i] as number, guest.subarray(to, to + (spans[i + 1] as number)));
		to += spans[i + 1] as number;
	}
	const inner = innerOf(graph);
	const key = keyOf(window.physAt(0), modeKey, window.uint8At(0));
	return { key, tier, spans, guest, body: code.bytes, unlikely: code.unlikely, open, sites: sites.packed, inner };
}

/** Offsets of a region's blocks but the first. */
export const innerOf = ({ blocks, entry }: RegionGraph): number[] => blocks.filter((each) => each !== entry).map(({ delta }) => delta);

/** Where the four bytes of what is left open stand; undefined: that cannot be told. */
function fieldOf({ insn, delta }: RegionInsn, kind: number, window: CodeWindow): number | undefined {
	const end = delta + insn.lengthBytes - FIELD_BYTES;
	if (kind !== PLACE.displacement) return end;
	const { disp } = memoryOperand(insn) as MemOperand;
	const found = IMMEDIATES.map((bytes) => end - bytes).filter((at) => at > delta && window.int32At(at) === (disp | 0));
	return found.length === 1 ? found[0] : undefined;
}

/** The instructions' bytes, without the fields. */
function spansOf(insns: RegionInsn[], fields: ReadonlySet<number>): number[] {
	const spans: number[] = [];
	const add = (first: number, end: number) => {
		const last = spans.length - 2;
		if (end <= first) return;
		if (last >= 0 && (spans[last] as number) + (spans[last + 1] as number) === first) spans[last + 1] = end - (spans[last] as number);
		else spans.push(first, end - first);
	};
	for (const { insn, delta } of insns.sort((a, b) => a.delta - b.delta)) {
		let first = delta;
		const end = delta + insn.lengthBytes;
		if (fields.size > 0)
			for (let at = delta; at < end; at++)
				if (fields.has(at)) {
					add(first, at);
					first = at + FIELD_BYTES;
				}
		add(first, end);
	}
	return spans;
}

/** Whether the guest has four bytes where an open place stands for some; they count as used. @param place one of an image's, as a number */
export function isFieldThere(place: number, window: CodeWindow): boolean {
	const { kind, argument } = placeOfNumber(place);
	return kind <= PLACE.slot || window.hasAny(argument, FIELD_BYTES);
}

/** Made of the same guest code. */
export function isSameCode(a: RegionImage, b: RegionImage): boolean {
	return a.tier === b.tier && areEqual(a.spans, b.spans) && areEqual(a.guest, b.guest);
}

function areEqual(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
	if (a.length !== b.length) return false;
	for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
	return true;
}

/** What goes into an open place that stands for a field. */
export function fieldValue(kind: number, field: number, window: CodeWindow): number {
	const value = window.int32At(field);
	return kind === PLACE.target ? value + field + FIELD_BYTES : value;
}
