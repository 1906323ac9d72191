import { readU16, readU32 } from "../../net/frames/address.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../../net/frames/ipv4.ts";
import { locateIp } from "../../net/offload/locate.ts";

const SLOTS = 256;

/**
 * Which pair of queues a flow's frames go to: the one by which the guest last sent its other direction (Virtio 1.2
 * §5.1.6.5.5, "Automatic receive steering in multiqueue mode").
 */
export class Steering {
	readonly #pairs = new Uint8Array(SLOTS);

	learn(frame: Uint8Array, pair: number): void {
		this.#pairs[slotOf(frame)] = pair;
	}

	pairOf(frame: Uint8Array): number {
		return this.#pairs[slotOf(frame)]!;
	}

	clear(): void {
		this.#pairs.fill(0);
	}

	save(): Uint8Array {
		return this.#pairs.slice();
	}

	load(state: Uint8Array): void {
		this.#pairs.set(state);
	}
}

/** The same for both directions of a flow: addresses and ports are mixed without regard to which is whose. */
function slotOf(frame: Uint8Array): number {
	const place = locateIp(frame, false);
	if (place === undefined) return 0;
	const { ipAt, transportAt, protocol } = place;
	let mixed = place.isIpv6 ? 0 : readU32(frame, ipAt + 12) ^ readU32(frame, ipAt + 16);
	if (place.isIpv6) for (let at = ipAt + 8; at < ipAt + 40; at += 4) mixed ^= readU32(frame, at);
	if (!place.isFragment && (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) && transportAt + 4 <= frame.length)
		mixed ^= readU16(frame, transportAt) ^ readU16(frame, transportAt + 2);
	mixed ^= mixed >>> 16;
	return (mixed ^ (mixed >>> 8)) & (SLOTS - 1);
}
