import { NS_PER_S, type Ns } from "../../base/units.ts";
import { type Ipv4, isGroupMac, type Mac } from "../frames/address.ts";
import { ARP_REPLY, ARP_REQUEST, type ArpPacket } from "../frames/arp.ts";
import type { Clock, Timer } from "../time.ts";

/** Packets that wait for one address (what Linux and others keep; the oldest goes first). */
const MAX_PENDING = 3;
const MAX_TRIES = 3;
const RETRY_NS: Ns = NS_PER_S;
/** How long an answer is believed without asking again. */
const REACHABLE_NS: Ns = 60 * NS_PER_S;
/** Bounds what forged ARP can make us keep. */
const MAX_NEIGHBOURS = 1024;

interface Neighbour {
	readonly address: Ipv4;
	mac: Mac | undefined;
	validUntilNs: Ns;
	tries: number;
	pending: Uint8Array[];
	timer: Timer | undefined;
}

export interface NeighbourHost {
	readonly mac: Mac;
	readonly address: Ipv4;
	/** Own address, or one that is answered for. */
	answersFor(address: Ipv4): boolean;
	isOnLink(address: Ipv4): boolean;
	sendArp(packet: ArpPacket, to: Mac): void;
	/** An IPv4 packet whose next hop is now known. */
	sendTo(mac: Mac, packet: Uint8Array): void;
	/** Nobody answered: what becomes of a packet that waited. */
	unreachable(packet: Uint8Array): void;
}

export type NeighbourState = {
	readonly address: Ipv4;
	readonly mac: Mac | null;
	readonly validUntilNs: Ns;
	readonly pending: Uint8Array[];
}[];

const BROADCAST: Mac = 0xffff_ffff_ffff;

/** ARP (RFC 826) for one interface: who has which address, and packets that wait to hear it. */
export class Neighbours {
	readonly #clock: Clock;
	readonly #host: NeighbourHost;
	readonly #neighbours = new Map<Ipv4, Neighbour>();

	constructor(clock: Clock, host: NeighbourHost) {
		this.#clock = clock;
		this.#host = host;
	}

	entries(): { address: Ipv4; mac: Mac }[] {
		return [...this.#neighbours.values()].flatMap(({ address, mac }) => (mac === undefined ? [] : [{ address, mac }]));
	}

	/** Sends an IPv4 packet to a station on the wire, asking for its address first if need be. */
	send(address: Ipv4, packet: Uint8Array): void {
		const nowNs = this.#clock.nowNs;
		const neighbour = this.#neighbour(address);
		if (neighbour.mac !== undefined && nowNs < neighbour.validUntilNs) {
			this.#host.sendTo(neighbour.mac, packet);
			return;
		}
		neighbour.pending.push(packet);
		if (neighbour.pending.length > MAX_PENDING) neighbour.pending.shift();
		if (neighbour.timer?.isArmed === true) return;
		neighbour.tries = 0;
		this.#ask(neighbour);
	}

	/** An ARP packet has come in. We believe answers, and those who ask for us; nobody else makes entries. */
	receive(packet: ArpPacket): void {
		const { senderIp, senderMac } = packet;
		const isForUs = this.#host.answersFor(packet.targetIp);
		const isSane = !isGroupMac(senderMac) && senderMac !== 0 && senderIp !== this.#host.address && this.#host.isOnLink(senderIp);
		if (isSane && (isForUs || this.#neighbours.has(senderIp))) this.#learn(senderIp, senderMac);
		if (packet.operation === ARP_REQUEST && isForUs && !isGroupMac(senderMac)) {
			const reply = {
				operation: ARP_REPLY,
				senderMac: this.#host.mac,
				senderIp: packet.targetIp,
				targetMac: senderMac,
				targetIp: senderIp,
			};
			this.#host.sendArp(reply, senderMac);
		}
	}

	/** The cable was pulled: everything may have moved. */
	clear(): void {
		for (const neighbour of this.#neighbours.values()) neighbour.timer?.disarm();
		this.#neighbours.clear();
	}

	#neighbour(address: Ipv4): Neighbour {
		let neighbour = this.#neighbours.get(address);
		if (neighbour === undefined) {
			if (this.#neighbours.size >= MAX_NEIGHBOURS) this.#evict();
			neighbour = { address, mac: undefined, validUntilNs: 0, tries: 0, pending: [], timer: undefined };
			this.#neighbours.set(address, neighbour);
		}
		return neighbour;
	}

	#evict(): void {
		const oldest = this.#neighbours.values().next().value as Neighbour;
		oldest.timer?.disarm();
		this.#neighbours.delete(oldest.address);
	}

	#learn(address: Ipv4, mac: Mac): void {
		const neighbour = this.#neighbour(address);
		neighbour.mac = mac;
		neighbour.validUntilNs = this.#clock.nowNs + REACHABLE_NS;
		neighbour.timer?.disarm();
		for (const packet of neighbour.pending.splice(0)) this.#host.sendTo(mac, packet);
	}

	#ask(neighbour: Neighbour): void {
		neighbour.tries++;
		const { mac, address } = this.#host;
		this.#host.sendArp({ operation: ARP_REQUEST, senderMac: mac, senderIp: address, targetMac: 0, targetIp: neighbour.address }, BROADCAST);
		neighbour.timer ??= this.#clock.timer("arp", () => this.#expire(neighbour));
		neighbour.timer.arm(this.#clock.nowNs + RETRY_NS);
	}

	#expire(neighbour: Neighbour): void {
		if (neighbour.tries < MAX_TRIES) {
			this.#ask(neighbour);
			return;
		}
		this.#neighbours.delete(neighbour.address);
		for (const packet of neighbour.pending) this.#host.unreachable(packet);
	}

	save(): NeighbourState {
		return [...this.#neighbours.values()].map(({ address, mac, validUntilNs, pending }) => ({
			address,
			mac: mac ?? null,
			validUntilNs,
			pending: pending.map((packet) => packet.slice()),
		}));
	}

	/** Whoever was being asked for is asked for again. */
	load(state: NeighbourState): void {
		this.clear();
		for (const { address, mac, validUntilNs, pending } of state) {
			const neighbour = this.#neighbour(address);
			neighbour.mac = mac ?? undefined;
			neighbour.validUntilNs = validUntilNs;
			neighbour.pending = pending.map((packet) => packet.slice());
			if (pending.length > 0) this.#ask(neighbour);
		}
	}
}
