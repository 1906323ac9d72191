import type { DnsForwarder } from "../dns/server.ts";

/** An address as text (IPv4, dotted) and a port. */
export interface HostEndpoint {
	readonly address: string;
	readonly port: number;
}

export type HostSocketError = "refused" | "unreachable" | "timed-out" | "reset" | "not-permitted" | "failed";

/** What a host's TCP socket tells. Never called before the call that made the socket has returned. */
export interface HostTcpEvents {
	connected(): void;
	data(bytes: Uint8Array): void;
	/** So many of the written bytes have gone to the operating system: its way of saying "more, please". */
	sent(bytes: number): void;
	/** The other side has sent its last byte. */
	ended(): void;
	/** The last event. Without an error: both directions ended. */
	closed(error: HostSocketError | undefined): void;
}

export interface HostTcpSocket {
	/** Takes it all; `sent` says when it has gone. */
	write(bytes: Uint8Array): void;
	/** After what was written, no more. */
	end(): void;
	/** Ends it at once (a reset, where the host can). No event follows. */
	abort(): void;
	/** Asks for no more `data` until `resume`; what is on the way may still come. */
	pause(): void;
	resume(): void;
}

export interface HostUdpEvents {
	message(from: HostEndpoint, bytes: Uint8Array): void;
	/** An ICMP error, or a socket that could not be had. */
	failed(to: HostEndpoint | undefined, error: HostSocketError): void;
}

export interface HostUdpSocket {
	send(to: HostEndpoint, bytes: Uint8Array): void;
	close(): void;
}

export interface HostListener {
	close(): void;
}

export type HostPingResult = "reply" | "unreachable" | "ttl-expired" | "timed-out" | "not-permitted";

/**
 * The host's network as the NAT uses it. Whoever implements it (Node's sockets, a relay for a browser) calls back on
 * the thread that the network runs on, between events, never from inside a call.
 */
export interface HostNetwork {
	connectTcp(to: HostEndpoint, events: HostTcpEvents): HostTcpSocket;
	/** For port forwards. `accept` gets each connection and says who listens to it; `failed` when it cannot be bound. */
	listenTcp(
		at: HostEndpoint,
		accept: (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents,
		failed: (error: HostSocketError) => void,
	): HostListener;
	/** Bound to `at`, or to any free port. */
	udpSocket(events: HostUdpEvents, at?: HostEndpoint): HostUdpSocket;
	/** The host's resolver, hosts file included. */
	resolve: DnsForwarder;
	/** One echo request with this body. */
	ping(to: string, body: Uint8Array, ttl: number, done: (result: HostPingResult) => void): void;
}
