import { NS_PER_S, type Ns } from "../../base/units.ts";
import { isGroupMac, isUnicastIpv4 } from "../frames/address.ts";
import type { EthernetFrame } from "../frames/ethernet.ts";
import { buildIcmp, isIcmpError } from "../frames/icmp.ts";
import { buildIpv4, type Ipv4Packet, PROTOCOL_ICMP } from "../frames/ipv4.ts";

/** RFC 1812 §4.3.2.3: as much of the offending packet as fits into 576 bytes. */
const MAX_QUOTE_BYTES = 576 - 20 - 8;

/** Whether an error may be sent about `packet` at all (RFC 1122 §3.2.2, RFC 1812 §4.3.2.7). */
export function mayCauseError(packet: Ipv4Packet, frame: EthernetFrame | undefined): boolean {
	if (packet.fragmentOffsetBytes !== 0 || !isUnicastIpv4(packet.source) || !isUnicastIpv4(packet.destination)) return false;
	if (frame !== undefined && isGroupMac(frame.destination)) return false;
	return !(packet.protocol === PROTOCOL_ICMP && isIcmpError(packet.payload[0] ?? 3));
}

/** The ICMP message that says what is wrong with `packet`. */
export function icmpErrorAbout(packet: Ipv4Packet, type: number, code: number, rest: number): Uint8Array {
	return buildIcmp({ type, code, rest, body: buildIpv4(packet).subarray(0, MAX_QUOTE_BYTES) });
}

/** Tokens come back at a steady rate, up to a burst (RFC 1812 §4.3.2.8). */
export class RateLimit {
	readonly #perS: number;
	readonly #burst: number;
	#tokens: number;
	#sinceNs: Ns = 0;

	constructor(perS: number, burst: number) {
		this.#perS = perS;
		this.#burst = burst;
		this.#tokens = burst;
	}

	take(nowNs: Ns): boolean {
		this.#tokens = Math.min(this.#burst, this.#tokens + ((nowNs - this.#sinceNs) * this.#perS) / NS_PER_S);
		this.#sinceNs = nowNs;
		if (this.#tokens < 1) return false;
		this.#tokens--;
		return true;
	}

	save(): { tokens: number; sinceNs: Ns } {
		return { tokens: this.#tokens, sinceNs: this.#sinceNs };
	}

	load(state: { tokens: number; sinceNs: Ns }): void {
		this.#tokens = state.tokens;
		this.#sinceNs = state.sinceNs;
	}
}
