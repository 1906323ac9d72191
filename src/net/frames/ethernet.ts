import { type Mac, readMac, readU16, writeMac, writeU16 } from "./address.ts";

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_IPV6 = 0x86dd;
export const ETHERTYPE_QINQ = 0x88a8;

export const ETHERNET_HEADER_BYTES = 14;
export const VLAN_TAG_BYTES = 4;
/** Without the frame check sequence (IEEE 802.3-2018 §3.2.8: 64 with it). */
export const MIN_FRAME_BYTES = 60;

export interface VlanTag {
	readonly tpid: number;
	/** Priority code point, 0…7. */
	readonly priority: number;
	readonly isDropEligible: boolean;
	/** 0 = priority tag only; 4095 is reserved. */
	readonly id: number;
}

export interface EthernetFrame {
	readonly destination: Mac;
	readonly source: Mac;
	/** The outermost tag, when there is one. */
	readonly vlan: VlanTag | undefined;
	/** Below 1536 it is a length (IEEE 802.3-2018 §3.2.6) and an LLC header follows. */
	readonly etherType: number;
	/** A view, padding included. */
	readonly payload: Uint8Array;
}

/** `undefined` when too short to have a header (a runt). */
export function parseEthernet(frame: Uint8Array): EthernetFrame | undefined {
	if (frame.length < ETHERNET_HEADER_BYTES) return undefined;
	const vlan = vlanTag(frame);
	const at = vlan === undefined ? 12 : 16;
	if (frame.length < at + 2) return undefined;
	return {
		destination: readMac(frame, 0),
		source: readMac(frame, 6),
		vlan,
		etherType: readU16(frame, at),
		payload: frame.subarray(at + 2),
	};
}

/** The outermost tag, if the frame has a whole one. */
export function vlanTag(frame: Uint8Array): VlanTag | undefined {
	if (frame.length < ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES) return undefined;
	const tpid = readU16(frame, 12);
	if (tpid !== ETHERTYPE_VLAN && tpid !== ETHERTYPE_QINQ) return undefined;
	const control = readU16(frame, 14);
	return { tpid, priority: control >>> 13, isDropEligible: (control & 0x1000) !== 0, id: control & 0xfff };
}

/** Padded to the shortest legal frame, as a network card would. */
export function buildEthernet(fields: {
	destination: Mac;
	source: Mac;
	etherType: number;
	payload: Uint8Array;
	vlan?: VlanTag | undefined;
}): Uint8Array {
	const headerBytes = ETHERNET_HEADER_BYTES + (fields.vlan === undefined ? 0 : VLAN_TAG_BYTES);
	const frame = new Uint8Array(Math.max(MIN_FRAME_BYTES, headerBytes + fields.payload.length));
	writeMac(frame, 0, fields.destination);
	writeMac(frame, 6, fields.source);
	if (fields.vlan !== undefined) writeTag(frame, fields.vlan);
	writeU16(frame, headerBytes - 2, fields.etherType);
	frame.set(fields.payload, headerBytes);
	return frame;
}

/** A copy of `frame` with `tag` put before its type (and before any tag it has). */
export function withTag(frame: Uint8Array, tag: VlanTag): Uint8Array {
	const tagged = new Uint8Array(frame.length + VLAN_TAG_BYTES);
	tagged.set(frame.subarray(0, 12));
	writeTag(tagged, tag);
	tagged.set(frame.subarray(12), 16);
	return tagged;
}

/** A copy of `frame` without its outermost tag, padded again if that made it too short. */
export function withoutTag(frame: Uint8Array): Uint8Array {
	const untagged = new Uint8Array(Math.max(MIN_FRAME_BYTES, frame.length - VLAN_TAG_BYTES));
	untagged.set(frame.subarray(0, 12));
	untagged.set(frame.subarray(16), 12);
	return untagged;
}

function writeTag(frame: Uint8Array, tag: VlanTag): void {
	writeU16(frame, 12, tag.tpid);
	writeU16(frame, 14, (tag.priority << 13) | (tag.isDropEligible ? 0x1000 : 0) | tag.id);
}
