import { type Ipv4, type Mac, readMac, readU16, readU32, writeMac, writeU16, writeU32 } from "./address.ts";
import { ETHERTYPE_IPV4 } from "./ethernet.ts";

export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;
const ARP_BYTES = 28;
const HARDWARE_ETHERNET = 1;

/** ARP for IPv4 over Ethernet (RFC 826). */
export interface ArpPacket {
	readonly operation: number;
	readonly senderMac: Mac;
	readonly senderIp: Ipv4;
	readonly targetMac: Mac;
	readonly targetIp: Ipv4;
}

/** `undefined` for anything but whole IPv4-over-Ethernet ARP. */
export function parseArp(bytes: Uint8Array): ArpPacket | undefined {
	if (bytes.length < ARP_BYTES) return undefined;
	if (readU16(bytes, 0) !== HARDWARE_ETHERNET || readU16(bytes, 2) !== ETHERTYPE_IPV4) return undefined;
	if (bytes[4] !== 6 || bytes[5] !== 4) return undefined;
	return {
		operation: readU16(bytes, 6),
		senderMac: readMac(bytes, 8),
		senderIp: readU32(bytes, 14),
		targetMac: readMac(bytes, 18),
		targetIp: readU32(bytes, 24),
	};
}

export function buildArp(packet: ArpPacket): Uint8Array {
	const bytes = new Uint8Array(ARP_BYTES);
	writeU16(bytes, 0, HARDWARE_ETHERNET);
	writeU16(bytes, 2, ETHERTYPE_IPV4);
	bytes[4] = 6;
	bytes[5] = 4;
	writeU16(bytes, 6, packet.operation);
	writeMac(bytes, 8, packet.senderMac);
	writeU32(bytes, 14, packet.senderIp);
	writeMac(bytes, 18, packet.targetMac);
	writeU32(bytes, 24, packet.targetIp);
	return bytes;
}
