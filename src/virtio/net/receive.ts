import { isTransportChecksumGood } from "../../net/offload/checksums.ts";
import { type Joined, joinTcp, uncut } from "../../net/offload/join.ts";
import { type SuperFrame, segmentsOf } from "../../net/offload/segment.ts";
import type { Chain } from "../chain.ts";
import type { Virtqueue } from "../virtqueue.ts";
import * as net from "./features.ts";

/** Frames that wait for the guest to make room, at most: what a card's own memory would hold. */
const MAX_BACKLOG_FRAMES = 2048;
/** A super-frame's greatest size: an IP packet with its Ethernet header. */
const MAX_JOINED_BYTES = 65_535 + 14;

export interface ReceiveOffloads {
	/** A frame may be spread over several buffers. */
	readonly isMergeable: boolean;
	readonly checksChecksums: boolean;
	readonly joinsIpv4: boolean;
	readonly joinsIpv6: boolean;
}

/** A frame, or several that nobody has cut. */
type Arrival = Uint8Array | SuperFrame;

/** Frames on their way from the cable into the guest's buffers (Virtio 1.2 §5.1.6.4, "Processing of Incoming Packets"). */
export class Receiver {
	/** By pair of queues. */
	readonly #backlogs: Arrival[][] = [];
	readonly #stats: { receivedFrames: number; droppedFrames: number };
	readonly #header = new Uint8Array(net.HEADER_BYTES);
	readonly #headerView = new DataView(this.#header.buffer);

	constructor(stats: { receivedFrames: number; droppedFrames: number }) {
		this.#stats = stats;
	}

	add(arrival: Arrival, pair: number): void {
		this.#backlogs[pair] ??= [];
		const backlog = this.#backlogs[pair];
		if (backlog.length >= MAX_BACKLOG_FRAMES) this.#stats.droppedFrames++;
		else backlog.push(arrival);
	}

	clear(): void {
		this.#backlogs.length = 0;
	}

	/** What waits, for a snapshot. */
	frames(): Uint8Array[] {
		return this.#backlogs.flatMap((backlog) => backlog.flatMap((arrival) => framesOf(arrival).map((frame) => frame.slice())));
	}

	deliver(queueOf: (pair: number) => Virtqueue, offloads: ReceiveOffloads): void {
		for (const [pair, backlog] of this.#backlogs.entries()) {
			if (backlog === undefined || backlog.length === 0) continue;
			const queue = queueOf(pair);
			if (!queue.isEnabled) {
				backlog.length = 0;
				continue;
			}
			let done = 0;
			while (done < backlog.length) {
				const { joined, taken } = next(backlog, done, offloads);
				if (!this.#place(queue, joined, offloads)) break;
				done += taken;
			}
			backlog.splice(0, done);
			queue.signal();
		}
	}

	/** Puts one frame into the guest's buffers; false when there are too few of them. One too large for them is lost. */
	#place(queue: Virtqueue, joined: Joined, offloads: ReceiveOffloads): boolean {
		const wanted = net.HEADER_BYTES + joined.byteLength;
		const chains: Chain[] = [];
		let room = 0;
		while (room < wanted) {
			const chain = queue.pop();
			if (chain === undefined) {
				for (const taken of chains.reverse()) queue.unpop(taken);
				return false;
			}
			chains.push(chain);
			room += chain.writable.byteLength;
			if (!offloads.isMergeable || (chains.length === 1 && chain.writable.byteLength < net.HEADER_BYTES)) break;
		}
		if (room < wanted) {
			for (const chain of chains) queue.push(chain, 0);
			this.#stats.droppedFrames += joined.count;
			return true;
		}
		this.#fill(queue, chains, joined, offloads);
		this.#stats.receivedFrames += joined.count;
		return true;
	}

	#fill(queue: Virtqueue, chains: readonly Chain[], joined: Joined, offloads: ReceiveOffloads): void {
		this.#describe(joined, offloads);
		this.#headerView.setUint16(10, chains.length, true);
		let [index, at] = [0, net.HEADER_BYTES];
		(chains[0] as Chain).writable.write(0, this.#header);
		for (const part of joined.parts)
			for (let done = 0; done < part.length; ) {
				const chain = chains[index] as Chain;
				const count = Math.min(part.length - done, chain.writable.byteLength - at);
				if (count > 0) chain.writable.write(at, done === 0 && count === part.length ? part : part.subarray(done, done + count));
				done += count;
				at += count;
				if (at < chain.writable.byteLength) continue;
				queue.push(chain, at);
				[index, at] = [index + 1, 0];
			}
		if (index < chains.length && at > 0) queue.push(chains[index] as Chain, at);
	}

	/** struct virtio_net_hdr, but for the number of buffers. */
	#describe(joined: Joined, offloads: ReceiveOffloads): void {
		this.#header.fill(0);
		const { tcp } = joined;
		if (tcp !== undefined) {
			// The checksum field holds the pseudo-header's sum: pieces that came with good checksums make a good whole.
			this.#header[0] = net.VIRTIO_NET_HDR_F_NEEDS_CSUM;
			this.#header[1] = tcp.isIpv6 ? net.VIRTIO_NET_HDR_GSO_TCPV6 : net.VIRTIO_NET_HDR_GSO_TCPV4;
			this.#headerView.setUint16(2, tcp.headerBytes, true);
			this.#headerView.setUint16(4, tcp.segmentBytes, true);
			this.#headerView.setUint16(6, tcp.transportAt, true);
			this.#headerView.setUint16(8, 16, true);
		} else if (offloads.checksChecksums && isTransportChecksumGood(joined.parts[0] as Uint8Array) === true)
			this.#header[0] = net.VIRTIO_NET_HDR_F_DATA_VALID;
	}
}

function framesOf(arrival: Arrival): readonly Uint8Array[] {
	return arrival instanceof Uint8Array ? [arrival] : segmentsOf(arrival);
}

/** What the guest gets next, and how much of the backlog that takes. What it cannot take uncut is cut in its place. */
function next(backlog: Arrival[], from: number, offloads: ReceiveOffloads): { readonly joined: Joined; readonly taken: number } {
	const first = backlog[from] as Arrival;
	if (!(first instanceof Uint8Array)) {
		const isWanted = first.place.isIpv6 ? offloads.joinsIpv6 : offloads.joinsIpv4;
		const joined = isWanted ? uncut(first) : undefined;
		if (joined !== undefined) return { joined, taken: 1 };
		backlog.splice(from, 1, ...segmentsOf(first));
	}
	const joined = joinTcp(backlog, from, { ...offloads, maxBytes: MAX_JOINED_BYTES });
	return { joined, taken: joined.count };
}
