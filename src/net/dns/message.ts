import { encodeUtf8 } from "../../base/utf8.ts";
import { readU16, readU32, writeU16, writeU32 } from "../frames/address.ts";

// RFC 1035 §4.
export const DNS_TYPE_A = 1;
export const DNS_TYPE_NS = 2;
export const DNS_TYPE_CNAME = 5;
export const DNS_TYPE_SOA = 6;
export const DNS_TYPE_PTR = 12;
export const DNS_TYPE_MX = 15;
export const DNS_TYPE_TXT = 16;
export const DNS_TYPE_AAAA = 28;
export const DNS_TYPE_SRV = 33;
const DNS_TYPE_OPT = 41;
export const DNS_TYPE_ANY = 255;
export const DNS_CLASS_IN = 1;

export const RCODE_OK = 0;
export const RCODE_FORMAT = 1;
export const RCODE_SERVER_FAILURE = 2;
export const RCODE_NAME_ERROR = 3;
export const RCODE_NOT_IMPLEMENTED = 4;
export const RCODE_REFUSED = 5;

const HEADER_BYTES = 12;
const MAX_NAME_BYTES = 255;
const PLAIN_UDP_BYTES = 512;

export interface DnsQuestion {
	/** Lower case, without the last dot. */
	readonly name: string;
	readonly type: number;
	readonly class: number;
}

export interface DnsQuery {
	readonly id: number;
	readonly opcode: number;
	readonly isRecursionDesired: boolean;
	readonly question: DnsQuestion;
	/** What the client takes by UDP: 512, or what it says (EDNS, RFC 6891). */
	readonly maxUdpBytes: number;
	readonly hasEdns: boolean;
}

export interface DnsRecord {
	readonly name: string;
	readonly type: number;
	readonly ttlS: number;
	/** RDATA, names in it not compressed. */
	readonly data: Uint8Array;
}

/** Labels of 1 to 63 bytes; what is no name becomes the root. */
export function encodeName(name: string): Uint8Array {
	const bytes: number[] = [];
	for (const label of name.split(".")) {
		const text = encodeUtf8(label);
		if (text.length === 0) continue;
		if (text.length > 63 || bytes.length + text.length > MAX_NAME_BYTES - 2) return Uint8Array.of(0);
		bytes.push(text.length, ...text);
	}
	bytes.push(0);
	return Uint8Array.from(bytes);
}

/** Follows pointers (§4.1.4), backwards only, so that there is an end. */
export function readName(bytes: Uint8Array, offset: number): { readonly name: string; readonly next: number } | undefined {
	const labels: string[] = [];
	let at = offset;
	let next: number | undefined;
	let lowest = offset;
	let nameBytes = 0;
	for (;;) {
		const length = bytes[at];
		if (length === undefined) return undefined;
		if (length >= 0xc0) {
			if (at + 1 >= bytes.length) return undefined;
			next ??= at + 2;
			const target = readU16(bytes, at) & 0x3fff;
			if (target >= lowest) return undefined;
			lowest = target;
			at = target;
			continue;
		}
		if (length > 63 || at + 1 + length > bytes.length) return undefined;
		if (length === 0) return { name: labels.join("."), next: next ?? at + 1 };
		nameBytes += length + 1;
		if (nameBytes >= MAX_NAME_BYTES) return undefined;
		labels.push(String.fromCharCode(...bytes.subarray(at + 1, at + 1 + length)).toLowerCase());
		at += length + 1;
	}
}

/** `undefined` for what is no query with exactly one question. */
export function parseQuery(bytes: Uint8Array): DnsQuery | undefined {
	if (bytes.length < HEADER_BYTES) return undefined;
	const flags = readU16(bytes, 2);
	if ((flags & 0x8000) !== 0 || readU16(bytes, 4) !== 1) return undefined;
	const name = readName(bytes, HEADER_BYTES);
	if (name === undefined || name.next + 4 > bytes.length) return undefined;
	const question = { name: name.name, type: readU16(bytes, name.next), class: readU16(bytes, name.next + 2) };
	const edns =
		readU16(bytes, 10) > 0 ? findEdns(bytes, name.next + 4, readU16(bytes, 6) + readU16(bytes, 8) + readU16(bytes, 10)) : undefined;
	return {
		id: readU16(bytes, 0),
		opcode: (flags >>> 11) & 15,
		isRecursionDesired: (flags & 0x100) !== 0,
		question,
		maxUdpBytes: Math.max(PLAIN_UDP_BYTES, Math.min(edns ?? 0, 4096)),
		hasEdns: edns !== undefined,
	};
}

function findEdns(bytes: Uint8Array, offset: number, recordCount: number): number | undefined {
	let at = offset;
	for (let count = 0; count < recordCount && count < 64; count++) {
		const name = readName(bytes, at);
		if (name === undefined || name.next + 10 > bytes.length) return undefined;
		if (readU16(bytes, name.next) === DNS_TYPE_OPT) return readU16(bytes, name.next + 2);
		at = name.next + 10 + readU16(bytes, name.next + 8);
	}
	return undefined;
}

