import { NS_PER_S, type Ns } from "../../base/units.ts";
import type { Ipv4 } from "../frames/address.ts";
import { ICMP_UNREACHABLE, UNREACHABLE_HOST, UNREACHABLE_PORT } from "../frames/icmp.ts";
import type { Ipv4Packet } from "../frames/ipv4.ts";
import { parseUdp } from "../frames/udp.ts";
import type { IpNode } from "../ip/node.ts";
import type { Timer } from "../time.ts";
import type { HostEndpoint, HostNetwork, HostUdpSocket } from "./host-network.ts";

/** A question without an answer yet; one that has been answered (RFC 4787 REQ-5 asks for two minutes at least). */
const ONE_WAY_NS: Ns = 30 * NS_PER_S;
const TWO_WAY_NS: Ns = 120 * NS_PER_S;
/** Peers remembered per mapping; what others send is not let in. */
const MAX_PEERS = 256;

interface Mapping {
	readonly key: string;
	readonly guest: Ipv4;
	readonly guestPort: number;
	readonly socket: HostUdpSocket;
	readonly timer: Timer;
	/** The outside endpoint, to the address by which the guest knows it. */
	readonly peers: Map<string, { readonly address: Ipv4; readonly packet: Ipv4Packet }>;
	isTwoWay: boolean;
}

export interface UdpFlowsOptions {
	readonly node: IpNode;
	readonly host: HostNetwork;
	readonly maxFlows: number;
	/** A mapping of its own per destination, instead of one per guest port. */
	readonly isSymmetric: boolean;
	toHost(address: Ipv4, port: number): HostEndpoint;
}

/**
 * Guests' UDP: one host socket per guest port (endpoint-independent mapping, RFC 4787 §4.1), open inwards for the
 * endpoints that the guest has sent to (address and port dependent filtering, §5).
 */
export class UdpFlows {
	readonly #options: UdpFlowsOptions;
	readonly #mappings = new Map<string, Mapping>();

	constructor(options: UdpFlowsOptions) {
		this.#options = options;
	}

	get count(): number {
		return this.#mappings.size;
	}

	/** False when it was refused. */
	receive(packet: Ipv4Packet, isAllowed: (port: number) => boolean): boolean {
		const datagram = parseUdp(packet.payload, packet.source, packet.destination);
		if (datagram === undefined) return true;
		if (!isAllowed(datagram.destinationPort)) return false;
		const mapping = this.#mapping(packet, datagram.sourcePort, datagram.destinationPort);
		const to = this.#options.toHost(packet.destination, datagram.destinationPort);
		const peer = `${to.address}:${to.port}`;
		mapping.peers.delete(peer);
		mapping.peers.set(peer, { address: packet.destination, packet: headOf(packet) });
		if (mapping.peers.size > MAX_PEERS) mapping.peers.delete(mapping.peers.keys().next().value as string);
		this.#touch(mapping);
		mapping.socket.send(to, datagram.payload);
		return true;
	}

