import { MIN_FRAME_BYTES } from "../../net/frames/ethernet.ts";
import { completeChecksum } from "../../net/offload/checksums.ts";
import { type SuperFrame, superFrame } from "../../net/offload/segment.ts";
import type { Chain } from "../chain.ts";
import {
	HEADER_BYTES,
	VIRTIO_NET_HDR_F_NEEDS_CSUM,
	VIRTIO_NET_HDR_GSO_ECN,
	VIRTIO_NET_HDR_GSO_NONE,
	VIRTIO_NET_HDR_GSO_TCPV4,
	VIRTIO_NET_HDR_GSO_TCPV6,
} from "./features.ts";

/** A super-frame has at most an IP packet's 64 KiB and its link header. */
const MAX_SUPER_FRAME_BYTES = 65_536 + 64;
/** The greatest frame that any cable of ours carries, jumbo ones included. */
const MAX_FRAME_BYTES = 16 * 1024;
const ETHERNET_HEADER_BYTES = 14;

const header = new Uint8Array(HEADER_BYTES);
const headerView = new DataView(header.buffer);

/**
 * What a driver's request comes to (Virtio 1.2 §5.1.6.2, "Packet Transmission"): a frame with all checksums filled in, or
 * one that is still to be cut. Nothing for a request that makes no sense: a card has no way of saying so but to lose it.
 */
export function readRequest(chain: Chain): Uint8Array | SuperFrame | undefined {
	const byteLength = chain.readable.byteLength - HEADER_BYTES;
	if (byteLength < ETHERNET_HEADER_BYTES || byteLength > MAX_SUPER_FRAME_BYTES) return undefined;
	chain.readable.read(0, header);
	const flags = header[0]!;
	const gsoType = header[1]! & ~VIRTIO_NET_HDR_GSO_ECN;
	const frame = new Uint8Array(Math.max(byteLength, MIN_FRAME_BYTES));
	chain.readable.read(HEADER_BYTES, frame.subarray(0, byteLength));
	if (gsoType === VIRTIO_NET_HDR_GSO_TCPV4 || gsoType === VIRTIO_NET_HDR_GSO_TCPV6)
		return superFrame(frame.subarray(0, byteLength), headerView.getUint16(4, true));
	if (gsoType !== VIRTIO_NET_HDR_GSO_NONE || byteLength > MAX_FRAME_BYTES) return undefined;
	if ((flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
		const [start, offset] = [headerView.getUint16(6, true), headerView.getUint16(8, true)];
		if (!completeChecksum(frame, start, offset, byteLength)) return undefined;
	}
	return frame;
}
