import type { Ns } from "../../base/units.ts";
import type { HostDnsAnswer, HostDnsType } from "../dns/server.ts";
import type { Clock } from "../time.ts";
import { TimerQueue } from "../time.ts";
import type {
	HostEndpoint,
	HostListener,
	HostNetwork,
	HostPingResult,
	HostSocketError,
	HostTcpEvents,
	HostTcpSocket,
	HostUdpEvents,
	HostUdpSocket,
} from "./host-network.ts";

/** A server's side of a connection to the pretended world. */
export interface FakePeer {
	onData: (bytes: Uint8Array) => void;
	onEnd: () => void;
	onClosed: () => void;
	write(bytes: Uint8Array): void;
	end(): void;
	reset(): void;
	/** False while the NAT has asked for no more. */
	readonly isWanted: boolean;
}

/**
 * A world for the NAT made of functions: servers by endpoint, names by table, everything `latencyNs` away on the given
 * clock. For tests, and for labs that are to have no way out but what they bring along.
 */
export class FakeHost implements HostNetwork {
	readonly tcpServers = new Map<string, (peer: FakePeer) => void>();
	readonly udpServers = new Map<string, (bytes: Uint8Array, reply: (bytes: Uint8Array) => void, from: HostEndpoint) => void>();
	/** `name TYPE` to its answer. */
	readonly names = new Map<string, HostDnsAnswer>();
	readonly pings = new Map<string, HostPingResult>();
	/** Endpoints that fail otherwise than by refusing. */
	readonly failures = new Map<string, HostSocketError>();
	/** Everything that was asked for. */
	readonly log: string[] = [];
	readonly #timers: TimerQueue;
	readonly #latencyNs: Ns;
	readonly #listeners = new Map<string, (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents>();
	readonly #udpSockets = new Map<string, HostUdpEvents>();
	#nextPort = 40_000;

	constructor(clock: Clock, latencyNs: Ns = 1_000_000) {
		this.#timers = new TimerQueue(clock, "fake host");
		this.#latencyNs = latencyNs;
	}

	get openUdpSockets(): number {
		return this.#udpSockets.size;
	}

