import type { DhcpOptions } from "../net/dhcp/server.ts";
import { formatIpv4, type Ipv4, type Ipv4Prefix, type Mac, parseMac } from "../net/frames/address.ts";
import type { HostNetwork } from "../net/nat/host-network.ts";
import { Nat } from "../net/nat/nat.ts";
import { Hub } from "../net/nodes/hub.ts";
import { Router } from "../net/nodes/router.ts";
import { Station } from "../net/nodes/station.ts";
import { Switch } from "../net/nodes/switch.ts";
import type { Jack } from "../net/port.ts";
import { stableMac } from "../net/stable-mac.ts";
import type { Clock } from "../net/time.ts";
import { Addressing, type L3Interface, prefixText } from "./addressing.ts";
import { pluggedPorts } from "./check.ts";
import { LabError } from "./issue.ts";
import type { LabModel, LinkEnd, NodeModel, NodeOf } from "./model.ts";
import type { DhcpPool } from "./node-kinds.ts";

export interface NetworkOptions {
	readonly model: LabModel;
	readonly clock: Clock;
	/** What NATs lead to. */
	readonly host: HostNetwork | undefined;
	/** The cards of a machine, by their names. */
	readonly macs: (machine: string) => ReadonlyMap<string, Mac>;
	/** An interface of the host's, where it gives one. */
	readonly tap: ((node: NodeOf<"tap">) => Jack) | undefined;
}

/** A lab's nodes that are no machines. */
export class LabNetwork {
	readonly addressing: Addressing;
	readonly switches = new Map<string, Switch>();
	readonly hubs = new Map<string, Hub>();
	readonly routers = new Map<string, Router>();
	readonly nats = new Map<string, Nat>();
	readonly stations = new Map<string, Station>();
	readonly #taps = new Map<string, Jack>();
	readonly #options: NetworkOptions;

	/** @throws LabError, SpecError */
	constructor(options: NetworkOptions) {
		this.#options = options;
		this.addressing = new Addressing(options.model);
		for (const node of options.model.nodes.values()) this.#build(node);
	}

	/** The socket that a cable goes into; `undefined` for machines. */
	jack({ node, port }: LinkEnd): Jack | undefined {
		return (
			this.switches.get(node)?.port(port) ??
			this.hubs.get(node)?.port(port) ??
			this.routers.get(node)?.port(port) ??
			this.nats.get(node)?.port() ??
			this.stations.get(node)?.port() ??
			this.#taps.get(node)
		);
	}

	/** No spanning tree has a port on its way to forwarding. */
	get isSettled(): boolean {
		for (const each of this.switches.values())
			for (const name of each.portNames) {
				const { role, state } = each.stpPort(name);
				if ((role === "root" || role === "designated") && state !== "forwarding" && each.port(name).hasCarrier) return false;
			}
		return true;
	}

