import { BROADCAST_IPV4, BROADCAST_MAC, type Ipv4, type Ipv4Prefix, isGroupMac, isInPrefix, type Mac, netmask } from "../frames/address.ts";
import { buildArp, parseArp } from "../frames/arp.ts";
import { buildEthernet, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_VLAN, type EthernetFrame } from "../frames/ethernet.ts";
import type { Jack } from "../port.ts";
import type { Clock } from "../time.ts";
import { type NeighbourState, Neighbours } from "./neighbours.ts";

export interface InterfaceOptions {
	readonly name: string;
	readonly mac: Mac;
	readonly prefix: Ipv4Prefix;
	/** A VLAN sub-interface; several share one jack. */
	readonly vlan?: number | undefined;
	readonly mtuBytes?: number | undefined;
}

export interface InterfaceHost {
	/** An IPv4 packet for whoever it is for. */
	receiveIpv4(from: IpInterface, bytes: Uint8Array, frame: EthernetFrame): void;
	unreachable(from: IpInterface, packet: Uint8Array): void;
}

export type InterfaceCounters = { inPackets: number; outPackets: number; inBytes: number; outBytes: number };

/** A node's foot in one subnet: its address, its neighbours, and the jack (and VLAN) it speaks through. */
export class IpInterface {
	readonly name: string;
	readonly mac: Mac;
	readonly prefix: Ipv4Prefix;
	readonly vlan: number | undefined;
	readonly mtuBytes: number;
	readonly neighbours: Neighbours;
	readonly counters: InterfaceCounters = { inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 };
	/** Further addresses on the wire that ARP answers for with our own MAC (packets to them are forwarded). */
	readonly addressesForUs = new Set<Ipv4>();
	readonly #jack: Jack;
	readonly #host: InterfaceHost;

	constructor(options: InterfaceOptions, jack: Jack, clock: Clock, host: InterfaceHost) {
		this.name = options.name;
		this.mac = options.mac;
		this.prefix = options.prefix;
		this.vlan = options.vlan;
		this.mtuBytes = options.mtuBytes ?? 1500;
		this.#jack = jack;
		this.#host = host;
		this.neighbours = new Neighbours(clock, {
			mac: options.mac,
			address: options.prefix.address,
			answersFor: (address) => address === options.prefix.address || this.addressesForUs.has(address),
			isOnLink: (address) => isInPrefix(address, options.prefix),
			sendArp: (packet, to) => this.sendFrame(to, ETHERTYPE_ARP, buildArp(packet)),
			sendTo: (mac, packet) => this.sendFrame(mac, ETHERTYPE_IPV4, packet),
			unreachable: (packet) => host.unreachable(this, packet),
		});
	}

	get address(): Ipv4 {
		return this.prefix.address;
	}

	/** The subnet's own broadcast address; none in a /31 or /32 (RFC 3021). */
	get broadcast(): Ipv4 | undefined {
		const { address, lengthBits } = this.prefix;
		return lengthBits >= 31 ? undefined : (address | ~netmask(lengthBits)) >>> 0;
	}

	isBroadcast(address: Ipv4): boolean {
		return address === BROADCAST_IPV4 || address === this.broadcast;
	}

	/** Sends an IPv4 packet to `nextHop` on this wire. */
	send(nextHop: Ipv4, packet: Uint8Array): void {
		if (this.isBroadcast(nextHop)) this.sendFrame(BROADCAST_MAC, ETHERTYPE_IPV4, packet);
		// RFC 1112 §6.4: the low 23 bits of a group address.
		else if (nextHop >>> 28 === 14) this.sendFrame(0x0100_5e00_0000 + (nextHop & 0x7f_ffff), ETHERTYPE_IPV4, packet);
		else this.neighbours.send(nextHop, packet);
	}

	sendFrame(destination: Mac, etherType: number, payload: Uint8Array): void {
		const vlan = this.vlan === undefined ? undefined : { tpid: ETHERTYPE_VLAN, priority: 0, isDropEligible: false, id: this.vlan };
		this.counters.outPackets++;
		this.counters.outBytes += payload.length;
		this.#jack.send(buildEthernet({ destination, source: this.mac, etherType, payload, vlan }));
	}

	/** A frame of this interface's VLAN has come in. */
	receive(frame: EthernetFrame): void {
		if (frame.destination !== this.mac && !isGroupMac(frame.destination)) return;
		this.counters.inPackets++;
		this.counters.inBytes += frame.payload.length;
		if (frame.etherType === ETHERTYPE_ARP) {
			const packet = parseArp(frame.payload);
			if (packet !== undefined) this.neighbours.receive(packet);
		} else if (frame.etherType === ETHERTYPE_IPV4) this.#host.receiveIpv4(this, frame.payload, frame);
	}

	save(): { counters: InterfaceCounters; neighbours: NeighbourState } {
		return { counters: { ...this.counters }, neighbours: this.neighbours.save() };
	}

	load(state: { counters: InterfaceCounters; neighbours: NeighbourState }): void {
		this.neighbours.load(state.neighbours);
		Object.assign(this.counters, state.counters);
	}
}
