import { formatIpv4, type Ipv4, type Ipv4Prefix, isInPrefix, netmask } from "../net/frames/address.ts";
import type { LabModel, NodeModel } from "./model.ts";

export const DEFAULT_NAT_PREFIX: Ipv4Prefix = { address: 0x0a00_0201, lengthBits: 24 };

/** A node's foot in a subnet. */
export interface L3Interface {
	readonly node: string;
	/** `sw.10`, `wan`; what routers' keys call it. */
	readonly name: string;
	readonly port: string;
	readonly vlan: number | undefined;
	readonly prefix: Ipv4Prefix;
}

export interface AutoRoute {
	/** `10.0.0.0/24`; `0.0.0.0/0` leads to the nearest NAT. */
	readonly prefix: string;
	readonly via: string;
}

/** Who has which address, and how everybody reaches everybody else. */
export class Addressing {
	readonly interfaces: readonly L3Interface[];
	readonly #model: LabModel;

	constructor(model: LabModel) {
		this.#model = model;
		const interfaces = [...model.nodes.values()].flatMap(writtenInterfaces);
		// Ports that lead to a NAT get the next free address behind its own.
		for (const node of model.nodes.values()) if (node.kind === "router") interfaces.push(...natPorts(model, node, interfaces));
		this.interfaces = interfaces;
	}

	of(node: string): readonly L3Interface[] {
		return this.interfaces.filter((each) => each.node === node);
	}

	/** The first address of a node. */
	addressOf(node: string): Ipv4 | undefined {
		const own = this.#model.nodes.get(node);
		if (own?.kind === "machine") return own.ip?.address;
		return this.of(node)[0]?.prefix.address;
	}

	/** Everything that stands in `prefix` and is written down: nobody else may get it. */
	addressesIn(prefix: Ipv4Prefix): ReadonlySet<Ipv4> {
		const all = [...this.interfaces.map((each) => each.prefix.address), ...this.#machines().map(({ address }) => address)];
		return new Set(all.filter((address) => isInPrefix(address, prefix)));
	}

	/** Machines whose address is written down, in `prefix`. */
	machinesIn(prefix: Ipv4Prefix): readonly { readonly name: string; readonly address: Ipv4 }[] {
		return this.#machines().filter(({ address }) => isInPrefix(address, prefix));
	}

	/** Who leads out of a subnet: a router, else a NAT. */
	gatewayOf(prefix: Ipv4Prefix): Ipv4 | undefined {
		const there = this.interfaces.filter((each) => sameSubnet(each.prefix, prefix));
		const gateway = there.find(({ node }) => this.#kind(node) === "router") ?? there.find(({ node }) => this.#kind(node) === "nat");
		return gateway?.prefix.address;
	}

	isTowardsNat({ prefix }: L3Interface): boolean {
		return this.interfaces.some((each) => this.#kind(each.node) === "nat" && sameSubnet(each.prefix, prefix));
	}

	/** The shortest ways from a router or NAT to every subnet that it has no foot in, and out. */
	routesFrom(start: string): readonly AutoRoute[] {
		const routes: AutoRoute[] = [];
		const known = this.of(start).map(({ prefix }) => prefix);
		const seen = new Set([start]);
		const queue = this.#neighbours(start).map(({ to, via }) => ({ node: to, via }));
		let hasDefault = this.#kind(start) === "nat";
		for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
			const { node, via } = next;
			if (seen.has(node)) continue;
			seen.add(node);
			for (const { prefix } of this.of(node)) {
				if (known.some((each) => sameSubnet(each, prefix))) continue;
				known.push(prefix);
				routes.push({ prefix: subnetText(prefix), via: formatIpv4(via) });
			}
			if (this.#kind(node) === "nat" && !hasDefault) {
				hasDefault = true;
				routes.push({ prefix: "0.0.0.0/0", via: formatIpv4(via) });
			}
			queue.push(...this.#neighbours(node).map(({ to }) => ({ node: to, via })));
		}
		return routes;
	}

	/** Those who pass packets on, in the subnets of `node`. */
	#neighbours(node: string): { to: string; via: Ipv4 }[] {
		return this.of(node).flatMap((own) =>
			this.interfaces
				.filter((each) => each.node !== node && sameSubnet(each.prefix, own.prefix))
				.filter((each) => this.#kind(each.node) === "router" || this.#kind(each.node) === "nat")
				.map((each) => ({ to: each.node, via: each.prefix.address })),
		);
	}

	#kind(name: string): NodeModel["kind"] | undefined {
		return this.#model.nodes.get(name)?.kind;
	}

	#machines(): { name: string; address: Ipv4 }[] {
		return [...this.#model.nodes.values()].flatMap((node) =>
			node.kind === "machine" && node.ip !== undefined ? [{ name: node.name, address: node.ip.address }] : [],
		);
	}
}

function writtenInterfaces(node: NodeModel): L3Interface[] {
	if (node.kind === "router")
		return [...(node.ip ?? [])].map(([name, prefix]) => {
			const [port = name, vlan] = name.split(".");
			return { node: node.name, name, port, vlan: vlan === undefined ? undefined : Number(vlan), prefix };
		});
	const single = { node: node.name, name: "lan", port: "lan", vlan: undefined };
	if (node.kind === "nat") return [{ ...single, prefix: node.ip ?? DEFAULT_NAT_PREFIX }];
	if (node.kind === "host") return [{ ...single, vlan: node.vlan, prefix: node.ip }];
	return node.kind === "server" ? [{ ...single, prefix: node.ip }] : [];
}

function natPorts(model: LabModel, router: NodeModel, taken: readonly L3Interface[]): L3Interface[] {
	const found: L3Interface[] = [];
	for (const link of model.links) {
		const [own, other] = link.a.node === router.name ? [link.a, link.b] : [link.b, link.a];
		const nat = model.nodes.get(other.node);
		if (own.node !== router.name || nat?.kind !== "nat") continue;
		if (taken.some((each) => each.node === router.name && each.port === own.port)) continue;
		const prefix = nat.ip ?? DEFAULT_NAT_PREFIX;
		const isTaken = (address: Ipv4): boolean => [...taken, ...found].some((each) => each.prefix.address === address);
		let address = prefix.address + 1;
		while (isTaken(address)) address++;
		found.push({ node: router.name, name: own.port, port: own.port, vlan: undefined, prefix: { ...prefix, address } });
	}
	return found;
}

function sameSubnet(a: Ipv4Prefix, b: Ipv4Prefix): boolean {
	return a.lengthBits === b.lengthBits && isInPrefix(a.address, b);
}

export function subnetText({ address, lengthBits }: Ipv4Prefix): string {
	return `${formatIpv4((address & netmask(lengthBits)) >>> 0)}/${lengthBits}`;
}

export function prefixText({ address, lengthBits }: Ipv4Prefix): string {
	return `${formatIpv4(address)}/${lengthBits}`;
}
