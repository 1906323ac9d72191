/** What an L2 entry says about a cluster (section "L2 table entries"). */
export type Mapping =
	| { readonly kind: "unallocated" }
	/** Reads as zeros; `hostOffset` is 0 unless a cluster is set aside for it. */
	| { readonly kind: "zero"; readonly hostOffset: number }
	| { readonly kind: "data"; readonly hostOffset: number; readonly isCopied: boolean }
	/** `hostBytes` counts to the end of its last 512-byte sector. */
	| { readonly kind: "compressed"; readonly hostOffset: number; readonly hostBytes: number };

export const UNALLOCATED: Mapping = { kind: "unallocated" };
export const ZERO: Mapping = { kind: "zero", hostOffset: 0 };

const COPIED_HI = 0x8000_0000;
const COMPRESSED_HI = 0x4000_0000;
const ZERO_LO = 1;
const OFFSET_HI = 0x00ff_ffff;
const OFFSET_LO = 0xffff_fe00;
/** Bits of a plain entry that must be 0: 1–8 and 56–61. */
const RESERVED_HI = 0x3f00_0000;
const RESERVED_LO = 0x1fe;

/** An offset in an L1 entry, or 0. */
export function entryOffset(view: DataView, at: number): number {
	return (view.getUint32(at) & OFFSET_HI) * 2 ** 32 + ((view.getUint32(at + 4) & OFFSET_LO) >>> 0);
}

export function isCopied(view: DataView, at: number): boolean {
	return (view.getUint32(at) & COPIED_HI) !== 0;
}

/** @param at the entry's byte offset in its table */
export function readMapping(view: DataView, at: number, clusterBits: number): Mapping {
	const hi = view.getUint32(at);
	const lo = view.getUint32(at + 4);
	if ((hi & COMPRESSED_HI) !== 0) {
		// Section "Compressed Clusters Descriptor": offset below bit x, further sectors above it.
		const x = 62 - (clusterBits - 8);
		const descriptorHi = hi & 0x3fff_ffff;
		const hostOffset = (descriptorHi & (2 ** (x - 32) - 1)) * 2 ** 32 + lo;
		const sectors = Math.floor(descriptorHi / 2 ** (x - 32)) + 1;
		return { kind: "compressed", hostOffset, hostBytes: sectors * 512 - (hostOffset % 512) };
	}
	const hostOffset = (hi & OFFSET_HI) * 2 ** 32 + ((lo & OFFSET_LO) >>> 0);
	if ((lo & ZERO_LO) !== 0) return hostOffset === 0 ? ZERO : { kind: "zero", hostOffset };
	return hostOffset === 0 ? UNALLOCATED : { kind: "data", hostOffset, isCopied: (hi & COPIED_HI) !== 0 };
}

/** Whether bits are set that no version of the format gives a meaning. */
export function hasReservedBits(view: DataView, at: number): boolean {
	const hi = view.getUint32(at);
	return (hi & COMPRESSED_HI) === 0 && ((hi & RESERVED_HI) !== 0 || (view.getUint32(at + 4) & RESERVED_LO) !== 0);
}

export function writeMapping(view: DataView, at: number, mapping: Mapping, clusterBits: number): void {
	switch (mapping.kind) {
		case "unallocated":
			view.setBigUint64(at, 0n);
			break;
		case "zero":
			writeOffset(view, at, mapping.hostOffset, mapping.hostOffset !== 0, ZERO_LO);
			break;
		case "data":
			writeOffset(view, at, mapping.hostOffset, mapping.isCopied);
			break;
		case "compressed": {
			const x = 62 - (clusterBits - 8);
			const sectors = Math.ceil(((mapping.hostOffset % 512) + mapping.hostBytes) / 512) - 1;
			const hi = Math.floor(mapping.hostOffset / 2 ** 32) + sectors * 2 ** (x - 32);
			view.setUint32(at, (COMPRESSED_HI | hi) >>> 0);
			view.setUint32(at + 4, mapping.hostOffset % 2 ** 32);
		}
	}
}

/** An L1 entry, or a plain L2 entry. */
export function writeOffset(view: DataView, at: number, offset: number, isCopiedToo: boolean, flags = 0): void {
	view.setUint32(at, ((isCopiedToo ? COPIED_HI : 0) | Math.floor(offset / 2 ** 32)) >>> 0);
	view.setUint32(at + 4, ((offset % 2 ** 32) | flags) >>> 0);
}

/** Host clusters that a mapping occupies. */
export function clustersOf(mapping: Mapping, clusterBits: number): { readonly first: number; readonly count: number } {
	if (mapping.kind === "unallocated" || mapping.hostOffset === 0) return { first: 0, count: 0 };
	const clusterBytes = 2 ** clusterBits;
	const first = Math.floor(mapping.hostOffset / clusterBytes);
	if (mapping.kind !== "compressed") return { first, count: 1 };
	return { first, count: Math.floor((mapping.hostOffset + mapping.hostBytes - 1) / clusterBytes) - first + 1 };
}
