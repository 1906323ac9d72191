import { readU16, writeU16 } from "../frames/address.ts";
import { internetChecksum } from "../frames/checksum.ts";
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN } from "../frames/ethernet.ts";

/** Where the network layer begins and what it is; tags are passed over. */
function networkLayer(frame: Uint8Array): { readonly etherType: number; readonly offset: number } | undefined {
	let offset = 14;
	for (let tags = 0; tags < 3 && offset <= frame.length; tags++) {
		const etherType = readU16(frame, offset - 2);
		if (etherType !== ETHERTYPE_VLAN && etherType !== ETHERTYPE_QINQ) return { etherType, offset };
		offset += 4;
	}
	return undefined;
}

/** A copy marked "congestion experienced" (RFC 3168 §5), or `undefined` where the sender has not said it understands. */
export function withCongestionMark(frame: Uint8Array): Uint8Array | undefined {
	const network = networkLayer(frame);
	if (network === undefined) return undefined;
	const at = network.offset;
	if (network.etherType === ETHERTYPE_IPV4 && frame.length >= at + 20) {
		if ((frame[at + 1]! & 3) === 0) return undefined;
		const marked = frame.slice();
		marked[at + 1]! |= 3;
		writeU16(marked, at + 10, 0);
		writeU16(marked, at + 10, internetChecksum(marked, at, Math.min(marked.length, at + (marked[at]! & 15) * 4)));
		return marked;
	}
	if (network.etherType === ETHERTYPE_IPV6 && frame.length >= at + 40) {
		if ((frame[at + 1]! & 0x30) === 0) return undefined;
		const marked = frame.slice();
		marked[at + 1]! |= 0x30;
		return marked;
	}
	return undefined;
}

/** A number that is the same for all frames of one flow: addresses, protocol and ports, or the Ethernet addresses. */
export function flowHash(frame: Uint8Array, seed: number): number {
	let hash = seed | 0;
	const mix = (from: number, to: number) => {
		for (let at = from; at < to && at < frame.length; at++) hash = Math.imul(hash ^ frame[at]!, 0x0100_0193);
	};
	const network = networkLayer(frame);
	const at = network?.offset ?? 14;
	if (network?.etherType === ETHERTYPE_IPV4 && frame.length >= at + 20) {
		mix(at + 9, at + 10);
		mix(at + 12, at + 20);
		const isFragment = (readU16(frame, at + 6) & 0x3fff) !== 0;
		const ports = at + (frame[at]! & 15) * 4;
		if (!isFragment && (frame[at + 9] === 6 || frame[at + 9] === 17)) mix(ports, ports + 4);
	} else if (network?.etherType === ETHERTYPE_IPV6 && frame.length >= at + 40) {
		mix(at + 6, at + 7);
		mix(at + 8, at + 40);
		if (frame[at + 6] === 6 || frame[at + 6] === 17) mix(at + 40, at + 44);
	} else mix(0, 14);
	// FNV's low bits are weak: fold the high ones in.
	hash ^= hash >>> 16;
	hash = Math.imul(hash, 0x85eb_ca6b);
	return (hash ^ (hash >>> 13)) >>> 0;
}
