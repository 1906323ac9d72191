import { BROADCAST_MAC, isGroupMac, readMac, readU16, readU32 } from "../../net/frames/address.ts";
import * as reg from "./registers.ts";

/** Bits of a multicast address that pick its place in the table, by RCTL.MO (§13.4.22). */
const HASH_SHIFTS = [4, 3, 2, 0] as const;
const MAX_FRAME_BYTES = 1514;
const MAX_TAGGED_FRAME_BYTES = 1518;

/** Whether the driver wants a frame: size, VLAN and address filters (§3.2.2, "Packet Address Filtering"). */
export function isWanted(frame: Uint8Array, register: (offset: number) => number): boolean {
	const rctl = register(reg.RCTL);
	const isTagged = readU16(frame, 12) === (register(reg.VET) & 0xffff);
	if ((rctl & reg.RCTL_LPE) === 0 && frame.length > (isTagged ? MAX_TAGGED_FRAME_BYTES : MAX_FRAME_BYTES)) return false;
	if (isTagged && (rctl & reg.RCTL_VFE) !== 0) {
		const id = readU16(frame, 14) & 0xfff;
		if (((register(reg.VFTA + 4 * (id >> 5)) >>> (id & 31)) & 1) === 0) return false;
	}
	const destination = readMac(frame, 0);
	if (destination === BROADCAST_MAC && (rctl & reg.RCTL_BAM) !== 0) return true;
	if ((rctl & (isGroupMac(destination) ? reg.RCTL_MPE : reg.RCTL_UPE)) !== 0) return true;
	for (let index = 0; index < reg.RECEIVE_ADDRESSES; index++) {
		const high = register(reg.RAH0 + 8 * index);
		if ((high & reg.RAH_AV) === 0) continue;
		if (register(reg.RAL0 + 8 * index) === swap32(readU32(frame, 0)) && (high & 0xffff) === (frame[4]! | (frame[5]! << 8))) return true;
	}
	if (!isGroupMac(destination)) return false;
	const hash = ((frame[4]! | (frame[5]! << 8)) >> HASH_SHIFTS[(rctl >> 12) & 3]!) & 0xfff;
	return ((register(reg.MTA + 4 * (hash >> 5)) >>> (hash & 31)) & 1) !== 0;
}

function swap32(value: number): number {
	return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}
