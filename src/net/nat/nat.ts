import { DhcpServer, type DhcpState, serveDhcp } from "../dhcp/server.ts";
import { DnsServer, type HostDnsAnswer } from "../dns/server.ts";
import { serveDns } from "../dns/service.ts";
import { formatIpv4, type Ipv4, type Mac, parseIpv4Address, parseIpv4Prefix } from "../frames/address.ts";
import {
	buildIcmp,
	ICMP_ECHO_REPLY,
	ICMP_ECHO_REQUEST,
	ICMP_TIME_EXCEEDED,
	ICMP_UNREACHABLE,
	parseIcmp,
	UNREACHABLE_HOST,
	UNREACHABLE_PROHIBITED,
} from "../frames/icmp.ts";
import { type Ipv4Packet, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP } from "../frames/ipv4.ts";
import type { IpInterface } from "../ip/interface.ts";
import { IpNode, type IpNodeState } from "../ip/node.ts";
import { SpecError } from "../link/errors.ts";
import type { Jack } from "../port.ts";
import { TcpStack } from "../tcp/stack.ts";
import type { Clock } from "../time.ts";
import type { HostEndpoint, HostListener, HostNetwork, HostSocketError } from "./host-network.ts";
import { NatPolicy, type NatProtocol } from "./policy.ts";
import { TcpFlows, type TcpFlowsState } from "./tcp-flows.ts";
import { UdpFlows, UdpForward } from "./udp-flows.ts";

export interface NatOptions {
	readonly name: string;
	readonly clock: Clock;
	readonly host: HostNetwork;
	readonly seed: number | string;
	readonly mac: Mac;
	/** Ours on the guests' side; `10.0.2.1/24` by default. */
	readonly address?: string;
	/** By which guests reach the host's own loopback, where policy lets them; the subnet's last but one by default. */
	readonly hostAlias?: string;
	/** Rules of `NatPolicy`; none means nothing gets out. */
	readonly allow?: readonly string[];
	readonly deny?: readonly string[];
	/** True by default. */
	readonly dhcp?: boolean;
	readonly dns?: boolean;
	readonly domain?: string;
	/** Addresses that guests' cards get by DHCP, instead of one that follows from the seed. */
	readonly reservations?: ReadonlyMap<Mac, string>;
	/** A UDP mapping per destination instead of per guest port. */
	readonly isSymmetric?: boolean;
	readonly mtuBytes?: number;
	/** Of each protocol. */
	readonly maxFlows?: number;
	/** Unlike any other NAT's, ever: only with it do sessions go on after a `load` of what this one saved. */
	readonly life?: string;
}

export interface PortForward {
	readonly protocol: "tcp" | "udp";
	/** On the host; `127.0.0.1` where no address is given. */
	readonly at: { readonly address?: string; readonly port: number };
	readonly to: { readonly address: string; readonly port: number };
}

export interface NatDenial {
	readonly protocol: NatProtocol | "dns";
	readonly from: string;
	readonly to: string;
}

export type NatState = {
	readonly node: IpNodeState;
	readonly dhcp: DhcpState | null;
	readonly life?: string;
	readonly tcp?: TcpFlowsState;
};

const LOOPBACK = "127.0.0.1";
const MAX_PINGS = 64;

/**
 * The way out of a lab without any privilege: guests' TCP, UDP and pings end here and begin anew as the host's own
 * sockets. Nothing passes that policy does not name. Names are answered here, addresses handed out.
 */
export class Nat {
	readonly name: string;
	readonly node: IpNode;
	readonly lan: IpInterface;
	readonly dns: DnsServer | undefined;
	readonly dhcp: DhcpServer | undefined;
	readonly policy: NatPolicy;
	/** Told of everything that policy kept in. */
	onDenied: (denial: NatDenial) => void = () => {};
	readonly stats = { denied: 0, pings: 0 };
	readonly #options: NatOptions;
	readonly #alias: Ipv4;
	readonly #stack: TcpStack;
	readonly #tcp: TcpFlows;
	readonly #udp: UdpFlows;
	readonly #forwards = new Map<string, HostListener>();
	#pings = 0;

