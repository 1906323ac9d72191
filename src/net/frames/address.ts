/** A MAC address as a whole number below 2^48, first octet most significant. */
export type Mac = number;
/** An IPv4 address as an unsigned 32-bit number, first octet most significant. */
export type Ipv4 = number;

export const BROADCAST_MAC: Mac = 0xffff_ffff_ffff;
export const BROADCAST_IPV4: Ipv4 = 0xffff_ffff;

export function readU16(bytes: Uint8Array, offset: number): number {
	return (bytes[offset]! << 8) | bytes[offset + 1]!;
}

export function readU32(bytes: Uint8Array, offset: number): number {
	return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0;
}

export function writeU16(bytes: Uint8Array, offset: number, value: number): void {
	bytes[offset] = value >>> 8;
	bytes[offset + 1] = value;
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
	bytes[offset] = value >>> 24;
	bytes[offset + 1] = value >>> 16;
	bytes[offset + 2] = value >>> 8;
	bytes[offset + 3] = value;
}

export function readMac(bytes: Uint8Array, offset: number): Mac {
	return readU16(bytes, offset) * 0x1_0000_0000 + readU32(bytes, offset + 2);
}

export function writeMac(bytes: Uint8Array, offset: number, mac: Mac): void {
	writeU16(bytes, offset, Math.floor(mac / 0x1_0000_0000));
	writeU32(bytes, offset + 2, mac >>> 0);
}

/** The group bit (IEEE 802-2014 §8.2.2): multicast and broadcast. */
export function isGroupMac(mac: Mac): boolean {
	return (Math.floor(mac / 0x100_0000_0000) & 1) === 1;
}

export function formatMac(mac: Mac): string {
	const hex = mac.toString(16).padStart(12, "0");
	return (hex.match(/../g) as string[]).join(":");
}

/** `undefined` when `text` is not six octets in hexadecimal, joined by `:` or `-`. */
export function parseMac(text: string): Mac | undefined {
	const match = /^([0-9a-f]{2})([:-])([0-9a-f]{2})(?:\2[0-9a-f]{2}){4}$/i.exec(text);
	return match === null ? undefined : Number.parseInt(text.replace(/[:-]/g, ""), 16);
}

export function formatIpv4(address: Ipv4): string {
	return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** `undefined` when `text` is not four decimal octets; leading zeros are refused, since readers disagree on them. */
export function parseIpv4Address(text: string): Ipv4 | undefined {
	const parts = text.split(".");
	if (parts.length !== 4) return undefined;
	let address = 0;
	for (const part of parts) {
		if (!/^(0|[1-9]\d{0,2})$/.test(part)) return undefined;
		const octet = Number(part);
		if (octet > 255) return undefined;
		address = address * 256 + octet;
	}
	return address;
}

/** An address with its prefix length: `10.0.10.1/24`. */
export interface Ipv4Prefix {
	readonly address: Ipv4;
	readonly lengthBits: number;
}

export function parseIpv4Prefix(text: string): Ipv4Prefix | undefined {
	const [head = "", tail, ...rest] = text.split("/");
	const address = parseIpv4Address(head);
	if (address === undefined || rest.length > 0) return undefined;
	if (tail === undefined) return { address, lengthBits: 32 };
	if (!/^\d{1,2}$/.test(tail) || Number(tail) > 32) return undefined;
	return { address, lengthBits: Number(tail) };
}

export function netmask(lengthBits: number): Ipv4 {
	return lengthBits === 0 ? 0 : (0xffff_ffff << (32 - lengthBits)) >>> 0;
}

export function isInPrefix(address: Ipv4, prefix: Ipv4Prefix): boolean {
	return ((address ^ prefix.address) & netmask(prefix.lengthBits)) === 0;
}

/** 127/8, 0/8, 224/4 and 240/4 are never a host on a wire (RFC 1122 §3.2.1.3, RFC 5771). */
export function isUnicastIpv4(address: Ipv4): boolean {
	const first = address >>> 24;
	return first !== 0 && first !== 127 && first < 224;
}
