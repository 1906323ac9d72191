import { type Ipv4, type Ipv4Prefix, isUnicastIpv4, type Mac, parseIpv4Address, parseIpv4Prefix } from "../frames/address.ts";
import { ETHERTYPE_VLAN, type EthernetFrame, parseEthernet } from "../frames/ethernet.ts";
import {
	buildIcmp,
	ICMP_ECHO_REPLY,
	ICMP_ECHO_REQUEST,
	ICMP_TIME_EXCEEDED,
	ICMP_UNREACHABLE,
	type IcmpMessage,
	parseIcmp,
	UNREACHABLE_FRAGMENTATION_NEEDED,
	UNREACHABLE_HOST,
	UNREACHABLE_NET,
	UNREACHABLE_PORT,
} from "../frames/icmp.ts";
import { buildIpv4, fragmentIpv4, type Ipv4Fields, type Ipv4Packet, PROTOCOL_ICMP, PROTOCOL_UDP, parseIpv4 } from "../frames/ipv4.ts";
import { Ipv4Reassembler, type ReassemblyState } from "../frames/reassembly.ts";
import { buildUdp, parseUdp } from "../frames/udp.ts";
import { SpecError } from "../link/errors.ts";
import { Jack } from "../port.ts";
import { type Clock, TimerQueue } from "../time.ts";
import { icmpErrorAbout, mayCauseError, RateLimit } from "./icmp-errors.ts";
import { type InterfaceCounters, IpInterface } from "./interface.ts";
import type { NeighbourState } from "./neighbours.ts";
import { RouteTable } from "./routes.ts";

export interface IpNodeOptions {
	readonly name: string;
	readonly clock: Clock;
	/** Passes packets on between its interfaces; true by default. */
	readonly forwards?: boolean;
	readonly icmpErrorsPerS?: number;
}

export interface NodeInterfaceOptions {
	readonly name: string;
	readonly mac: Mac;
	/** `10.0.10.1/24`. */
	readonly address: string;
	/** The jack's name, if several VLANs share one; by default the interface's own. */
	readonly port?: string;
	readonly vlan?: number;
	readonly mtuBytes?: number;
}

export interface ReceivedDatagram {
	readonly source: Ipv4;
	readonly sourcePort: number;
	readonly destination: Ipv4;
	readonly destinationPort: number;
	readonly payload: Uint8Array;
	readonly sourceMac: Mac;
	readonly from: IpInterface;
}

/** Where packets go that leave the lab: the NAT's side that faces the host. */
export interface Uplink {
	/** A whole packet (fragments are put together) from a guest, TTL already counted down. */
	receive(packet: Ipv4Packet, from: IpInterface): void;
}

export type IpNodeCounters = {
	forwarded: number;
	delivered: number;
	badPackets: number;
	ttlExpired: number;
	noRoute: number;
	tooBig: number;
	filtered: number;
};

export type IpNodeState = {
	readonly counters: IpNodeCounters;
	readonly interfaces: { readonly name: string; readonly state: { counters: InterfaceCounters; neighbours: NeighbourState } }[];
	readonly errors: { tokens: number; sinceNs: number };
	readonly nextIdentification: number;
	readonly fragments: ReassemblyState;
};

/** An IPv4 node: a router between its interfaces, a host at its own addresses (RFC 1812, RFC 1122). */
export class IpNode {
	readonly name: string;
	/** For timers of services on this node; all of them behind one of the clock's. */
	readonly timers: TimerQueue;
	readonly routes = new RouteTable();
	readonly counters: IpNodeCounters = { forwarded: 0, delivered: 0, badPackets: 0, ttlExpired: 0, noRoute: 0, tooBig: 0, filtered: 0 };
	uplink: Uplink | undefined;
	/** Echo replies and errors that came for this node itself. */
	onIcmp: (message: IcmpMessage, packet: Ipv4Packet) => void = () => {};
	/** Says no to forwarding what it returns false for. */
	filter: ((packet: Ipv4Packet, from: IpInterface) => boolean) | undefined;
	readonly #jacks = new Map<string, Jack>();
	readonly #interfaces: IpInterface[] = [];
	readonly #jackOf = new Map<IpInterface, string>();
	readonly #udp = new Map<number, (datagram: ReceivedDatagram) => void>();
	readonly #protocols = new Map<number, (packet: Ipv4Packet, from: IpInterface) => void>();
	readonly #reassembler = new Ipv4Reassembler();
	readonly #errors: RateLimit;
	readonly #forwards: boolean;
	#nextIdentification = 1;

