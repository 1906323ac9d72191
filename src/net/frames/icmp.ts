import { writeU16, writeU32 } from "./address.ts";
import { internetChecksum, sumWords } from "./checksum.ts";

export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_ECHO_REQUEST = 8;
export const ICMP_TIME_EXCEEDED = 11;

export const UNREACHABLE_NET = 0;
export const UNREACHABLE_HOST = 1;
export const UNREACHABLE_PORT = 3;
export const UNREACHABLE_FRAGMENTATION_NEEDED = 4;
/** "Communication administratively prohibited" (RFC 1812 §5.2.7.1). */
export const UNREACHABLE_PROHIBITED = 13;

export interface IcmpMessage {
	readonly type: number;
	readonly code: number;
	/** The second word: identifier and sequence number, or unused and next-hop MTU (RFC 1191 §4). */
	readonly rest: number;
	readonly body: Uint8Array;
}

/** `undefined` when short or with a wrong checksum (RFC 792). */
export function parseIcmp(bytes: Uint8Array): IcmpMessage | undefined {
	if (bytes.length < 8 || sumWords(bytes) !== 0xffff) return undefined;
	const rest = ((bytes[4]! << 24) | (bytes[5]! << 16) | (bytes[6]! << 8) | bytes[7]!) >>> 0;
	return { type: bytes[0]!, code: bytes[1]!, rest, body: bytes.subarray(8) };
}

export function buildIcmp(message: IcmpMessage): Uint8Array {
	const bytes = new Uint8Array(8 + message.body.length);
	bytes[0] = message.type;
	bytes[1] = message.code;
	writeU32(bytes, 4, message.rest);
	bytes.set(message.body, 8);
	writeU16(bytes, 2, internetChecksum(bytes));
	return bytes;
}

/** Error messages are never answered with errors (RFC 1122 §3.2.2). */
export function isIcmpError(type: number): boolean {
	return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}
