import { lookup, Resolver } from "node:dns/promises";
import { isIPv4 } from "node:net";
import type { DnsForwarder, HostDnsAnswer, HostDnsRecord, HostDnsType } from "../../../net/dns/server.ts";

/** The host's resolver does not say how long an answer holds. */
const DEFAULT_TTL_S = 60;
const NO_SUCH_NAME = ["ENOTFOUND", "EAI_NONAME", "NXDOMAIN"];
const NO_RECORDS = ["ENODATA", "EAI_NODATA"];

/** Asks as the host's own programs would: its hosts file and all its other sources for addresses, DNS for the rest. */
export const resolveOnHost: DnsForwarder = (name, type, done) => {
	void answer(name, type).then(done, () => done({ kind: "failure" }));
};

async function answer(name: string, type: HostDnsType): Promise<HostDnsAnswer> {
	try {
		return { kind: "records", records: await records(name, type) };
	} catch (error) {
		const { code = "" } = error as NodeJS.ErrnoException;
		if (NO_SUCH_NAME.includes(code)) return { kind: "no-such-name" };
		return NO_RECORDS.includes(code) ? { kind: "records", records: [] } : { kind: "failure" };
	}
}

async function records(name: string, type: HostDnsType): Promise<HostDnsRecord[]> {
	if (type === "A" || type === "AAAA") return addresses(name, type);
	const resolver = new Resolver({ timeout: 5000, tries: 2 });
	const ttlS = DEFAULT_TTL_S;
	switch (type) {
		case "CNAME":
			return (await resolver.resolveCname(name)).map((target) => ({ type, target, ttlS }));
		case "NS":
			return (await resolver.resolveNs(name)).map((target) => ({ type, target, ttlS }));
		case "PTR":
			return (await resolver.resolvePtr(name)).map((target) => ({ type, target, ttlS }));
		case "TXT":
			return (await resolver.resolveTxt(name)).map((texts) => ({ type, texts, ttlS }));
		case "MX":
			return (await resolver.resolveMx(name)).map(({ priority, exchange }) => ({ type, priority, target: exchange, ttlS }));
		case "SRV":
			return (await resolver.resolveSrv(name)).map(({ priority, weight, port, name: target }) => ({
				type,
				priority,
				weight,
				port,
				target,
				ttlS,
			}));
	}
}

/** A name with addresses of the other family alone has none of this one; it is not unknown. */
async function addresses(name: string, type: "A" | "AAAA"): Promise<HostDnsRecord[]> {
	const all = await lookup(name, { all: true });
	return all
		.filter(({ family }) => family === (type === "A" ? 4 : 6))
		.map(({ address }) => ({ type, address: isIPv4(address) ? ipv4Bytes(address) : ipv6Bytes(address), ttlS: DEFAULT_TTL_S }));
}

function ipv4Bytes(text: string): Uint8Array {
	return Uint8Array.from(text.split("."), Number);
}

/** As the host writes them: with one "::" at most, possibly with a zone or an IPv4 tail. */
function ipv6Bytes(text: string): Uint8Array {
	const [plain = ""] = text.split("%");
	const [head = "", tail] = plain.split("::");
	const groups = (part: string): number[] =>
		part === ""
			? []
			: part.split(":").flatMap((group) => {
					if (!group.includes(".")) return [Number.parseInt(group, 16)];
					const [a = 0, b = 0, c = 0, d = 0] = ipv4Bytes(group);
					return [(a << 8) | b, (c << 8) | d];
				});
	const front = groups(head);
	const back = tail === undefined ? [] : groups(tail);
	const words = [...front, ...new Array<number>(Math.max(0, 8 - front.length - back.length)).fill(0), ...back];
	return Uint8Array.from(words.slice(0, 8).flatMap((word) => [word >> 8, word & 0xff]));
}