	constructor(options: IpNodeOptions) {
		this.name = options.name;
		this.timers = new TimerQueue(options.clock, `node ${options.name}`);
		this.#forwards = options.forwards ?? true;
		const perS = options.icmpErrorsPerS ?? 100;
		this.#errors = new RateLimit(perS, Math.max(1, perS / 2));
		this.#protocols.set(PROTOCOL_ICMP, (packet) => this.#receiveIcmp(packet));
	}

	get interfaces(): readonly IpInterface[] {
		return this.#interfaces;
	}

	/** The jack of that name, made on first use. */
	port(name: string): Jack {
		let jack = this.#jacks.get(name);
		if (jack === undefined) {
			jack = new Jack(`${this.name}:${name}`);
			jack.onFrame = (frame) => this.#receiveFrame(name, frame);
			jack.onCarrier = (isUp) => {
				if (!isUp) for (const each of this.#interfaces) if (this.#jackOf.get(each) === name) each.neighbours.clear();
			};
			this.#jacks.set(name, jack);
		}
		return jack;
	}

	/** @throws SpecError when the address is none or taken. */
	addInterface(options: NodeInterfaceOptions): IpInterface {
		const path = [this.name, options.name, "address"];
		const prefix = prefixOf(options.address, path);
		if (!options.address.includes("/"))
			throw new SpecError("bad-value", path, options.address, "an address with its prefix length, such as 10.0.0.1/24");
		if (this.#interfaces.some((each) => each.address === prefix.address))
			throw new SpecError("contradiction", path, options.address, "an address that no other interface has");
		const portName = options.port ?? options.name;
		const jack = this.port(portName);
		const added = new IpInterface({ ...options, prefix }, jack, this.timers, {
			receiveIpv4: (from, bytes, frame) => this.#receiveIpv4(from, bytes, frame),
			unreachable: (_from, bytes) => {
				const packet = parseIpv4(bytes);
				if (packet !== undefined) this.sendError(packet, undefined, ICMP_UNREACHABLE, UNREACHABLE_HOST);
			},
		});
		this.#interfaces.push(added);
		this.#jackOf.set(added, portName);
		this.routes.add({ prefix, via: undefined, out: { interfaceName: options.name } });
		return added;
	}

	/** `addRoute("0.0.0.0/0", "10.0.0.254")`. @throws SpecError when the next hop is on none of our wires. */
	addRoute(prefix: string, via: string): void {
		const path = [this.name, "routes", prefix];
		const hop = parseIpv4Address(via);
		const to = prefixOf(prefix, path);
		const route = hop === undefined ? undefined : this.routes.lookup(hop);
		if (route === undefined || route.via !== undefined || route.out === "uplink")
			throw new SpecError("bad-value", path, via, "a next hop in the subnet of one of the interfaces");
		this.routes.add({ prefix: to, via: hop, out: route.out });
	}

	onUdp(port: number, handler: (datagram: ReceivedDatagram) => void): void {
		this.#udp.set(port, handler);
	}

	/** Packets of `protocol` to one of our own addresses. */
	onProtocol(protocol: number, handler: (packet: Ipv4Packet, from: IpInterface) => void): void {
		this.#protocols.set(protocol, handler);
	}

	isOwn(address: Ipv4): boolean {
		return this.#interfaces.some((each) => each.address === address);
	}

	/** Routes and sends a packet of our own (or the uplink's). False when there is no way. */
	send(fields: Ipv4Fields): boolean {
		const route = this.routes.lookup(fields.destination);
		if (route === undefined || route.out === "uplink") return false;
		const out = this.#interface(route.out.interfaceName);
		const identification = fields.identification ?? this.#takeIdentification();
		const source = fields.source === 0 ? out.address : fields.source;
		const packet = parseIpv4(buildIpv4({ ...fields, source, identification }));
		if (packet === undefined) return false;
		for (const fragment of fragmentIpv4(packet, out.mtuBytes)) out.send(route.via ?? fields.destination, buildIpv4(fragment));
		return true;
	}

	/** The address that packets to `destination` would carry. */
	sourceFor(destination: Ipv4): Ipv4 | undefined {
		const route = this.routes.lookup(destination);
		return route === undefined || route.out === "uplink" ? undefined : this.#interface(route.out.interfaceName).address;
	}

	sendUdp(to: { source?: Ipv4; sourcePort: number; destination: Ipv4; destinationPort: number; payload: Uint8Array }): boolean {
		const source = to.source ?? this.sourceFor(to.destination);
		if (source === undefined) return false;
		const payload = buildUdp(to, source, to.destination);
		return this.send({ protocol: PROTOCOL_UDP, source, destination: to.destination, payload });
	}

	/** Echo request; the answer comes to `onIcmp`. */
	ping(destination: Ipv4, identifier: number, sequence: number, body = new Uint8Array(56), ttl = 64): boolean {
		const source = this.sourceFor(destination);
		if (source === undefined) return false;
		const payload = buildIcmp({ type: ICMP_ECHO_REQUEST, code: 0, rest: ((identifier << 16) | sequence) >>> 0, body });
		return this.send({ protocol: PROTOCOL_ICMP, source, destination, payload, ttl });
	}

	/** Tells the sender of `packet` what became of it, if rules and rate limit let us. */
	sendError(packet: Ipv4Packet, frame: EthernetFrame | undefined, type: number, code: number, rest = 0): void {
		if (!mayCauseError(packet, frame) || this.isOwn(packet.source) || !this.#errors.take(this.timers.nowNs)) return;
		const source = this.sourceFor(packet.source);
		if (source !== undefined)
			this.send({ protocol: PROTOCOL_ICMP, source, destination: packet.source, payload: icmpErrorAbout(packet, type, code, rest) });
	}

	#interface(name: string): IpInterface {
		return this.#interfaces.find((each) => each.name === name) as IpInterface;
	}

	#takeIdentification(): number {
		this.#nextIdentification = (this.#nextIdentification + 1) & 0xffff;
		return this.#nextIdentification;
	}

	#receiveFrame(jackName: string, bytes: Uint8Array): void {
		const frame = parseEthernet(bytes);
		if (frame === undefined) return;
		const vlan = frame.vlan?.tpid === ETHERTYPE_VLAN && frame.vlan.id !== 0 ? frame.vlan.id : undefined;
		for (const each of this.#interfaces) if (each.vlan === vlan && this.#jackOf.get(each) === jackName) each.receive(frame);
	}

	#receiveIpv4(from: IpInterface, bytes: Uint8Array, frame: EthernetFrame): void {
		const packet = parseIpv4(bytes);
		if (packet === undefined || packet.source === from.address) {
			this.counters.badPackets++;
			return;
		}
		const { destination } = packet;
		if (this.isOwn(destination) || from.isBroadcast(destination) || destination >>> 28 === 14) this.#deliver(packet, from, frame);
		else if (!this.#forwards || frame.destination !== from.mac || !isUnicastIpv4(destination)) this.counters.filtered++;
		else this.#forward(packet, from, frame);
	}

	#forward(packet: Ipv4Packet, from: IpInterface, frame: EthernetFrame): void {
		if (!isUnicastIpv4(packet.source) || this.filter?.(packet, from) === false) {
			this.counters.filtered++;
			return;
		}
		if (packet.ttl <= 1) {
			this.counters.ttlExpired++;
			this.sendError(packet, frame, ICMP_TIME_EXCEEDED, 0);
			return;
		}
		const route = this.routes.lookup(packet.destination);
		if (route === undefined) {
			this.counters.noRoute++;
			this.sendError(packet, frame, ICMP_UNREACHABLE, UNREACHABLE_NET);
			return;
		}
		const onward = { ...packet, ttl: packet.ttl - 1 };
		if (route.out === "uplink") {
			const whole = this.#reassembler.add(onward, this.timers.nowNs);
			this.counters.forwarded++;
			if (whole !== undefined) this.uplink?.receive(whole, from);
			return;
		}
		this.#sendOn(packet, onward, route.via ?? packet.destination, this.#interface(route.out.interfaceName), frame);
	}

