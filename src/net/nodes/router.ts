import { type DhcpOptions, DhcpServer, type DhcpState, serveDhcp } from "../dhcp/server.ts";
import { DnsRelay } from "../dns/relay.ts";
import { DnsServer } from "../dns/server.ts";
import { serveDns } from "../dns/service.ts";
import { type Ipv4, type Mac, parseIpv4Address } from "../frames/address.ts";
import type { IpInterface } from "../ip/interface.ts";
import { IpNode, type IpNodeState } from "../ip/node.ts";
import { SpecError } from "../link/errors.ts";
import type { Jack } from "../port.ts";
import { TcpStack } from "../tcp/stack.ts";
import type { Clock } from "../time.ts";

export interface RouterInterfaceOptions {
	readonly name: string;
	readonly mac: Mac;
	/** `10.0.10.1/24`. */
	readonly address: string;
	/** The jack, where VLANs share one. */
	readonly port?: string;
	readonly vlan?: number;
	readonly mtuBytes?: number;
	/** Serve DHCP here. */
	readonly dhcp?: boolean | Omit<DhcpOptions, "seed">;
}

export interface RouterOptions {
	readonly name: string;
	readonly clock: Clock;
	readonly seed: number | string;
	readonly interfaces: readonly RouterInterfaceOptions[];
	/** Prefix to next hop; `0.0.0.0/0` is the default route. */
	readonly routes?: Readonly<Record<string, string>>;
	/** Answer names here: what DHCP learns, what `names` says, all else asked of `upstream`. */
	readonly dns?: boolean | { readonly upstream?: string; readonly names?: Readonly<Record<string, string>> };
	readonly domain?: string;
	readonly icmpErrorsPerS?: number;
}

export type RouterState = { readonly node: IpNodeState; readonly dhcp: { readonly name: string; readonly state: DhcpState }[] };

/** A router with what people expect of one: static routes, VLAN interfaces, DHCP and DNS where wanted. */
export class Router {
	readonly name: string;
	readonly node: IpNode;
	readonly dns: DnsServer | undefined;
	readonly #dhcp = new Map<IpInterface, DhcpServer>();

	/** @throws SpecError for wrong addresses, names or routes. */
	constructor(options: RouterOptions) {
		const { name, clock, seed, icmpErrorsPerS } = options;
		this.name = name;
		this.node = new IpNode({ name, clock, ...(icmpErrorsPerS === undefined ? {} : { icmpErrorsPerS }) });
		for (const each of options.interfaces) this.node.addInterface(each);
		for (const [prefix, via] of Object.entries(options.routes ?? {})) this.node.addRoute(prefix, via);
		if (options.dns !== undefined && options.dns !== false) this.dns = this.#makeDns(options);
		for (const [index, { dhcp }] of options.interfaces.entries()) {
			const on = this.node.interfaces[index] as IpInterface;
			if (dhcp !== undefined && dhcp !== false) this.#dhcp.set(on, this.#makeDhcp(on, dhcp === true ? {} : dhcp, seed, options.domain));
		}
		if (this.#dhcp.size > 0) serveDhcp(this.node, this.#dhcp);
	}

	/** The jack of that name, made on first use. */
	port(name: string): Jack {
		return this.node.port(name);
	}

	dhcp(interfaceName: string): DhcpServer | undefined {
		return [...this.#dhcp].find(([on]) => on.name === interfaceName)?.[1];
	}

	#makeDns(options: RouterOptions): DnsServer {
		const { upstream, names = {} } = typeof options.dns === "object" ? options.dns : {};
		const relay = upstream === undefined ? undefined : new DnsRelay(this.node, addressOf(upstream, [options.name, "dns", "upstream"]));
		const server = new DnsServer({
			...(options.domain === undefined ? {} : { domain: options.domain }),
			...(relay === undefined ? {} : { relay: (query: Uint8Array, reply: (response: Uint8Array) => void) => relay.ask(query, reply) }),
		});
		for (const [name, address] of Object.entries(names)) server.setName(name, addressOf(address, [options.name, "dns", "names", name]));
		const first = this.node.interfaces[0];
		if (first !== undefined) server.setName(options.name, first.address);
		serveDns(this.node, new TcpStack(this.node, { seed: options.seed }), server);
		return server;
	}

	#makeDhcp(on: IpInterface, options: Omit<DhcpOptions, "seed">, seed: number | string, domain: string | undefined): DhcpServer {
		const server = new DhcpServer(this.node, on, {
			seed,
			...(this.dns === undefined ? {} : { dns: [on.address] }),
			...(domain === undefined ? {} : { domain, search: [domain] }),
			...options,
		});
		server.onLease = ({ hostName, address }) => {
			if (hostName !== undefined && hostName !== this.name) this.dns?.setName(hostName, address);
		};
		return server;
	}

	save(): RouterState {
		return { node: this.node.save(), dhcp: [...this.#dhcp].map(([on, server]) => ({ name: on.name, state: server.save() })) };
	}

	/** Into a router with the same interfaces. */
	load(state: RouterState): void {
		this.node.load(state.node);
		for (const { name, state: saved } of state.dhcp) {
			const server = this.dhcp(name);
			server?.load(saved);
			for (const lease of server?.leases() ?? []) if (!lease.isOffer) server?.onLease(lease);
		}
	}
}

function addressOf(text: string, path: readonly string[]): Ipv4 {
	const address = parseIpv4Address(text);
	if (address === undefined) throw new SpecError("bad-value", path, text, "an IPv4 address");
	return address;
}
