import type { Ipv4 } from "../frames/address.ts";
import { ICMP_UNREACHABLE, UNREACHABLE_HOST } from "../frames/icmp.ts";
import type { Ipv4Packet } from "../frames/ipv4.ts";
import { parseTcp, TCP_ACK, TCP_RST, TCP_SYN, type TcpSegment } from "../frames/tcp.ts";
import type { IpNode } from "../ip/node.ts";
import type { TcpEvents } from "../tcp/contract.ts";
import { endpointsOf, type TcpEndpoints, type TcpStack } from "../tcp/stack.ts";
import type { HostEndpoint, HostNetwork, HostSocketError, HostTcpEvents, HostTcpSocket } from "./host-network.ts";
import { TcpFlow, type TcpFlowState } from "./tcp-flow.ts";

/** Sessions by who opened them and how far they had got. */
export type TcpFlowsState = {
	readonly opened: number;
	readonly flows: readonly { readonly endpoints: TcpEndpoints; readonly flow: TcpFlowState }[];
};

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
	/** With the four numbers of the guest's side. */
	readonly #flows = new Map<TcpFlow, TcpEndpoints>();
	#made = 0;

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
		const copy = { ...packet, payload: packet.payload.slice() };
		const flow = new TcpFlow(node, this.#made++);
		this.#flows.set(flow, endpointsOf(copy, syn));
		this.#opening.set(key, flow);
		const events = flow.hostEvents();
		flow.socket = host.connectTcp(toHost(packet.destination, syn.destinationPort), {
			...events,
			connected: () => {
				if (!this.#opening.delete(key)) return;
				flow.connection = stack.accept(copy, syn, () => this.#guestEvents(flow));
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

	#guestEvents(flow: TcpFlow): TcpEvents {
		const events = flow.guestEvents();
		return {
			...events,
			closed: (reason) => {
				this.#flows.delete(flow);
				events.closed?.(reason);
			},
		};
	}

	/** A connection from outside for a guest (port forward). */
	acceptFromHost(socket: HostTcpSocket, guest: Ipv4, port: number): HostTcpEvents {
		const { node, stack } = this.#options;
		const flow = new TcpFlow(node, this.#made++);
		flow.socket = socket;
		// Nothing is read outside before the guest has taken the connection.
		socket.pause();
		flow.connection = stack.connect(guest, port, (_, endpoints) => {
			this.#flows.set(flow, endpoints);
			return { ...this.#guestEvents(flow), established: () => socket.resume() };
		});
		if (flow.connection === undefined) flow.abort();
		return { ...flow.hostEvents(), connected: () => {} };
	}

	abortAll(): void {
		for (const flow of [...this.#flows.keys()]) flow.abort();
		this.#flows.clear();
		this.#opening.clear();
	}

	save(): TcpFlowsState {
		const flows = [...this.#flows].flatMap(([flow, endpoints]) => {
			const state = flow.save();
			return state === undefined ? [] : [{ endpoints, flow: state }];
		});
		return { opened: this.#options.stack.openedCount, flows };
	}

	/**
	 * Puts guests' sides back. Those go on whose other end is still there (`isSameLife`: the state is of these sockets) and has
	 * its tape; the rest end with a reset, on both sides.
	 */
	load(state: TcpFlowsState, isSameLife: boolean): void {
		const { stack } = this.#options;
		const before = new Map([...this.#flows.keys()].map((flow) => [flow.id, flow]));
		stack.forgetAll();
		stack.openedCount = state.opened;
		this.#opening.clear();
		this.#flows.clear();
		for (const { endpoints, flow: saved } of state.flows) {
			const flow = isSameLife ? before.get(saved.id) : undefined;
			if (flow?.canGoOnFrom(saved) === true) {
				before.delete(saved.id);
				this.#flows.set(flow, endpoints);
				flow.goOnFrom(
					saved,
					stack.restore(endpoints, saved.connection, () => this.#guestEvents(flow)),
				);
			} else stack.restore(endpoints, saved.connection, () => ({})).abort();
		}
		for (const flow of before.values()) flow.abort();
	}
}