	#sendOn(packet: Ipv4Packet, onward: Ipv4Packet, nextHop: Ipv4, out: IpInterface, frame: EthernetFrame): void {
		// Directed broadcasts are not passed on (RFC 2644 §4).
		if (out.isBroadcast(nextHop)) {
			this.counters.filtered++;
			return;
		}
		const bytes = buildIpv4(onward);
		if (bytes.length > out.mtuBytes && packet.dontFragment) {
			this.counters.tooBig++;
			this.sendError(packet, frame, ICMP_UNREACHABLE, UNREACHABLE_FRAGMENTATION_NEEDED, out.mtuBytes);
			return;
		}
		this.counters.forwarded++;
		if (bytes.length <= out.mtuBytes) out.send(nextHop, bytes);
		else for (const fragment of fragmentIpv4(onward, out.mtuBytes)) out.send(nextHop, buildIpv4(fragment));
	}

	#deliver(packet: Ipv4Packet, from: IpInterface, frame: EthernetFrame): void {
		const whole = this.#reassembler.add(packet, this.timers.nowNs);
		if (whole === undefined) return;
		this.counters.delivered++;
		if (whole.protocol === PROTOCOL_UDP) this.#receiveUdp(whole, from, frame);
		else this.#protocols.get(whole.protocol)?.(whole, from);
	}

	#receiveIcmp(packet: Ipv4Packet): void {
		const message = parseIcmp(packet.payload);
		if (message === undefined) {
			this.counters.badPackets++;
			return;
		}
		if (message.type !== ICMP_ECHO_REQUEST) this.onIcmp(message, packet);
		// Broadcast pings are not answered (RFC 1122 §3.2.2.6 lets us; amplification is why).
		else if (this.isOwn(packet.destination)) {
			const payload = buildIcmp({ ...message, type: ICMP_ECHO_REPLY });
			this.send({ protocol: PROTOCOL_ICMP, source: packet.destination, destination: packet.source, payload });
		}
	}

	#receiveUdp(packet: Ipv4Packet, from: IpInterface, frame: EthernetFrame): void {
		const datagram = parseUdp(packet.payload, packet.source, packet.destination);
		if (datagram === undefined) {
			this.counters.badPackets++;
			return;
		}
		const handler = this.#udp.get(datagram.destinationPort);
		if (handler === undefined) {
			if (this.isOwn(packet.destination)) this.sendError(packet, frame, ICMP_UNREACHABLE, UNREACHABLE_PORT);
			return;
		}
		const { source, destination } = packet;
		handler({ ...datagram, source, destination, sourceMac: frame.source, from });
	}

	save(): IpNodeState {
		return {
			counters: { ...this.counters },
			interfaces: this.#interfaces.map((each) => ({ name: each.name, state: each.save() })),
			errors: this.#errors.save(),
			nextIdentification: this.#nextIdentification,
			fragments: this.#reassembler.save(),
		};
	}

	/** Into a node with the same interfaces. */
	load(state: IpNodeState): void {
		Object.assign(this.counters, state.counters);
		for (const { name, state: saved } of state.interfaces) this.#interfaces.find((each) => each.name === name)?.load(saved);
		this.#errors.load(state.errors);
		this.#nextIdentification = state.nextIdentification;
		this.#reassembler.load(state.fragments);
	}
}

function prefixOf(text: string, path: readonly string[]): Ipv4Prefix {
	const prefix = parseIpv4Prefix(text);
	if (prefix === undefined) throw new SpecError("bad-value", path, text, "an address with its prefix length, such as 10.0.0.1/24");
	return prefix;
}
