import { isTransportChecksumGood } from "../../net/offload/checksums.ts";
import { type Joined, joinTcp } from "../../net/offload/join.ts";
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

/** Frames on their way from the cable into the guest's buffers (Virtio 1.2 §5.1.6.4, "Processing of Incoming Packets"). */
export class Receiver {
	/** By pair of queues. */
	readonly #backlogs: Uint8Array[][] = [];
	readonly #stats: { receivedFrames: number; droppedFrames: number };
	readonly #header = new Uint8Array(net.HEADER_BYTES);
	readonly #headerView = new DataView(this.#header.buffer);

	constructor(stats: { receivedFrames: number; droppedFrames: number }) {
		this.#stats = stats;
	}

	add(frame: Uint8Array, pair: number): void {
		this.#backlogs[pair] ??= [];
		const backlog = this.#backlogs[pair];
		if (backlog.length >= MAX_BACKLOG_FRAMES) this.#stats.droppedFrames++;
		else backlog.push(frame);
	}

	clear(): void {
		this.#backlogs.length = 0;
	}

	/** What waits, for a snapshot. */
	frames(): Uint8Array[] {
		return this.#backlogs.flatMap((backlog) => backlog.map((frame) => frame.slice()));
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
				const joined = joinTcp(backlog, done, { ...offloads, maxBytes: MAX_JOINED_BYTES });
				const taken = this.#place(queue, joined, offloads);
				if (!taken) break;
				done += joined.count;
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