/** The answer to `query`; cut to its question, and marked so (TC), when longer than `maxBytes`. */
export function buildResponse(
	query: DnsQuery,
	answer: {
		readonly rcode: number;
		readonly records: readonly DnsRecord[];
		readonly isAuthoritative: boolean;
		readonly authority?: readonly DnsRecord[];
	},
	maxBytes: number,
): Uint8Array {
	const question = encodeName(query.question.name);
	const records = [...answer.records, ...(answer.authority ?? [])].map((record) => encodeRecord(record, query.question.name));
	const opt = query.hasEdns ? Uint8Array.of(0, 0, DNS_TYPE_OPT, 0x10, 0, 0, 0, 0, 0, 0, 0) : new Uint8Array(0);
	const fixedBytes = HEADER_BYTES + question.length + 4 + opt.length;
	const isTruncated = fixedBytes + records.reduce((sum, record) => sum + record.length, 0) > maxBytes;
	const sent = isTruncated ? [] : records;
	const bytes = new Uint8Array(fixedBytes + sent.reduce((sum, record) => sum + record.length, 0));
	writeU16(bytes, 0, query.id);
	const flags = 0x8080 | (query.opcode << 11) | (answer.isAuthoritative ? 0x400 : 0) | (isTruncated ? 0x200 : 0);
	writeU16(bytes, 2, flags | (query.isRecursionDesired ? 0x100 : 0) | answer.rcode);
	writeU16(bytes, 4, 1);
	writeU16(bytes, 6, isTruncated ? 0 : answer.records.length);
	writeU16(bytes, 8, isTruncated ? 0 : (answer.authority?.length ?? 0));
	writeU16(bytes, 10, opt.length > 0 ? 1 : 0);
	bytes.set(question, HEADER_BYTES);
	writeU16(bytes, HEADER_BYTES + question.length, query.question.type);
	writeU16(bytes, HEADER_BYTES + question.length + 2, query.question.class);
	let at = HEADER_BYTES + question.length + 4;
	for (const record of [...sent, opt]) {
		bytes.set(record, at);
		at += record.length;
	}
	return bytes;
}

function encodeRecord(record: DnsRecord, questionName: string): Uint8Array {
	// The question's name is at offset 12 of every answer.
	const name = record.name === questionName ? Uint8Array.of(0xc0, HEADER_BYTES) : encodeName(record.name);
	const bytes = new Uint8Array(name.length + 10 + record.data.length);
	bytes.set(name);
	writeU16(bytes, name.length, record.type);
	writeU16(bytes, name.length + 2, DNS_CLASS_IN);
	writeU32(bytes, name.length + 4, record.ttlS);
	writeU16(bytes, name.length + 8, record.data.length);
	bytes.set(record.data, name.length + 10);
	return bytes;
}

export interface DnsResponse {
	readonly id: number;
	readonly rcode: number;
	readonly isTruncated: boolean;
	readonly isAuthoritative: boolean;
	/** RDATA as it stands, pointers and all. */
	readonly records: readonly DnsRecord[];
}

/** `undefined` for what is no response; records stop at the first broken one. */
export function parseResponse(bytes: Uint8Array): DnsResponse | undefined {
	if (bytes.length < HEADER_BYTES || (readU16(bytes, 2) & 0x8000) === 0) return undefined;
	const flags = readU16(bytes, 2);
	let at = HEADER_BYTES;
	for (let count = readU16(bytes, 4); count > 0; count--) {
		const name = readName(bytes, at);
		if (name === undefined) return undefined;
		at = name.next + 4;
	}
	const records: DnsRecord[] = [];
	for (let count = readU16(bytes, 6); count > 0; count--) {
		const name = readName(bytes, at);
		if (name === undefined || name.next + 10 > bytes.length) break;
		const data = bytes.slice(name.next + 10, name.next + 10 + readU16(bytes, name.next + 8));
		records.push({ name: name.name, type: readU16(bytes, name.next), ttlS: readU32(bytes, name.next + 4), data });
		at = name.next + 10 + readU16(bytes, name.next + 8);
	}
	return { id: readU16(bytes, 0), rcode: flags & 15, isTruncated: (flags & 0x200) !== 0, isAuthoritative: (flags & 0x400) !== 0, records };
}

export function buildQuery(id: number, question: DnsQuestion): Uint8Array {
	const name = encodeName(question.name);
	const bytes = new Uint8Array(HEADER_BYTES + name.length + 4);
	writeU16(bytes, 0, id);
	writeU16(bytes, 2, 0x100);
	writeU16(bytes, 4, 1);
	bytes.set(name, HEADER_BYTES);
	writeU16(bytes, HEADER_BYTES + name.length, question.type);
	writeU16(bytes, HEADER_BYTES + name.length + 2, question.class);
	return bytes;
}
