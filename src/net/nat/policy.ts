import { type Ipv4, type Ipv4Prefix, isInPrefix, isUnicastIpv4, parseIpv4Prefix } from "../frames/address.ts";
import { SpecError } from "../link/errors.ts";

export type NatProtocol = "tcp" | "udp" | "icmp";

interface Rule {
	readonly text: string;
	readonly protocol: NatProtocol | "any" | "dns";
	readonly to: "any" | "internet" | "host" | { readonly prefix: Ipv4Prefix } | { readonly name: string };
	readonly ports: readonly { readonly first: number; readonly last: number }[] | undefined;
}

/** Blocks that are not the internet (RFC 6890): private, shared, loopback, link-local, tests, benchmarks, reserved. */
const SPECIAL_BLOCKS: readonly Ipv4Prefix[] = [
	"0.0.0.0/8",
	"10.0.0.0/8",
	"100.64.0.0/10",
	"127.0.0.0/8",
	"169.254.0.0/16",
	"172.16.0.0/12",
	"192.0.0.0/24",
	"192.0.2.0/24",
	"192.168.0.0/16",
	"198.18.0.0/15",
	"198.51.100.0/24",
	"203.0.113.0/24",
	"224.0.0.0/3",
].map((text) => parseIpv4Prefix(text) as Ipv4Prefix);

/** Addresses remembered per named rule; the oldest go. */
const MAX_LEARNT = 256;
const FORM = "a rule such as `any internet`, `tcp host:8080`, `udp 10.1.0.0/16:53`, `tcp *.example.org:80,443`, `icmp any` or `dns`";

/**
 * Who may go where. Nothing may that no `allow` rule names; a `deny` rule beats all of those.
 *
 * A rule is a protocol (`tcp`, `udp`, `icmp`, `any`), a destination and ports: `internet` is every public address,
 * `host` the machine itself by its alias, a prefix is itself, `any` is all but `host`. A name (`example.org`,
 * `*.example.org`) stands for the addresses that the NAT's own DNS has answered for it. `dns` alone lets names be asked.
 */
export class NatPolicy {
	readonly #allow: readonly Rule[];
	readonly #deny: readonly Rule[];
	readonly #learnt = new Map<Rule, Set<Ipv4>>();

	/** @throws SpecError for a rule that is none. */
	constructor(options: { readonly allow?: readonly string[]; readonly deny?: readonly string[] } = {}) {
		this.#allow = (options.allow ?? []).map((text, index) => parseRule(text, ["allow", String(index)]));
		this.#deny = (options.deny ?? []).map((text, index) => parseRule(text, ["deny", String(index)]));
	}

	/** `isHost`: the destination is the alias of the host's own loopback. */
	isAllowed(protocol: NatProtocol, destination: Ipv4, port: number, isHost: boolean): boolean {
		if (!isHost && !isUnicastIpv4(destination)) return false;
		const matches = (rule: Rule) => this.#matches(rule, protocol, destination, port, isHost);
		return this.#allow.some(matches) && !this.#deny.some(matches);
	}

	/** Names may be asked where a rule says so, or where one leads outside by name or to all of the internet. */
	isNameAllowed(name: string): boolean {
		if (this.#deny.some((rule) => typeof rule.to === "object" && "name" in rule.to && isNameOf(name, rule.to.name))) return false;
		return this.#allow.some((rule) => {
			if (typeof rule.to === "object") return "name" in rule.to && isNameOf(name, rule.to.name);
			return rule.protocol === "dns" || rule.to === "any" || rule.to === "internet";
		});
	}

	/** The NAT's DNS has answered. */
	learn(name: string, address: Ipv4): void {
		for (const rule of [...this.#allow, ...this.#deny]) {
			if (typeof rule.to !== "object" || !("name" in rule.to) || !isNameOf(name, rule.to.name)) continue;
			const known = this.#learnt.get(rule) ?? new Set();
			this.#learnt.set(rule, known);
			known.delete(address);
			known.add(address);
			if (known.size > MAX_LEARNT) known.delete(known.values().next().value as Ipv4);
		}
	}

	#matches(rule: Rule, protocol: NatProtocol, destination: Ipv4, port: number, isHost: boolean): boolean {
		if (rule.protocol !== "any" && rule.protocol !== protocol) return false;
		if (rule.ports !== undefined && (protocol === "icmp" || !rule.ports.some(({ first, last }) => port >= first && port <= last)))
			return false;
		if (rule.to === "host") return isHost;
		if (isHost) return false;
		if (rule.to === "any") return true;
		if (rule.to === "internet") return !SPECIAL_BLOCKS.some((block) => isInPrefix(destination, block));
		return "prefix" in rule.to ? isInPrefix(destination, rule.to.prefix) : (this.#learnt.get(rule)?.has(destination) ?? false);
	}
}

function isNameOf(name: string, pattern: string): boolean {
	return pattern.startsWith("*.") ? name.endsWith(pattern.slice(1)) : name === pattern;
}

function parseRule(text: string, path: readonly string[]): Rule {
	const bad = () => new SpecError("bad-value", path, text, FORM);
	if (typeof text !== "string") throw bad();
	if (text.trim() === "dns") return { text, protocol: "dns", to: "host", ports: undefined };
	const match = /^(tcp|udp|icmp|any)\s+([^\s:]+)(?::([\d,-]+))?$/.exec(text.trim());
	if (match === null) throw bad();
	const [, protocol, destination, ports] = match as unknown as [string, Rule["protocol"], string, string | undefined];
	return { text, protocol, to: parseDestination(destination, bad), ports: ports?.split(",").map((each) => parsePorts(each, bad)) };
}

function parseDestination(text: string, bad: () => SpecError): Rule["to"] {
	if (text === "any" || text === "internet" || text === "host") return text;
	const prefix = parseIpv4Prefix(text);
	if (prefix !== undefined) return { prefix };
	if (!/^(\*\.)?([a-z\d_-]+\.)+[a-z][a-z\d-]*$/i.test(text)) throw bad();
	return { name: text.toLowerCase() };
}

function parsePorts(text: string, bad: () => SpecError): { first: number; last: number } {
	const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
	if (match === null) throw bad();
	const first = Number(match[1]);
	const last = Number(match[2] ?? match[1]);
	if (first < 1 || last > 65_535 || first > last) throw bad();
	return { first, last };
}
