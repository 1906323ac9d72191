import { formatIpv4, type Ipv4 } from "../frames/address.ts";
import { type Ipv4Packet, PROTOCOL_TCP } from "../frames/ipv4.ts";
import { buildTcp, parseTcp, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, type TcpSegment } from "../frames/tcp.ts";
import type { IpNode } from "../ip/node.ts";
import { RandomStream } from "../link/random.ts";
import { TcpConnection } from "./connection.ts";
import type { TcpConnectionState, TcpEvents } from "./contract.ts";

const FIRST_EPHEMERAL_PORT = 49_152;

export type TcpEndpoints = {
	readonly local: Ipv4;
	readonly localPort: number;
	readonly remote: Ipv4;
	readonly remotePort: number;
};

export interface TcpStackOptions {
	readonly seed: number | string;
	readonly mtuBytes?: number;
	readonly receiveBufferBytes?: number;
	readonly usesTimestamps?: boolean;
	/** Connections at most; more are refused. */
	readonly maxConnections?: number;
}

/** Who answers a port: gets the connection's two ends, hands back what it wants to hear of it. */
export type TcpAcceptor = (connection: () => TcpConnection, endpoints: TcpEndpoints) => TcpEvents;

/** TCP connections of one node, by their four numbers. */
export class TcpStack {
	readonly #node: IpNode;
	readonly #options: TcpStackOptions;
	readonly #random: RandomStream;
	readonly #connections = new Map<string, TcpConnection>();
	readonly #listeners = new Map<number, TcpAcceptor>();
	#opened = 0;

	constructor(node: IpNode, options: TcpStackOptions) {
		this.#node = node;
		this.#options = options;
		this.#random = new RandomStream(options.seed, node.name, "tcp");
		node.onProtocol(PROTOCOL_TCP, (packet) => this.receive(packet));
	}

	get connectionCount(): number {
		return this.#connections.size;
	}

	listen(port: number, acceptor: TcpAcceptor): void {
		this.#listeners.set(port, acceptor);
	}