	#mapping(packet: Ipv4Packet, guestPort: number, port: number): Mapping {
		const { node, host, maxFlows, isSymmetric } = this.#options;
		const key = `${packet.source}:${guestPort}${isSymmetric ? ` ${packet.destination}:${port}` : ""}`;
		const known = this.#mappings.get(key);
		if (known !== undefined) return known;
		if (this.#mappings.size >= maxFlows) this.#close(this.#mappings.values().next().value as Mapping);
		const mapping: Mapping = {
			key,
			guest: packet.source,
			guestPort,
			socket: host.udpSocket({
				message: (from, bytes) => this.#fromHost(mapping, from, bytes),
				failed: (to, error) => {
					const peer = to === undefined ? undefined : mapping.peers.get(`${to.address}:${to.port}`);
					if (peer !== undefined)
						node.sendError(peer.packet, undefined, ICMP_UNREACHABLE, error === "refused" ? UNREACHABLE_PORT : UNREACHABLE_HOST);
				},
			}),
			timer: node.timers.timer("udp idle", () => this.#close(mapping)),
			peers: new Map(),
			isTwoWay: false,
		};
		this.#mappings.set(key, mapping);
		return mapping;
	}

	#fromHost(mapping: Mapping, from: HostEndpoint, bytes: Uint8Array): void {
		const peer = mapping.peers.get(`${from.address}:${from.port}`);
		if (peer === undefined || this.#mappings.get(mapping.key) !== mapping) return;
		mapping.isTwoWay = true;
		this.#touch(mapping);
		this.#options.node.sendUdp({
			source: peer.address,
			sourcePort: from.port,
			destination: mapping.guest,
			destinationPort: mapping.guestPort,
			payload: bytes,
		});
	}

	#touch(mapping: Mapping): void {
		mapping.timer.arm(this.#options.node.timers.nowNs + (mapping.isTwoWay ? TWO_WAY_NS : ONE_WAY_NS));
	}

	#close(mapping: Mapping): void {
		mapping.timer.disarm();
		mapping.socket.close();
		this.#mappings.delete(mapping.key);
	}

	/** Their time begins anew: the clock may have been put back. */
	touchAll(): void {
		for (const mapping of this.#mappings.values()) this.#touch(mapping);
	}

	closeAll(): void {
		for (const mapping of [...this.#mappings.values()]) this.#close(mapping);
	}
}

/** A datagram as short as an ICMP error quotes it. */
function headOf(packet: Ipv4Packet): Ipv4Packet {
	return { ...packet, payload: packet.payload.slice(0, 64) };
}

interface ForwardedPeer {
	readonly endpoint: HostEndpoint;
	readonly timer: Timer;
}

const FIRST_FORWARD_PORT = 20_000;
const FORWARD_PORTS = 10_000;

/** A UDP port of the host that leads to a guest. Each peer outside is a port of the gateway's to the guest. */
export class UdpForward {
	readonly #node: IpNode;
	readonly #socket: HostUdpSocket;
	readonly #guest: Ipv4;
	readonly #guestPort: number;
	readonly #peers = new Map<number, ForwardedPeer>();
	#nextPort = FIRST_FORWARD_PORT;

	constructor(node: IpNode, host: HostNetwork, at: HostEndpoint, guest: Ipv4, guestPort: number, failed: () => void) {
		this.#node = node;
		this.#guest = guest;
		this.#guestPort = guestPort;
		this.#socket = host.udpSocket({ message: (from, bytes) => this.#fromHost(from, bytes), failed: () => failed() }, at);
	}

	#fromHost(from: HostEndpoint, bytes: Uint8Array): void {
		const known = [...this.#peers].find(([, { endpoint }]) => endpoint.address === from.address && endpoint.port === from.port);
		const port = known?.[0] ?? this.#open(from);
		this.#peers.get(port)?.timer.arm(this.#node.timers.nowNs + TWO_WAY_NS);
		this.#node.sendUdp({ sourcePort: port, destination: this.#guest, destinationPort: this.#guestPort, payload: bytes });
	}

	#open(endpoint: HostEndpoint): number {
		const port = this.#nextPort;
		this.#nextPort = FIRST_FORWARD_PORT + ((port + 1 - FIRST_FORWARD_PORT) % FORWARD_PORTS);
		this.#peers.get(port)?.timer.disarm();
		const timer = this.#node.timers.timer("udp forward", () => this.#peers.delete(port));
		this.#peers.set(port, { endpoint, timer });
		this.#node.onUdp(port, (datagram) => {
			const peer = this.#peers.get(port);
			if (peer !== undefined && datagram.source === this.#guest && datagram.sourcePort === this.#guestPort) {
				peer.timer.arm(this.#node.timers.nowNs + TWO_WAY_NS);
				this.#socket.send(peer.endpoint, datagram.payload);
			}
		});
		return port;
	}

	close(): void {
		for (const { timer } of this.#peers.values()) timer.disarm();
		this.#peers.clear();
		this.#socket.close();
	}
}
