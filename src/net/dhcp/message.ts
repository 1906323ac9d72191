import { type Ipv4, type Mac, readMac, readU16, readU32, writeMac, writeU16, writeU32 } from "../frames/address.ts";

// RFC 2131 §2, RFC 2132.
const FIXED_BYTES = 236;
const MAGIC_COOKIE = 0x6382_5363;
/** BOOTP's shortest message (RFC 1542 §2.1): some clients refuse less. */
const MIN_MESSAGE_BYTES = 300;

export const DHCP_DISCOVER = 1;
export const DHCP_OFFER = 2;
export const DHCP_REQUEST = 3;
export const DHCP_DECLINE = 4;
export const DHCP_ACK = 5;
export const DHCP_NAK = 6;
export const DHCP_RELEASE = 7;
export const DHCP_INFORM = 8;

export const OPTION_MASK = 1;
export const OPTION_ROUTER = 3;
export const OPTION_DNS = 6;
export const OPTION_HOST_NAME = 12;
export const OPTION_DOMAIN = 15;
export const OPTION_MTU = 26;
export const OPTION_BROADCAST = 28;
export const OPTION_REQUESTED_ADDRESS = 50;
export const OPTION_LEASE = 51;
export const OPTION_MESSAGE_TYPE = 53;
export const OPTION_SERVER = 54;
export const OPTION_PARAMETERS = 55;
export const OPTION_RENEWAL = 58;
export const OPTION_REBINDING = 59;
export const OPTION_BOOT_FILE = 67;
export const OPTION_SEARCH = 119;

export interface DhcpMessage {
	/** 1 request, 2 reply. */
	readonly op: number;
	readonly transaction: number;
	readonly isBroadcast: boolean;
	readonly clientAddress: Ipv4;
	readonly yourAddress: Ipv4;
	readonly serverAddress: Ipv4;
	readonly relayAddress: Ipv4;
	readonly clientMac: Mac;
	readonly bootFile?: string | undefined;
	readonly options: ReadonlyMap<number, Uint8Array>;
}

/** `undefined` for anything but DHCP over Ethernet. Options that run over the end are left out. */
export function parseDhcp(bytes: Uint8Array): DhcpMessage | undefined {
	if (bytes.length < FIXED_BYTES + 4 || readU32(bytes, FIXED_BYTES) !== MAGIC_COOKIE) return undefined;
	if (bytes[1] !== 1 || bytes[2] !== 6) return undefined;
	const options = new Map<number, Uint8Array>();
	for (let at = FIXED_BYTES + 4; at < bytes.length; ) {
		const code = bytes[at]!;
		if (code === 255) break;
		if (code === 0) {
			at++;
			continue;
		}
		const lengthBytes = bytes[at + 1];
		if (lengthBytes === undefined || at + 2 + lengthBytes > bytes.length) break;
		if (!options.has(code)) options.set(code, bytes.slice(at + 2, at + 2 + lengthBytes));
		at += 2 + lengthBytes;
	}
	return {
		op: bytes[0]!,
		transaction: readU32(bytes, 4),
		isBroadcast: (readU16(bytes, 10) & 0x8000) !== 0,
		clientAddress: readU32(bytes, 12),
		yourAddress: readU32(bytes, 16),
		serverAddress: readU32(bytes, 20),
		relayAddress: readU32(bytes, 24),
		clientMac: readMac(bytes, 28),
		options,
	};
}

/** Options of more than 255 bytes are cut into several (RFC 3396). */
export function buildDhcp(message: DhcpMessage): Uint8Array {
	const options: number[] = [];
	for (const [code, value] of message.options)
		for (let at = 0; at === 0 || at < value.length; at += 255) {
			const part = value.subarray(at, at + 255);
			options.push(code, part.length, ...part);
		}
	options.push(255);
	const bytes = new Uint8Array(Math.max(MIN_MESSAGE_BYTES, FIXED_BYTES + 4 + options.length));
	bytes.set([message.op, 1, 6, 0]);
	writeU32(bytes, 4, message.transaction);
	writeU16(bytes, 10, message.isBroadcast ? 0x8000 : 0);
	writeU32(bytes, 12, message.clientAddress);
	writeU32(bytes, 16, message.yourAddress);
	writeU32(bytes, 20, message.serverAddress);
	writeU32(bytes, 24, message.relayAddress);
	writeMac(bytes, 28, message.clientMac);
	for (const [at, character] of [...(message.bootFile ?? "")].slice(0, 127).entries()) bytes[108 + at] = character.charCodeAt(0) & 127;
	writeU32(bytes, FIXED_BYTES, MAGIC_COOKIE);
	bytes.set(options, FIXED_BYTES + 4);
	return bytes;
}

export function addressOption(...addresses: readonly Ipv4[]): Uint8Array {
	const bytes = new Uint8Array(4 * addresses.length);
	for (const [index, address] of addresses.entries()) writeU32(bytes, 4 * index, address);
	return bytes;
}

export function u32Option(value: number): Uint8Array {
	const bytes = new Uint8Array(4);
	writeU32(bytes, 0, value);
	return bytes;
}
