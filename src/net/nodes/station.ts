import type { Ns } from "../../base/units.ts";
import type { Ipv4, Mac } from "../frames/address.ts";
import { ICMP_ECHO_REPLY } from "../frames/icmp.ts";
import { IpNode } from "../ip/node.ts";
import type { Jack } from "../port.ts";
import { TcpStack } from "../tcp/stack.ts";
import type { Clock } from "../time.ts";

export interface StationOptions {
	readonly name: string;
	readonly clock: Clock;
	readonly seed: number | string;
	readonly mac: Mac;
	/** `10.0.0.5/24`. */
	readonly address: string;
	readonly gateway?: string;
	readonly vlan?: number;
	readonly receiveBufferBytes?: number;
	readonly usesTimestamps?: boolean;
}

export interface PingReply {
	readonly sequence: number;
	readonly rttNs: Ns;
}

/** RFC 862 and RFC 863. */
export const ECHO_PORT = 7;
export const DISCARD_PORT = 9;
/** Waiting in a sender so that its window, not its supply, is what bounds it. */
const FLOOD_CHUNK_BYTES = 1 << 18;
const FLOOD_AHEAD_BYTES = 3 << 20;

/**
 * A computer without a computer: an address that answers pings, echoes and swallows TCP, and can send both. What a lab
 * puts where a whole machine would be too much.
 */
export class Station {
	readonly name: string;
	readonly node: IpNode;
	readonly tcp: TcpStack;
	readonly address: Ipv4;
	/** Bytes that came to the discard port. */
	discardedBytes = 0;
	readonly #clock: Clock;
	#pings = 0;
	readonly #waiting = new Map<number, { sentNs: Ns[]; onReply: (reply: PingReply) => void }>();

	/** @throws SpecError for a wrong address or gateway */
	constructor(options: StationOptions) {
		const { name, clock, mac, address, gateway, vlan } = options;
		this.name = name;
		this.#clock = clock;
		this.node = new IpNode({ name, clock, forwards: false });
		const lan = this.node.addInterface({ name: "lan", mac, address, ...(vlan === undefined ? {} : { vlan }) });
		this.address = lan.address;
		if (gateway !== undefined) this.node.addRoute("0.0.0.0/0", gateway);
		this.tcp = new TcpStack(this.node, {
			seed: options.seed,
			receiveBufferBytes: options.receiveBufferBytes ?? 4 << 20,
			usesTimestamps: options.usesTimestamps ?? true,
		});
		this.tcp.listen(DISCARD_PORT, (connection) => ({
			data: (bytes) => {
				this.discardedBytes += bytes.length;
				connection().consumed(bytes.length);
			},
			ended: () => connection().end(),
		}));
		this.tcp.listen(ECHO_PORT, (connection) => ({
			data: (bytes) => {
				connection().write(bytes.slice());
				connection().consumed(bytes.length);
			},
			ended: () => connection().end(),
		}));
		this.node.onIcmp = (message) => {
			if (message.type !== ICMP_ECHO_REPLY) return;
			const ping = this.#waiting.get(message.rest >>> 16);
			const sequence = message.rest & 0xffff;
			const sentNs = ping?.sentNs[sequence];
			if (ping !== undefined && sentNs !== undefined) ping.onReply({ sequence, rttNs: clock.nowNs - sentNs });
		};
	}

	port(): Jack {
		return this.node.port("lan");
	}

	/** Sends echo requests, `intervalNs` apart, the first at once; returns what ends the listening. */
	ping(to: Ipv4, options: { readonly count: number; readonly intervalNs: Ns }, onReply: (reply: PingReply) => void): () => void {
		this.#pings = (this.#pings + 1) & 0xffff;
		const identifier = this.#pings;
		const ping = { sentNs: [] as Ns[], onReply };
		this.#waiting.set(identifier, ping);
		const timer = this.node.timers.timer("ping", () => send());
		const send = (): void => {
			ping.sentNs.push(this.#clock.nowNs);
			this.node.ping(to, identifier, ping.sentNs.length - 1);
			if (ping.sentNs.length < options.count) timer.arm(this.#clock.nowNs + options.intervalNs);
		};
		send();
		return () => {
			timer.disarm();
			this.#waiting.delete(identifier);
		};
	}

	/** Sends to a TCP port as fast as it goes; returns what ends that. `undefined` when there is no way there. */
	flood(to: Ipv4, port = DISCARD_PORT): (() => void) | undefined {
		const chunk = new Uint8Array(FLOOD_CHUNK_BYTES);
		const opened = this.tcp.connect(to, port, (connection) => {
			const fill = (): void => {
				while (connection().unsentBytes < FLOOD_AHEAD_BYTES) connection().write(chunk);
			};
			return { established: fill, acknowledged: fill };
		});
		return opened === undefined ? undefined : () => opened.abort();
	}
}