	/** The address by which `name` is reached: written down, or handed out by one of the lab's DHCP servers. */
	addressOf(name: string): Ipv4 | undefined {
		const written = this.addressing.addressOf(name);
		if (written !== undefined) return written;
		const macs = new Set(this.#options.macs(name).values());
		for (const lease of this.leases()) if (macs.has(lease.mac) && !lease.isOffer) return lease.address;
		return undefined;
	}

	leases(): readonly { readonly mac: Mac; readonly address: Ipv4; readonly isOffer: boolean }[] {
		const servers = [...this.routers].flatMap(([name, router]) => this.addressing.of(name).map((each) => router.dhcp(each.name)));
		return [...servers, ...[...this.nats.values()].map(({ dhcp }) => dhcp)].flatMap((server) => server?.leases() ?? []);
	}

	/** Ends what reaches out of the lab. */
	close(): void {
		for (const nat of this.nats.values()) nat.close();
	}

	#mac(node: string, port: string): Mac {
		return stableMac(this.#options.model.name, node, port);
	}

	#build(node: NodeModel): void {
		const { clock, model } = this.#options;
		const { name } = node;
		if (node.kind === "switch") this.switches.set(name, this.#switch(node));
		else if (node.kind === "hub") this.hubs.set(name, new Hub({ name, clock, ...(node.rate === undefined ? {} : { rateBps: node.rate }) }));
		else if (node.kind === "router") this.routers.set(name, this.#router(node));
		else if (node.kind === "server") this.routers.set(name, this.#server(node));
		else if (node.kind === "nat") this.nats.set(name, this.#nat(node));
		else if (node.kind === "tap") {
			const jack = this.#options.tap?.(node);
			if (jack === undefined) throw missing(node, "a TAP", "a host that gives one (Linux, with the right to open /dev/net/tun)");
			this.#taps.set(name, jack);
		} else if (node.kind === "host") {
			const { gateway, vlan } = node;
			const optional = { ...(gateway === undefined ? {} : { gateway }), ...(vlan === undefined ? {} : { vlan }) };
			const mac = this.#mac(name, "lan");
			this.stations.set(name, new Station({ name, clock, seed: model.seed, mac, address: prefixText(node.ip), ...optional }));
		}
	}

	#switch(node: NodeOf<"switch">): Switch {
		const { name, priority, ageing, stations, stp } = node;
		const made = new Switch({
			name,
			clock: this.#options.clock,
			mac: this.#mac(name, "bridge"),
			...(stp === undefined ? {} : { stp }),
			...(priority === undefined ? {} : { stpPriority: priority }),
			...(ageing === undefined ? {} : { ageingNs: ageing }),
			...(stations === undefined ? {} : { maxStations: stations }),
		});
		for (const port of pluggedPorts(this.#options.model, name)) {
			const vlan = node.vlan?.get(port);
			made.addPort(port, {
				...(vlan === undefined ? {} : { vlan }),
				isIsolated: node.isolated?.includes(port) ?? false,
				stp: { isEdge: node.edge?.includes(port) ?? false, bpduGuard: node.guard?.includes(port) ?? false },
			});
		}
		if (node.mirror !== undefined) made.setMirror({ ...node.mirror, direction: node.mirror.direction ?? "both" });
		return made;
	}

	#router(node: NodeOf<"router">): Router {
		const { name, dhcp, mtu, domain } = node;
		const own = this.addressing.of(name);
		const serves = (each: L3Interface): DhcpPool | undefined => {
			if (dhcp === undefined || dhcp === false) return undefined;
			if (dhcp === true) return this.addressing.isTowardsNat(each) ? undefined : NO_POOL;
			if (dhcp instanceof Map) return (dhcp as ReadonlyMap<string, DhcpPool>).get(each.name);
			return (dhcp as readonly string[]).includes(each.name) ? NO_POOL : undefined;
		};
		return new Router({
			name,
			clock: this.#options.clock,
			seed: this.#options.model.seed,
			interfaces: own.map((each) => {
				const pool = serves(each);
				const mtuBytes = mtu?.get(each.port);
				return {
					name: each.name,
					mac: this.#mac(name, each.name),
					address: prefixText(each.prefix),
					port: each.port,
					...(each.vlan === undefined ? {} : { vlan: each.vlan }),
					...(mtuBytes === undefined ? {} : { mtuBytes }),
					...(pool === undefined ? {} : { dhcp: this.#pool(pool, each.prefix) }),
				};
			}),
			routes: this.#routes(node),
			...(domain === undefined ? {} : { domain }),
			dns: this.#dns(node),
		});
	}

	#server(node: NodeOf<"server">): Router {
		const { name, dhcp, gateway, domain, ip } = node;
		const pool = dhcp === undefined || dhcp === false ? undefined : dhcp === true ? NO_POOL : dhcp;
		const router = gateway === undefined ? {} : { router: numberOf(gateway) };
		return new Router({
			name,
			clock: this.#options.clock,
			seed: this.#options.model.seed,
			interfaces: [
				{
					name: "lan",
					mac: this.#mac(name, "lan"),
					address: prefixText(ip),
					...(pool === undefined ? {} : { dhcp: { ...this.#pool(pool, ip), router: null, ...router } }),
				},
			],
			routes: gateway === undefined ? {} : { "0.0.0.0/0": gateway },
			...(domain === undefined ? {} : { domain }),
			dns: this.#dns(node),
		});
	}

	#nat(node: NodeOf<"nat">): Nat {
		const { host, clock, model } = this.#options;
		const { name, allow, deny, dhcp, dns, domain, symmetric, mtu } = node;
		if (host === undefined) throw missing(node, "a NAT", "a host with a network");
		const nat = new Nat({
			name,
			clock,
			host,
			seed: model.seed,
			mac: this.#mac(name, "lan"),
			...(node.ip === undefined ? {} : { address: prefixText(node.ip) }),
			...(node.host === undefined ? {} : { hostAlias: node.host }),
			allow: allow ?? [],
			deny: deny ?? [],
			...(dhcp === undefined ? {} : { dhcp }),
			...(dns === undefined ? {} : { dns }),
			...(domain === undefined ? {} : { domain }),
			...(symmetric === undefined ? {} : { isSymmetric: symmetric }),
			...(mtu === undefined ? {} : { mtuBytes: mtu }),
		});
		for (const [prefix, via] of Object.entries(this.#routes(node))) nat.node.addRoute(prefix, via);
		for (const forward of node.forward ?? []) nat.forward(forward);
		for (const [host, address] of this.#names(name)) nat.dns?.setName(host, address);
		return nat;
	}

	#routes(node: NodeOf<"router"> | NodeOf<"nat">): Record<string, string> {
		if (node.routes instanceof Map) return Object.fromEntries(node.routes);
		return Object.fromEntries(this.addressing.routesFrom(node.name).map(({ prefix, via }) => [prefix, via]));
	}

	#pool(pool: DhcpPool, prefix: Ipv4Prefix): Omit<DhcpOptions, "seed"> {
		const reservations = new Map<Mac, Ipv4>();
		for (const { name, address } of this.addressing.machinesIn(prefix))
			for (const mac of this.#options.macs(name).values()) reservations.set(mac, address);
		for (const [text, address] of pool.reserve ?? []) reservations.set(parseMac(text) as Mac, address);
		const kept = new Set(reservations.values());
		return {
			...(pool.first === undefined ? {} : { first: pool.first }),
			...(pool.last === undefined ? {} : { last: pool.last }),
			...(pool.lease === undefined ? {} : { leaseS: Math.max(1, Math.round(pool.lease / 1e9)) }),
			reservations,
			avoid: new Set([...this.addressing.addressesIn(prefix)].filter((address) => !kept.has(address))),
		};
	}

	#dns({ name, dns }: NodeOf<"router"> | NodeOf<"server">): boolean | { upstream?: string; names: Record<string, string> } {
		if (dns === undefined || dns === false) return false;
		const given = dns === true ? undefined : dns;
		const nat = [...this.#options.model.nodes.values()].find((each) => each.kind === "nat" && each.dns !== false);
		const natAddress = nat === undefined ? undefined : this.addressing.addressOf(nat.name);
		const upstream = given?.upstream ?? (natAddress === undefined ? undefined : formatIpv4(natAddress));
		const names = Object.fromEntries([...this.#names(name)].map(([host, address]) => [host, formatIpv4(address)]));
		return { names: { ...names, ...Object.fromEntries(given?.names ?? []) }, ...(upstream === undefined ? {} : { upstream }) };
	}

	/** Addresses that are written down, by node. */
	#names(except: string): Map<string, Ipv4> {
		const names = new Map<string, Ipv4>();
		for (const { name } of this.#options.model.nodes.values()) {
			const address = name === except ? undefined : this.addressing.addressOf(name);
			if (address !== undefined) names.set(name, address);
		}
		return names;
	}
}

const NO_POOL: DhcpPool = { first: undefined, last: undefined, lease: undefined, reserve: undefined };

function numberOf(address: string): Ipv4 {
	return address.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

function missing(node: NodeModel, what: string, expected: string): LabError {
	return new LabError([{ kind: "contradiction", severity: "error", path: [...node.path, "kind"], at: "value", problem: what, expected }]);
}
