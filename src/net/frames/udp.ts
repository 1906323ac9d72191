import { type Ipv4, readU16, writeU16 } from "./address.ts";
import { internetChecksum, pseudoHeaderSum, sumWords } from "./checksum.ts";
import { PROTOCOL_UDP } from "./ipv4.ts";

export const UDP_HEADER_BYTES = 8;

export interface UdpDatagram {
	readonly sourcePort: number;
	readonly destinationPort: number;
	readonly payload: Uint8Array;
}

/** `undefined` when lengths or checksum are wrong; a checksum of 0 means none was made (RFC 768). */
export function parseUdp(bytes: Uint8Array, source: Ipv4, destination: Ipv4): UdpDatagram | undefined {
	if (bytes.length < UDP_HEADER_BYTES) return undefined;
	const lengthBytes = readU16(bytes, 4);
	if (lengthBytes < UDP_HEADER_BYTES || lengthBytes > bytes.length) return undefined;
	const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_UDP, lengthBytes);
	if (readU16(bytes, 6) !== 0 && sumWords(bytes, 0, lengthBytes, pseudo) !== 0xffff) return undefined;
	return {
		sourcePort: readU16(bytes, 0),
		destinationPort: readU16(bytes, 2),
		payload: bytes.subarray(UDP_HEADER_BYTES, lengthBytes),
	};
}

export function buildUdp(datagram: UdpDatagram, source: Ipv4, destination: Ipv4): Uint8Array {
	const bytes = new Uint8Array(UDP_HEADER_BYTES + datagram.payload.length);
	writeU16(bytes, 0, datagram.sourcePort);
	writeU16(bytes, 2, datagram.destinationPort);
	writeU16(bytes, 4, bytes.length);
	bytes.set(datagram.payload, UDP_HEADER_BYTES);
	const checksum = internetChecksum(bytes, 0, bytes.length, pseudoHeaderSum(source, destination, PROTOCOL_UDP, bytes.length));
	writeU16(bytes, 6, checksum === 0 ? 0xffff : checksum);
	return bytes;
}