	/** @throws SpecError for a wrong address or rule. */
	constructor(options: NatOptions) {
		const { name, clock, host, seed, mac, address = "10.0.2.1/24", mtuBytes, maxFlows = 1024 } = options;
		this.name = name;
		this.#options = options;
		this.policy = new NatPolicy(options);
		this.node = new IpNode({ name, clock });
		this.lan = this.node.addInterface({ name: "lan", mac, address, ...(mtuBytes === undefined ? {} : { mtuBytes }) });
		this.#alias = this.#aliasAddress();
		const everywhere = parseIpv4Prefix("0.0.0.0/0") as { address: Ipv4; lengthBits: number };
		this.node.routes.add({ prefix: everywhere, via: undefined, out: "uplink" });
		this.node.routes.add({ prefix: { address: this.#alias, lengthBits: 32 }, via: undefined, out: "uplink" });
		this.node.uplink = { receive: (packet) => this.#receive(packet) };
		this.lan.addressesForUs.add(this.#alias);
		this.#stack = new TcpStack(this.node, { seed, mtuBytes: this.lan.mtuBytes });
		const toHost = (to: Ipv4, port: number): HostEndpoint => ({ address: to === this.#alias ? LOOPBACK : formatIpv4(to), port });
		const shared = { node: this.node, host, maxFlows, toHost };
		this.#tcp = new TcpFlows({ ...shared, stack: this.#stack });
		this.#udp = new UdpFlows({ ...shared, isSymmetric: options.isSymmetric ?? false });
		if (options.dns ?? true) this.dns = this.#makeDns();
		if (options.dhcp ?? true) this.dhcp = this.#makeDhcp();
	}

	/** Where the guests' cable goes in. */
	port(): Jack {
		return this.node.port("lan");
	}

	get flowCounts(): { readonly tcp: number; readonly udp: number } {
		return { tcp: this.#tcp.count, udp: this.#udp.count };
	}

	/** Opens a port of the host to a guest. `failed` is told when the host will not give it. @throws SpecError */
	forward(forward: PortForward, failed: (error: HostSocketError) => void = () => {}): void {
		const path = [this.name, "forward"];
		const guest = parseIpv4Address(forward.to.address);
		if (guest === undefined) throw new SpecError("bad-value", path, forward.to.address, "a guest's IPv4 address");
		const at = { address: forward.at.address ?? LOOPBACK, port: forward.at.port };
		const key = `${forward.protocol} ${at.address}:${at.port}`;
		if (this.#forwards.has(key)) throw new SpecError("contradiction", path, key, "a host port that is not forwarded yet");
		const { host } = this.#options;
		const listener =
			forward.protocol === "tcp"
				? host.listenTcp(at, (socket) => this.#tcp.acceptFromHost(socket, guest, forward.to.port), failed)
				: new UdpForward(this.node, host, at, guest, forward.to.port, () => failed("failed"));
		this.#forwards.set(key, listener);
	}

	/** Ends every flow and forward. */
	close(): void {
		for (const listener of this.#forwards.values()) listener.close();
		this.#forwards.clear();
		this.#tcp.abortAll();
		this.#udp.closeAll();
	}

	#aliasAddress(): Ipv4 {
		const { hostAlias } = this.#options;
		if (hostAlias === undefined) return (this.lan.broadcast ?? this.lan.address) - 1;
		const alias = parseIpv4Address(hostAlias);
		if (alias === undefined || alias === this.lan.address)
			throw new SpecError("bad-value", [this.name, "hostAlias"], hostAlias, "an IPv4 address that nobody else has");
		return alias;
	}

	#makeDns(): DnsServer {
		const { host, domain } = this.#options;
		const dns = new DnsServer({
			...(domain === undefined ? {} : { domain }),
			forward: (name, type, done) => {
				if (!this.policy.isNameAllowed(name)) {
					this.#denied("dns", this.lan.address, name);
					// "No such name" ends the matter; a failure would be asked again and again.
					done({ kind: "no-such-name" });
				} else
					host.resolve(name, type, (answer) => {
						this.#learn(name, answer);
						done(answer);
					});
			},
		});
		dns.setName("gateway", this.lan.address);
		dns.setName("host", this.#alias);
		serveDns(this.node, this.#stack, dns);
		return dns;
	}

	#makeDhcp(): DhcpServer {
		const { seed, domain, reservations } = this.#options;
		const fixed = [...(reservations ?? [])].map(([mac, text]): [Mac, Ipv4] => {
			const address = parseIpv4Address(text);
			if (address === undefined) throw new SpecError("bad-value", [this.name, "reservations"], text, "an IPv4 address");
			return [mac, address];
		});
		const dhcp = new DhcpServer(this.node, this.lan, {
			seed,
			...(this.dns === undefined ? {} : { dns: [this.lan.address] }),
			...(domain === undefined ? {} : { domain, search: [domain] }),
			avoid: new Set([this.#alias]),
			...(fixed.length === 0 ? {} : { reservations: new Map(fixed) }),
		});
		dhcp.onLease = (lease) => {
			if (lease.hostName !== undefined && lease.hostName !== "host" && lease.hostName !== "gateway")
				this.dns?.setName(lease.hostName, lease.address);
		};
		serveDhcp(this.node, new Map([[this.lan, dhcp]]));
		return dhcp;
	}

	#learn(name: string, answer: HostDnsAnswer): void {
		if (answer.kind !== "records") return;
		for (const record of answer.records)
			if (record.type === "A" && record.address.length === 4)
				this.policy.learn(name, new DataView(record.address.slice().buffer).getUint32(0));
	}

	#receive(packet: Ipv4Packet): void {
		const isHost = packet.destination === this.#alias;
		const isAllowed = (protocol: NatProtocol) => (port: number) => {
			if (this.policy.isAllowed(protocol, packet.destination, port, isHost)) return true;
			this.#denied(protocol, packet.source, `${formatIpv4(packet.destination)}:${port}`);
			return false;
		};
		let wasTaken: boolean;
		if (packet.protocol === PROTOCOL_TCP) wasTaken = this.#tcp.receive(packet, isAllowed("tcp"));
		else if (packet.protocol === PROTOCOL_UDP) wasTaken = this.#udp.receive(packet, isAllowed("udp"));
		else if (packet.protocol === PROTOCOL_ICMP) wasTaken = this.#ping(packet, isAllowed("icmp"));
		else wasTaken = false;
		if (!wasTaken) this.node.sendError(packet, undefined, ICMP_UNREACHABLE, UNREACHABLE_PROHIBITED);
	}

	#denied(protocol: NatDenial["protocol"], from: Ipv4, to: string): void {
		this.stats.denied++;
		this.onDenied({ protocol, from: formatIpv4(from), to });
	}

	#ping(packet: Ipv4Packet, isAllowed: (port: number) => boolean): boolean {
		const message = parseIcmp(packet.payload);
		// Errors about flows that end here have nowhere to go.
		if (message === undefined || message.type !== ICMP_ECHO_REQUEST) return true;
		if (!isAllowed(0)) return false;
		if (this.#pings >= MAX_PINGS) return true;
		this.#pings++;
		this.stats.pings++;
		const body = message.body.slice();
		const kept = { ...packet, payload: packet.payload.slice(0, 64) };
		const to = packet.destination === this.#alias ? LOOPBACK : formatIpv4(packet.destination);
		this.#options.host.ping(to, body, packet.ttl, (result) => {
			this.#pings--;
			if (result === "reply") {
				const payload = buildIcmp({ ...message, type: ICMP_ECHO_REPLY, body });
				this.node.send({ protocol: PROTOCOL_ICMP, source: packet.destination, destination: packet.source, payload });
			} else if (result === "ttl-expired") this.node.sendError(kept, undefined, ICMP_TIME_EXCEEDED, 0);
			else if (result === "unreachable") this.node.sendError(kept, undefined, ICMP_UNREACHABLE, UNREACHABLE_HOST);
			else if (result === "not-permitted") this.node.sendError(kept, undefined, ICMP_UNREACHABLE, UNREACHABLE_PROHIBITED);
		});
		return true;
	}

	save(): NatState {
		const { life } = this.#options;
		const tcp = this.#tcp.save();
		return { node: this.node.save(), dhcp: this.dhcp?.save() ?? null, tcp, ...(life === undefined ? {} : { life }) };
	}

	/**
	 * The host's sockets cannot be put back. Where they are still the ones of then, guests' sessions go on with them; all others
	 * end with a reset, as after a NAT's reboot.
	 */
	load(state: NatState): void {
		const isSameLife = state.life !== undefined && state.life === this.#options.life;
		this.node.load(state.node);
		if (state.dhcp !== null) this.dhcp?.load(state.dhcp);
		if (isSameLife) this.#udp.touchAll();
		else this.#udp.closeAll();
		this.#tcp.load(state.tcp ?? { opened: 0, flows: [] }, isSameLife);
	}
}
