import { encodeUtf8 } from "../../base/utf8.ts";
import { type Ipv4, writeU16, writeU32 } from "../frames/address.ts";
import * as dns from "./message.ts";

/** What a resolver outside of the lab says. */
export type HostDnsRecord =
	| { readonly type: "A" | "AAAA"; readonly address: Uint8Array; readonly ttlS: number }
	| { readonly type: "CNAME" | "PTR" | "NS"; readonly target: string; readonly ttlS: number }
	| { readonly type: "TXT"; readonly texts: readonly string[]; readonly ttlS: number }
	| { readonly type: "MX"; readonly priority: number; readonly target: string; readonly ttlS: number }
	| {
			readonly type: "SRV";
			readonly priority: number;
			readonly weight: number;
			readonly port: number;
			readonly target: string;
			readonly ttlS: number;
	  };

export type HostDnsType = HostDnsRecord["type"];

/** Records, possibly none; or that there is no such name; or that it could not be found out. */
export type HostDnsAnswer =
	| { readonly kind: "records"; readonly records: readonly (HostDnsRecord & { readonly name?: string })[] }
	| { readonly kind: "no-such-name" }
	| { readonly kind: "failure" };

/** Asks outside. `done` is called once, later, never before this returns. */
export type DnsForwarder = (name: string, type: HostDnsType, done: (answer: HostDnsAnswer) => void) => void;

/** Passes a whole message on and its answer back. */
export type DnsRelayer = (query: Uint8Array, reply: (response: Uint8Array) => void) => void;

const TYPE_NUMBERS: Record<HostDnsType, number> = {
	A: dns.DNS_TYPE_A,
	NS: dns.DNS_TYPE_NS,
	CNAME: dns.DNS_TYPE_CNAME,
	PTR: dns.DNS_TYPE_PTR,
	MX: dns.DNS_TYPE_MX,
	TXT: dns.DNS_TYPE_TXT,
	AAAA: dns.DNS_TYPE_AAAA,
	SRV: dns.DNS_TYPE_SRV,
};

interface Answer {
	readonly rcode: number;
	readonly records: readonly dns.DnsRecord[];
	readonly isAuthoritative: boolean;
}

function empty(rcode: number): Answer {
	return { rcode, records: [], isAuthoritative: false };
}

function typeName(type: number): HostDnsType | undefined {
	return (Object.keys(TYPE_NUMBERS) as HostDnsType[]).find((each) => TYPE_NUMBERS[each] === type);
}

/** Lab names change with leases: they are not to be remembered for long. */
const LAB_TTL_S = 60;
const NEGATIVE_TTL_S = 30;
/** Questions that may wait for the outside at one time. */
const MAX_PENDING = 256;

/**
 * A DNS server: names of the lab from its own table (A, AAAA and PTR), all else asked outside. With `domain`, lab names
 * are known bare and under it, and nothing under it is ever asked outside.
 */
export class DnsServer {
	readonly #ipv4 = new Map<string, Ipv4>();
	readonly #ipv6 = new Map<string, Uint8Array>();
	readonly #domain: string | undefined;
	readonly #forward: DnsForwarder | undefined;
	readonly #relay: DnsRelayer | undefined;
	#pending = 0;

	/** Outside is reached by `forward`, name by name, or by `relay`, message by message. */
	constructor(options: { readonly domain?: string; readonly forward?: DnsForwarder; readonly relay?: DnsRelayer } = {}) {
		this.#domain = options.domain?.toLowerCase();
		this.#forward = options.forward;
		this.#relay = options.relay;
	}

	/** Adds or moves a lab name. */
	setName(name: string, ipv4: Ipv4, ipv6?: Uint8Array): void {
		this.#ipv4.set(name.toLowerCase(), ipv4);
		if (ipv6 !== undefined) this.#ipv6.set(name.toLowerCase(), ipv6);
	}

	removeName(name: string): void {
		this.#ipv4.delete(name.toLowerCase());
		this.#ipv6.delete(name.toLowerCase());
	}

	/** Answers one message; `reply` is called at once or later, or never for what deserves no answer. */
	receive(bytes: Uint8Array, isUdp: boolean, reply: (response: Uint8Array) => void): void {
		const query = dns.parseQuery(bytes);
		if (query === undefined) return;
		const answer = ({ rcode, records, isAuthoritative }: Answer) => {
			const authority = isAuthoritative && records.length === 0 ? [this.#startOfAuthority()] : [];
			reply(dns.buildResponse(query, { rcode, records, isAuthoritative, authority }, isUdp ? query.maxUdpBytes : 65_535));
		};
		const own = this.#answerHere(query);
		if (own !== undefined) answer(own);
		else if (this.#relay === undefined) this.#askOutside(query, answer);
		else {
			this.#pending++;
			this.#relay(bytes, (response) => {
				this.#pending--;
				reply(response);
			});
		}
	}