	/** Connects from one of the node's addresses. `undefined` when there is no way there. */
	connect(
		remote: Ipv4,
		remotePort: number,
		events: (connection: () => TcpConnection, endpoints: TcpEndpoints) => TcpEvents,
		local?: Ipv4,
	): TcpConnection | undefined {
		const source = local ?? this.#node.sourceFor(remote);
		if (source === undefined) return undefined;
		const endpoints = { local: source, localPort: this.#freePort(source, remote, remotePort), remote, remotePort };
		return this.#open(endpoints, (connection) => events(connection, endpoints));
	}

	/** A packet of TCP for one of the node's addresses. */
	receive(packet: Ipv4Packet): void {
		const segment = parseTcp(packet.payload, packet.source, packet.destination);
		if (segment === undefined) return;
		if (this.handle(packet, segment)) return;
		const acceptor = this.#listeners.get(segment.destinationPort);
		if ((segment.flags & (TCP_SYN | TCP_ACK | TCP_RST)) === TCP_SYN && acceptor !== undefined && !this.isFull) {
			const endpoints = endpointsOf(packet, segment);
			this.#open(endpoints, (connection) => acceptor(connection, endpoints), segment);
		} else this.refuse(packet, segment);
	}

	get isFull(): boolean {
		return this.#connections.size >= (this.#options.maxConnections ?? 4096);
	}

	/** True when the segment belonged to a connection. */
	handle(packet: Ipv4Packet, segment: TcpSegment): boolean {
		const key = keyOf(endpointsOf(packet, segment));
		const connection = this.#connections.get(key);
		if (connection === undefined) return false;
		// RFC 9293 §3.6.1: an old connection in TIME-WAIT gives way to a new one.
		if (connection.state === "time-wait" && (segment.flags & (TCP_SYN | TCP_ACK)) === TCP_SYN) {
			connection.abort();
			return false;
		}
		connection.receive(segment);
		return true;
	}

	/** Answers a SYN that has been thought over (it must not have been answered before). */
	accept(packet: Ipv4Packet, syn: TcpSegment, events: (connection: () => TcpConnection) => TcpEvents): TcpConnection {
		return this.#open(endpointsOf(packet, syn), events, syn);
	}

	/** A connection goes on as it was saved, in place of the one that has its four numbers now. */
	restore(endpoints: TcpEndpoints, state: TcpConnectionState, events: (connection: () => TcpConnection) => TcpEvents): TcpConnection {
		return this.#open(endpoints, events, state);
	}

	/** All connections end without a word to anybody. */
	forgetAll(): void {
		for (const connection of this.#connections.values()) connection.drop();
		this.#connections.clear();
	}

	/** How many connections have been opened so far: it keys their sequence numbers. */
	get openedCount(): number {
		return this.#opened;
	}

	set openedCount(count: number) {
		this.#opened = count;
	}

	/** RFC 9293 §3.5.2: a reset, formed so that the sender believes it. */
	refuse(packet: Ipv4Packet, segment: TcpSegment): void {
		if ((segment.flags & TCP_RST) !== 0) return;
		const isAck = (segment.flags & TCP_ACK) !== 0;
		const lengthInSequence = segment.payload.length + ((segment.flags & TCP_SYN) !== 0 ? 1 : 0) + ((segment.flags & TCP_FIN) !== 0 ? 1 : 0);
		const reset = {
			sourcePort: segment.destinationPort,
			destinationPort: segment.sourcePort,
			sequence: isAck ? segment.acknowledgment : 0,
			acknowledgment: isAck ? 0 : (segment.sequence + lengthInSequence) >>> 0,
			flags: isAck ? TCP_RST : TCP_RST | TCP_ACK,
			window: 0,
			options: {},
			payload: new Uint8Array(0),
		};
		const { source, destination } = packet;
		this.#node.send({ protocol: PROTOCOL_TCP, source: destination, destination: source, payload: buildTcp(reset, destination, source) });
	}

	/** Resets all of them. */
	abortAll(): void {
		for (const connection of [...this.#connections.values()]) connection.abort();
	}

	describe(): string[] {
		return [...this.#connections].map(([key, connection]) => `${key} ${connection.state}`);
	}

	#open(
		endpoints: TcpEndpoints,
		events: (connection: () => TcpConnection) => TcpEvents,
		from?: TcpSegment | TcpConnectionState,
	): TcpConnection {
		const key = keyOf(endpoints);
		const { local, localPort, remote, remotePort } = endpoints;
		let connection: TcpConnection | undefined;
		const told = events(() => connection as TcpConnection);
		const { mtuBytes = 1500, receiveBufferBytes, usesTimestamps } = this.#options;
		connection = new TcpConnection(
			{
				clock: this.#node.timers,
				initialSequence: this.#random.u32(this.#opened++),
				maxSegmentBytes: mtuBytes - 40,
				...(receiveBufferBytes === undefined ? {} : { receiveBufferBytes }),
				...(usesTimestamps === undefined ? {} : { usesTimestamps }),
				transmit: (segment) => {
					const payload = buildTcp({ ...segment, sourcePort: localPort, destinationPort: remotePort }, local, remote);
					this.#node.send({ protocol: PROTOCOL_TCP, source: local, destination: remote, payload });
				},
			},
			{
				...told,
				closed: (reason) => {
					if (this.#connections.get(key) === connection) this.#connections.delete(key);
					told.closed?.(reason);
				},
			},
			from,
		);
		this.#connections.set(key, connection);
		return connection;
	}

	#freePort(local: Ipv4, remote: Ipv4, remotePort: number): number {
		const span = 65_536 - FIRST_EPHEMERAL_PORT;
		const start = this.#random.u32(this.#opened, 1) % span;
		for (let step = 0; step < span; step++) {
			const localPort = FIRST_EPHEMERAL_PORT + ((start + step) % span);
			if (!this.#connections.has(keyOf({ local, localPort, remote, remotePort }))) return localPort;
		}
		return FIRST_EPHEMERAL_PORT;
	}
}

export function endpointsOf(packet: Ipv4Packet, segment: TcpSegment): TcpEndpoints {
	return { local: packet.destination, localPort: segment.destinationPort, remote: packet.source, remotePort: segment.sourcePort };
}

function keyOf({ local, localPort, remote, remotePort }: TcpEndpoints): string {
	return `${formatIpv4(local)}:${localPort} ${formatIpv4(remote)}:${remotePort}`;
}