	connectTcp(to: HostEndpoint, events: HostTcpEvents): HostTcpSocket {
		const key = `${to.address}:${to.port}`;
		this.log.push(`tcp ${key}`);
		const pair = new Pair((run) => this.#later(run), events);
		const server = this.tcpServers.get(key);
		this.#later(() => {
			if (pair.isClosed) return;
			const failure = this.failures.get(key) ?? (server === undefined ? "refused" : undefined);
			if (failure !== undefined) pair.close(failure);
			else {
				events.connected();
				server?.(pair.peer);
			}
		});
		return pair.socket;
	}

	listenTcp(
		at: HostEndpoint,
		accept: (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents,
		failed: (error: HostSocketError) => void,
	): HostListener {
		const key = `${at.address}:${at.port}`;
		if (this.#listeners.has(key)) this.#later(() => failed("not-permitted"));
		else this.#listeners.set(key, accept);
		return { close: () => this.#listeners.delete(key) };
	}

	/** Someone out there connects to a forwarded port. `undefined`: nobody listens. */
	dial(at: HostEndpoint): FakePeer | undefined {
		const accept = this.#listeners.get(`${at.address}:${at.port}`);
		if (accept === undefined) return undefined;
		let events: HostTcpEvents | undefined;
		const told = (): HostTcpEvents => events as HostTcpEvents;
		const pair = new Pair((run) => this.#later(run), {
			connected: () => {},
			data: (bytes) => told().data(bytes),
			sent: (bytes) => told().sent(bytes),
			ended: () => told().ended(),
			closed: (error) => told().closed(error),
		});
		events = accept(pair.socket, { address: "127.0.0.1", port: this.#nextPort++ });
		return pair.peer;
	}

	udpSocket(events: HostUdpEvents, at?: HostEndpoint): HostUdpSocket {
		const own = at ?? { address: "127.0.0.1", port: this.#nextPort++ };
		const key = `${own.address}:${own.port}`;
		this.#udpSockets.set(key, events);
		return {
			send: (to, bytes) => {
				const name = `${to.address}:${to.port}`;
				this.log.push(`udp ${name}`);
				const copy = bytes.slice();
				this.#later(() => {
					const server = this.udpServers.get(name);
					const failure = this.failures.get(name) ?? (server === undefined ? "refused" : undefined);
					if (failure !== undefined) this.#udpSockets.get(key)?.failed(to, failure);
					else server?.(copy, (reply) => this.#later(() => this.#udpSockets.get(key)?.message(to, reply)), own);
				});
			},
			close: () => this.#udpSockets.delete(key),
		};
	}

	/** Someone out there sends to a bound socket. */
	sendUdp(from: HostEndpoint, to: HostEndpoint, bytes: Uint8Array): void {
		this.#later(() => this.#udpSockets.get(`${to.address}:${to.port}`)?.message(from, bytes));
	}

	resolve = (name: string, type: HostDnsType, done: (answer: HostDnsAnswer) => void): void => {
		this.log.push(`dns ${name} ${type}`);
		this.#later(() => done(this.names.get(`${name} ${type}`) ?? { kind: "no-such-name" }));
	};

	ping(to: string, _body: Uint8Array, _ttl: number, done: (result: HostPingResult) => void): void {
		this.log.push(`ping ${to}`);
		this.#later(() => done(this.pings.get(to) ?? "timed-out"));
	}

	#later(run: () => void): void {
		this.#timers.timer("fake", run).arm(this.#timers.nowNs + this.#latencyNs);
	}
}

/** The two sides of one pretended connection. */
class Pair {
	isClosed = false;
	readonly socket: HostTcpSocket;
	readonly peer: FakePeer;
	readonly #later: (run: () => void) => void;
	readonly #events: HostTcpEvents;
	#isPaused = false;
	#waiting: (() => void)[] = [];
	#socketEnded = false;
	#peerEnded = false;

	constructor(later: (run: () => void) => void, events: HostTcpEvents) {
		this.#later = later;
		this.#events = events;
		this.socket = this.#makeSocket();
		this.peer = this.#makePeer();
	}

	close(error: HostSocketError | undefined): void {
		if (this.isClosed) return;
		this.isClosed = true;
		this.#events.closed(error);
	}

	#makeSocket(): HostTcpSocket {
		return {
			write: (bytes) => {
				const copy = bytes.slice();
				this.#later(() => {
					if (this.isClosed) return;
					this.#events.sent(copy.length);
					this.peer.onData(copy);
				});
			},
			end: () => {
				this.#later(() => {
					this.#socketEnded = true;
					if (!this.isClosed) this.peer.onEnd();
					this.#closeIfEnded();
				});
			},
			abort: () => {
				this.isClosed = true;
				this.#later(() => this.peer.onClosed());
			},
			pause: () => {
				this.#isPaused = true;
			},
			resume: () => {
				this.#isPaused = false;
				for (const run of this.#waiting.splice(0)) this.#later(run);
			},
		};
	}

	#makePeer(): FakePeer {
		const tell = (run: () => void) => {
			const told = () => {
				if (!this.isClosed) run();
			};
			if (this.#isPaused) this.#waiting.push(told);
			else this.#later(told);
		};
		const isWanted = () => !this.#isPaused;
		return {
			onData: () => {},
			onEnd: () => {},
			onClosed: () => {},
			write: (bytes) => tell(() => this.#events.data(bytes)),
			end: () =>
				tell(() => {
					this.#peerEnded = true;
					this.#events.ended();
					this.#closeIfEnded();
				}),
			reset: () => tell(() => this.close("reset")),
			get isWanted() {
				return isWanted();
			},
		};
	}

	#closeIfEnded(): void {
		if (this.#socketEnded && this.#peerEnded) this.#later(() => this.close(undefined));
	}
}
