import type { Ns } from "../../base/units.ts";
import { buildIpv4, type Ipv4Packet, MAX_IPV4_BYTES, parseIpv4 } from "./ipv4.ts";

/** RFC 791 §3.2 asks for 15 s at least; Linux and others wait 30 s. */
const TIMEOUT_NS: Ns = 30_000_000_000;
/** Bounds what a hostile sender can make us hold. */
const MAX_PARTIAL_PACKETS = 64;
const MAX_FRAGMENTS = 128;

interface Partial {
	readonly key: string;
	readonly startedNs: Ns;
	readonly fragments: Ipv4Packet[];
	totalBytes: number | undefined;
}

/** Half packets: when each began, its fragments as packets of their own, and its length once the last has come. */
export type ReassemblyState = { readonly startedNs: Ns; readonly fragments: Uint8Array[]; readonly totalBytes: number | null }[];

/** Puts IPv4 fragments together again (RFC 791 §3.2). Overlaps discard the whole packet, as RFC 5722 does for IPv6. */
export class Ipv4Reassembler {
	readonly #partials = new Map<string, Partial>();

	/** The whole packet once its last missing fragment has come; a packet that is whole comes straight back. */
	add(packet: Ipv4Packet, nowNs: Ns): Ipv4Packet | undefined {
		if (!packet.moreFragments && packet.fragmentOffsetBytes === 0) return packet;
		this.#expire(nowNs);
		const key = keyOf(packet);
		let partial = this.#partials.get(key);
		if (partial === undefined) {
			if (this.#partials.size >= MAX_PARTIAL_PACKETS) this.#partials.delete(this.#partials.keys().next().value as string);
			partial = { key, startedNs: nowNs, fragments: [], totalBytes: undefined };
			this.#partials.set(key, partial);
		}
		if (!this.#accept(partial, packet)) {
			this.#partials.delete(key);
			return undefined;
		}
		return this.#join(partial);
	}

	#expire(nowNs: Ns): void {
		for (const partial of this.#partials.values()) {
			if (nowNs - partial.startedNs < TIMEOUT_NS) break;
			this.#partials.delete(partial.key);
		}
	}

	#accept(partial: Partial, packet: Ipv4Packet): boolean {
		const start = packet.fragmentOffsetBytes;
		const end = start + packet.payload.length;
		if (end > MAX_IPV4_BYTES || partial.fragments.length >= MAX_FRAGMENTS || packet.payload.length === 0) return false;
		if (packet.moreFragments && packet.payload.length % 8 !== 0) return false;
		for (const other of partial.fragments) {
			const otherStart = other.fragmentOffsetBytes;
			const otherEnd = otherStart + other.payload.length;
			if (start === otherStart && end === otherEnd) return true;
			if (start < otherEnd && end > otherStart) return false;
		}
		if (!packet.moreFragments) partial.totalBytes = end;
		partial.fragments.push({ ...packet, payload: packet.payload.slice() });
		return partial.totalBytes === undefined || partial.fragments.every((each) => each.fragmentOffsetBytes < partial.totalBytes!);
	}

	#join(partial: Partial): Ipv4Packet | undefined {
		const haveBytes = partial.fragments.reduce((sum, each) => sum + each.payload.length, 0);
		const first = partial.fragments.find((each) => each.fragmentOffsetBytes === 0);
		if (partial.totalBytes === undefined || haveBytes !== partial.totalBytes || first === undefined) return undefined;
		this.#partials.delete(partial.key);
		const payload = new Uint8Array(partial.totalBytes);
		for (const each of partial.fragments) payload.set(each.payload, each.fragmentOffsetBytes);
		return { ...first, moreFragments: false, fragmentOffsetBytes: 0, payload };
	}

	save(): ReassemblyState {
		return [...this.#partials.values()].map(({ startedNs, fragments, totalBytes }) => ({
			startedNs,
			fragments: fragments.map((each) => buildIpv4(each)),
			totalBytes: totalBytes ?? null,
		}));
	}

	load(state: ReassemblyState): void {
		this.#partials.clear();
		for (const { startedNs, fragments, totalBytes } of state) {
			const packets = fragments.map((bytes) => parseIpv4(bytes.slice())).filter((packet) => packet !== undefined);
			const [first] = packets;
			if (first === undefined) continue;
			const key = keyOf(first);
			this.#partials.set(key, { key, startedNs, fragments: packets, totalBytes: totalBytes ?? undefined });
		}
	}
}

function keyOf(packet: Ipv4Packet): string {
	return `${packet.source} ${packet.destination} ${packet.protocol} ${packet.identification}`;
}
