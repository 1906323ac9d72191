import type { Ns } from "../base/units.ts";
import { parseEthernet } from "../net/frames/ethernet.ts";
import { PROTOCOL_TCP, parseIpv4 } from "../net/frames/ipv4.ts";
import type { Direction } from "../net/link/direction.ts";

const TCP_SYN = 2;

/** Counts what comes through a cable of one TCP port's connections: each byte once, however often it was sent. */
export class GoodputMeter {
	readonly #port: number;
	/** Per connection: the next byte that would be new, and how many were. */
	readonly #flows = new Map<string, { next: number; bytes: number }>();
	firstNs: Ns | undefined;
	lastNs: Ns = 0;
	readonly #end: () => void;

	constructor(direction: Direction, port: number) {
		this.#port = port;
		this.#end = direction.tap(({ point, frame, timeNs }) => {
			if (point === "delivered") this.#see(frame, timeNs);
		});
	}

	get bytes(): number {
		let bytes = 0;
		for (const flow of this.#flows.values()) bytes += flow.bytes;
		return bytes;
	}

	close(): void {
		this.#end();
	}

	#see(bytes: Uint8Array, timeNs: Ns): void {
		const frame = parseEthernet(bytes);
		const packet = frame === undefined ? undefined : parseIpv4(frame.payload);
		if (packet === undefined || packet.protocol !== PROTOCOL_TCP || packet.payload.length < 20) return;
		const view = new DataView(packet.payload.buffer, packet.payload.byteOffset, packet.payload.byteLength);
		if (view.getUint16(2) !== this.#port) return;
		const headerBytes = (view.getUint8(12) >>> 4) * 4;
		const length = packet.payload.length - headerBytes;
		const sequence = view.getUint32(4);
		const key = `${packet.source}:${view.getUint16(0)}`;
		const isSyn = (view.getUint8(13) & TCP_SYN) !== 0;
		const flow = this.#flows.get(key) ?? { next: (sequence + (isSyn ? 1 : 0)) >>> 0, bytes: 0 };
		this.#flows.set(key, flow);
		if (isSyn || length <= 0) return;
		this.firstNs ??= timeNs;
		// Sequence numbers go round (RFC 9293 §3.4): the signed difference says what is new.
		const fresh = (sequence + length - flow.next) | 0;
		if (fresh <= 0) return;
		flow.bytes += Math.min(fresh, length);
		flow.next = (sequence + length) >>> 0;
		this.lastNs = timeNs;
	}
}
