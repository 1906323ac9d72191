import { NS_PER_S, type Ns } from "../../base/units.ts";
import { type Ipv4, readU16, writeU16 } from "../frames/address.ts";
import type { IpNode } from "../ip/node.ts";
import type { Timer } from "../time.ts";

const DNS_PORT = 53;
const FIRST_PORT = 32_000;
const PORT_COUNT = 256;
const TRY_NS: Ns = 2 * NS_PER_S;
const MAX_TRIES = 3;

interface Pending {
	readonly query: Uint8Array;
	readonly id: number;
	readonly timer: Timer;
	readonly reply: (response: Uint8Array) => void;
	tries: number;
}

/** Passes questions on to another DNS server inside the lab, as they are, and its answers back. */
export class DnsRelay {
	readonly #node: IpNode;
	readonly #upstream: Ipv4;
	/** By our source port: one question at a time on each. */
	readonly #pending = new Map<number, Pending>();
	#nextPort = FIRST_PORT;

	constructor(node: IpNode, upstream: Ipv4) {
		this.#node = node;
		this.#upstream = upstream;
		for (let port = FIRST_PORT; port < FIRST_PORT + PORT_COUNT; port++)
			node.onUdp(port, ({ source, sourcePort, payload }) => {
				const pending = this.#pending.get(port);
				if (pending === undefined || source !== upstream || sourcePort !== DNS_PORT) return;
				if (payload.length < 12 || readU16(payload, 0) !== pending.id || (payload[2]! & 0x80) === 0) return;
				pending.timer.disarm();
				this.#pending.delete(port);
				pending.reply(payload.slice());
			});
	}

	/** No answer after three tries is none at all. */
	ask(query: Uint8Array, reply: (response: Uint8Array) => void): void {
		const port = this.#nextPort;
		this.#nextPort = FIRST_PORT + ((port + 1 - FIRST_PORT) % PORT_COUNT);
		this.#pending.get(port)?.timer.disarm();
		const timer = this.#node.timers.timer("dns relay", () => this.#try(port));
		this.#pending.set(port, { query: query.slice(), id: readU16(query, 0), timer, reply, tries: 0 });
		this.#try(port);
	}

	#try(port: number): void {
		const pending = this.#pending.get(port) as Pending;
		if (pending.tries++ === MAX_TRIES) {
			this.#pending.delete(port);
			pending.reply(failure(pending.query));
			return;
		}
		pending.timer.arm(this.#node.timers.nowNs + TRY_NS);
		this.#node.sendUdp({ sourcePort: port, destination: this.#upstream, destinationPort: DNS_PORT, payload: pending.query });
	}
}

/** The query itself, turned into "server failure". */
function failure(query: Uint8Array): Uint8Array {
	const response = query.slice();
	writeU16(response, 2, (readU16(query, 2) & 0x7900) | 0x8082);
	return response;
}