	/** What can be said without asking outside. */
	#answerHere(query: dns.DnsQuery): Answer | undefined {
		const { name, type } = query.question;
		if (query.opcode !== 0) return empty(dns.RCODE_NOT_IMPLEMENTED);
		if (query.question.class !== dns.DNS_CLASS_IN) return empty(dns.RCODE_REFUSED);
		const records = this.#ownRecords(name, type);
		if (records !== undefined) return { rcode: dns.RCODE_OK, records, isAuthoritative: true };
		if (this.#isOurs(name)) return { rcode: dns.RCODE_NAME_ERROR, records: [], isAuthoritative: true };
		if ((this.#forward === undefined && this.#relay === undefined) || !query.isRecursionDesired) return empty(dns.RCODE_REFUSED);
		// A type that we cannot ask for: no such record, which stops nobody.
		if (this.#relay === undefined && typeName(type) === undefined) return empty(dns.RCODE_OK);
		return this.#pending >= MAX_PENDING ? empty(dns.RCODE_SERVER_FAILURE) : undefined;
	}

	#askOutside(query: dns.DnsQuery, answer: (answer: Answer) => void): void {
		const { name, type } = query.question;
		this.#pending++;
		this.#forward?.(name, typeName(type) as HostDnsType, (found) => {
			this.#pending--;
			if (found.kind === "failure") answer(empty(dns.RCODE_SERVER_FAILURE));
			else if (found.kind === "no-such-name") answer(empty(dns.RCODE_NAME_ERROR));
			else answer({ ...empty(dns.RCODE_OK), records: found.records.map((record) => toRecord(record.name ?? name, record)) });
		});
	}

	/** The bare lab name in `name`, if it is bare or under the domain. */
	#labName(name: string): string {
		return this.#domain !== undefined && name.endsWith(`.${this.#domain}`) ? name.slice(0, -this.#domain.length - 1) : name;
	}

	#isOurs(name: string): boolean {
		if (this.#domain !== undefined && (name === this.#domain || name.endsWith(`.${this.#domain}`))) return true;
		// RFC 6303: questions about private addresses are not for the outside.
		return /(^|\.)(10|168\.192|(1[6-9]|2\d|3[01])\.172)\.in-addr\.arpa$/.test(name);
	}

	#ownRecords(name: string, type: number): dns.DnsRecord[] | undefined {
		const pointer = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa$/.exec(name);
		if (pointer !== null) return this.#pointerRecords(name, pointer.slice(1, 5).reverse().map(Number), type);
		const bare = this.#labName(name);
		const ipv4 = this.#ipv4.get(bare);
		const ipv6 = this.#ipv6.get(bare);
		if (ipv4 === undefined && ipv6 === undefined) return undefined;
		const records: dns.DnsRecord[] = [];
		const wants = (each: number) => type === each || type === dns.DNS_TYPE_ANY;
		if (ipv4 !== undefined && wants(dns.DNS_TYPE_A)) {
			const data = new Uint8Array(4);
			writeU32(data, 0, ipv4);
			records.push({ name, type: dns.DNS_TYPE_A, ttlS: LAB_TTL_S, data });
		}
		if (ipv6 !== undefined && wants(dns.DNS_TYPE_AAAA)) records.push({ name, type: dns.DNS_TYPE_AAAA, ttlS: LAB_TTL_S, data: ipv6 });
		return records;
	}

	#pointerRecords(name: string, octets: readonly number[], type: number): dns.DnsRecord[] | undefined {
		const address = octets.reduce((sum, octet) => sum * 256 + octet, 0);
		for (const [lab, ipv4] of this.#ipv4) {
			if (ipv4 !== address) continue;
			const target = this.#domain === undefined ? lab : `${lab}.${this.#domain}`;
			const isAsked = type === dns.DNS_TYPE_PTR || type === dns.DNS_TYPE_ANY;
			return isAsked ? [{ name, type: dns.DNS_TYPE_PTR, ttlS: LAB_TTL_S, data: dns.encodeName(target) }] : [];
		}
		return undefined;
	}

	/** Goes with "no such", and says for how long to believe it (RFC 2308 §3). */
	#startOfAuthority(): dns.DnsRecord {
		const zone = this.#domain ?? "lab";
		const numbers = new Uint8Array(20);
		for (const [index, value] of [1, 3600, 600, 86_400, NEGATIVE_TTL_S].entries()) writeU32(numbers, 4 * index, value);
		const data = Uint8Array.from([...dns.encodeName(zone), ...dns.encodeName(`hostmaster.${zone}`), ...numbers]);
		return { name: zone, type: dns.DNS_TYPE_SOA, ttlS: NEGATIVE_TTL_S, data };
	}
}

function toRecord(name: string, record: HostDnsRecord): dns.DnsRecord {
	return { name: name.toLowerCase(), type: TYPE_NUMBERS[record.type], ttlS: record.ttlS, data: recordData(record) };
}

function recordData(record: HostDnsRecord): Uint8Array {
	switch (record.type) {
		case "A":
		case "AAAA":
			return record.address;
		case "CNAME":
		case "PTR":
		case "NS":
			return dns.encodeName(record.target);
		case "TXT":
			return Uint8Array.from(
				record.texts.flatMap((text) => {
					const bytes = encodeUtf8(text).subarray(0, 255);
					return [bytes.length, ...bytes];
				}),
			);
		case "MX":
			return withNumbers([record.priority], record.target);
		case "SRV":
			return withNumbers([record.priority, record.weight, record.port], record.target);
	}
}

function withNumbers(numbers: readonly number[], target: string): Uint8Array {
	const name = dns.encodeName(target);
	const bytes = new Uint8Array(2 * numbers.length + name.length);
	for (const [index, value] of numbers.entries()) writeU16(bytes, 2 * index, value);
	bytes.set(name, 2 * numbers.length);
	return bytes;
}
