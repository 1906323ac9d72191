import { type Ipv4, readU16, readU32, writeU16, writeU32 } from "./address.ts";
import { internetChecksum, pseudoHeaderSum, sumWords } from "./checksum.ts";
import { PROTOCOL_TCP } from "./ipv4.ts";

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_HEADER_BYTES = 20;

export interface TcpOptions {
	/** Maximum segment size (RFC 9293 §3.7.1). */
	readonly mssBytes?: number | undefined;
	/** Window scale shift (RFC 7323 §2), 0…14. */
	readonly windowShift?: number | undefined;
	/** Selective acknowledgments are understood (RFC 2018 §2). */
	readonly sackPermitted?: boolean | undefined;
	/** Stretches that have come out of order, by sequence number. */
	readonly sack?: readonly { readonly start: number; readonly end: number }[] | undefined;
	/** Timestamps (RFC 7323 §3). */
	readonly timestamp?: { readonly value: number; readonly echo: number } | undefined;
}

export interface TcpSegment {
	readonly sourcePort: number;
	readonly destinationPort: number;
	readonly sequence: number;
	readonly acknowledgment: number;
	readonly flags: number;
	/** As on the wire, not scaled. */
	readonly window: number;
	readonly options: TcpOptions;
	readonly payload: Uint8Array;
}

/** `undefined` when lengths or checksum are wrong (RFC 9293 §3.1). Options that make no sense are passed over. */
export function parseTcp(bytes: Uint8Array, source: Ipv4, destination: Ipv4): TcpSegment | undefined {
	if (bytes.length < TCP_HEADER_BYTES) return undefined;
	const headerBytes = (bytes[12]! >>> 4) * 4;
	if (headerBytes < TCP_HEADER_BYTES || headerBytes > bytes.length) return undefined;
	if (sumWords(bytes, 0, bytes.length, pseudoHeaderSum(source, destination, PROTOCOL_TCP, bytes.length)) !== 0xffff) return undefined;
	return {
		sourcePort: readU16(bytes, 0),
		destinationPort: readU16(bytes, 2),
		sequence: readU32(bytes, 4),
		acknowledgment: readU32(bytes, 8),
		flags: bytes[13]!,
		window: readU16(bytes, 14),
		options: parseOptions(bytes.subarray(TCP_HEADER_BYTES, headerBytes)),
		payload: bytes.subarray(headerBytes),
	};
}

function parseOptions(bytes: Uint8Array): TcpOptions {
	const options: { -readonly [Key in keyof TcpOptions]: TcpOptions[Key] } = {};
	for (let at = 0; at < bytes.length; ) {
		const kind = bytes[at]!;
		if (kind === 0) break;
		if (kind === 1) {
			at++;
			continue;
		}
		const lengthBytes = bytes[at + 1] ?? 0;
		if (lengthBytes < 2 || at + lengthBytes > bytes.length) break;
		if (kind === 2 && lengthBytes === 4) options.mssBytes = readU16(bytes, at + 2);
		else if (kind === 3 && lengthBytes === 3) options.windowShift = Math.min(14, bytes[at + 2]!);
		else if (kind === 4 && lengthBytes === 2) options.sackPermitted = true;
		else if (kind === 5 && (lengthBytes - 2) % 8 === 0) options.sack = parseBlocks(bytes.subarray(at + 2, at + lengthBytes));
		else if (kind === 8 && lengthBytes === 10) options.timestamp = { value: readU32(bytes, at + 2), echo: readU32(bytes, at + 6) };
		at += lengthBytes;
	}
	return options;
}

function parseBlocks(bytes: Uint8Array): { start: number; end: number }[] {
	const blocks: { start: number; end: number }[] = [];
	for (let at = 0; at < bytes.length; at += 8) blocks.push({ start: readU32(bytes, at), end: readU32(bytes, at + 4) });
	return blocks;
}

function words(...values: readonly number[]): number[] {
	return values.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
}

function buildOptions(options: TcpOptions): number[] {
	const bytes: number[] = [];
	if (options.mssBytes !== undefined) bytes.push(2, 4, options.mssBytes >>> 8, options.mssBytes & 255);
	if (options.windowShift !== undefined) bytes.push(1, 3, 3, options.windowShift);
	if (options.sackPermitted === true) bytes.push(1, 1, 4, 2);
	if (options.timestamp !== undefined) bytes.push(1, 1, 8, 10, ...words(options.timestamp.value, options.timestamp.echo));
	if (options.sack !== undefined && options.sack.length > 0)
		bytes.push(1, 1, 5, 2 + 8 * options.sack.length, ...options.sack.flatMap(({ start, end }) => words(start, end)));
	return bytes;
}

export function buildTcp(segment: TcpSegment, source: Ipv4, destination: Ipv4): Uint8Array {
	const options = buildOptions(segment.options);
	const headerBytes = TCP_HEADER_BYTES + options.length;
	const bytes = new Uint8Array(headerBytes + segment.payload.length);
	writeU16(bytes, 0, segment.sourcePort);
	writeU16(bytes, 2, segment.destinationPort);
	writeU32(bytes, 4, segment.sequence);
	writeU32(bytes, 8, segment.acknowledgment);
	bytes[12] = (headerBytes / 4) << 4;
	bytes[13] = segment.flags;
	writeU16(bytes, 14, segment.window);
	bytes.set(options, TCP_HEADER_BYTES);
	bytes.set(segment.payload, headerBytes);
	writeU16(bytes, 16, internetChecksum(bytes, 0, bytes.length, pseudoHeaderSum(source, destination, PROTOCOL_TCP, bytes.length)));
	return bytes;
}
