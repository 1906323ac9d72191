import { NS_PER_S, type Ns } from "../../base/units.ts";
import type { Ipv4 } from "../frames/address.ts";
import { ICMP_UNREACHABLE, UNREACHABLE_HOST } from "../frames/icmp.ts";
import type { Ipv4Packet } from "../frames/ipv4.ts";
import { parseTcp, TCP_ACK, TCP_RST, TCP_SYN, type TcpSegment } from "../frames/tcp.ts";
import type { IpNode } from "../ip/node.ts";
import type { TcpConnection } from "../tcp/connection.ts";
import type { TcpEvents } from "../tcp/contract.ts";
import type { TcpStack } from "../tcp/stack.ts";
import type { Timer } from "../time.ts";
import type { HostEndpoint, HostNetwork, HostSocketError, HostTcpEvents, HostTcpSocket } from "./host-network.ts";

/** Bytes from outside that may wait for the guest, and when to ask for more again. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
/** RFC 5382 REQ-5: two hours and four minutes of silence. */
const IDLE_NS: Ns = (2 * 3600 + 4 * 60) * NS_PER_S;

/** One TCP connection of a guest, made of two: the guest's with us and ours with the world. */
class TcpFlow {
	readonly #idleNs: Ns = IDLE_NS;
	readonly #idle: Timer;
	readonly #node: IpNode;
	socket: HostTcpSocket | undefined;
	connection: TcpConnection | undefined;
	#isPaused = false;
	#isHostClosed = false;

	constructor(node: IpNode) {
		this.#node = node;
		this.#idle = node.timers.timer("tcp idle", () => this.abort());
		this.touch();
	}

	touch(): void {
		this.#idle.arm(this.#node.timers.nowNs + this.#idleNs);
	}

	guestEvents(): TcpEvents {
		return {
			data: (bytes) => {
				this.touch();
				if (!this.#isHostClosed) this.socket?.write(bytes);
			},
			ended: () => this.socket?.end(),
			acknowledged: () => {
				if (this.#isPaused && (this.connection?.unsentBytes ?? 0) < LOW_WATER_BYTES) {
					this.#isPaused = false;
					this.socket?.resume();
				}
			},
			closed: (reason) => {
				this.#idle.disarm();
				if (reason !== "done" && !this.#isHostClosed) this.socket?.abort();
			},
		};
	}

	hostEvents(): Omit<HostTcpEvents, "connected"> {
		return {
			data: (bytes) => {
				this.touch();
				this.connection?.write(bytes);
				if (!this.#isPaused && (this.connection?.unsentBytes ?? 0) > HIGH_WATER_BYTES) {
					this.#isPaused = true;
					this.socket?.pause();
				}
			},
			sent: (bytes) => this.connection?.consumed(bytes),
			ended: () => this.connection?.end(),
			closed: (error) => {
				this.#isHostClosed = true;
				if (error === undefined) this.connection?.end();
				else this.connection?.abort();
			},
		};
	}

	abort(): void {
		this.#idle.disarm();
		if (!this.#isHostClosed) this.socket?.abort();
		this.#isHostClosed = true;
		this.connection?.abort();
	}
}

export interface TcpFlowsOptions {
	readonly node: IpNode;
	readonly stack: TcpStack;
	readonly host: HostNetwork;
	readonly maxFlows: number;
	/** The endpoint outside for an address that a guest named. */
	toHost(address: Ipv4, port: number): HostEndpoint;
}

/** Guests' TCP connections to the world: opened outside first, so that a refusal out there is one in here. */
export class TcpFlows {
	readonly #options: TcpFlowsOptions;
	/** SYNs that wait for the outside. */
	readonly #opening = new Map<string, TcpFlow>();
	readonly #flows = new Set<TcpFlow>();

	constructor(options: TcpFlowsOptions) {
		this.#options = options;
	}

	get count(): number {
		return this.#flows.size;
	}

	/** A guest's segment for outside; `isAllowed` is asked for a new connection only. False when it was refused. */
	receive(packet: Ipv4Packet, isAllowed: (port: number) => boolean): boolean {
		const segment = parseTcp(packet.payload, packet.source, packet.destination);
		if (segment === undefined) return true;
		const { stack, maxFlows } = this.#options;
		if (stack.handle(packet, segment)) return true;
		const key = `${packet.source}:${segment.sourcePort} ${packet.destination}:${segment.destinationPort}`;
		const opening = this.#opening.get(key);
		if (opening !== undefined) {
			if ((segment.flags & TCP_RST) !== 0) {
				this.#opening.delete(key);
				this.#flows.delete(opening);
				opening.abort();
			}
			return true;
		}
		if ((segment.flags & (TCP_SYN | TCP_ACK | TCP_RST)) !== TCP_SYN || this.#flows.size >= maxFlows) {
			stack.refuse(packet, segment);
			return true;
		}
		if (!isAllowed(segment.destinationPort)) return false;
		this.#open(key, packet, segment);
		return true;
	}

	#open(key: string, packet: Ipv4Packet, syn: TcpSegment): void {
		const { node, stack, host, toHost } = this.#options;
		const flow = new TcpFlow(node);
		this.#flows.add(flow);
		this.#opening.set(key, flow);
		const copy = { ...packet, payload: packet.payload.slice() };
		const events = flow.hostEvents();
		flow.socket = host.connectTcp(toHost(packet.destination, syn.destinationPort), {
			...events,
			connected: () => {
				if (!this.#opening.delete(key)) return;
				const guest = flow.guestEvents();
				flow.connection = stack.accept(copy, syn, () => ({
					...guest,
					closed: (reason) => {
						this.#flows.delete(flow);
						guest.closed?.(reason);
					},
				}));
			},
			closed: (error) => {
				if (this.#opening.delete(key)) this.#refuse(flow, copy, syn, error);
				else events.closed(error);
			},
		});
	}

	/** The outside would not: the guest hears what a router or the server itself would have said. */
	#refuse(flow: TcpFlow, packet: Ipv4Packet, syn: TcpSegment, error: HostSocketError | undefined): void {
		const { node, stack } = this.#options;
		this.#flows.delete(flow);
		flow.abort();
		if (error === "unreachable") node.sendError(packet, undefined, ICMP_UNREACHABLE, UNREACHABLE_HOST);
		// Nobody answered out there: nobody answers in here.
		else if (error !== "timed-out") stack.refuse(packet, syn);
	}

	/** A connection from outside for a guest (port forward). */
	acceptFromHost(socket: HostTcpSocket, guest: Ipv4, port: number): HostTcpEvents {
		const { node, stack } = this.#options;
		const flow = new TcpFlow(node);
		flow.socket = socket;
		this.#flows.add(flow);
		const events = flow.guestEvents();
		// Nothing is read outside before the guest has taken the connection.
		socket.pause();
		flow.connection = stack.connect(guest, port, () => ({
			...events,
			established: () => socket.resume(),
			closed: (reason) => {
				this.#flows.delete(flow);
				events.closed?.(reason);
			},
		}));
		if (flow.connection === undefined) {
			this.#flows.delete(flow);
			flow.abort();
		}
		return { ...flow.hostEvents(), connected: () => {} };
	}

	abortAll(): void {
		for (const flow of [...this.#flows]) flow.abort();
		this.#flows.clear();
		this.#opening.clear();
	}
}
