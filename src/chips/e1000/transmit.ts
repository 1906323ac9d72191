import { unimplemented } from "../../machine/device.ts";
import { MIN_FRAME_BYTES } from "../../net/frames/ethernet.ts";
import { completeChecksum } from "../../net/offload/checksums.ts";
import { segmentTcp } from "../../net/offload/segment.ts";

// §3.3, "Transmit Descriptor Formats"
const CMD_EOP = 1 << 0;
const CMD_IC = 1 << 2;
const CMD_TSE = 1 << 2;
const CMD_RS = 1 << 3;
const CMD_DEXT = 1 << 5;
const CMD_VLE = 1 << 6;
const TUCMD_TCP = 1 << 0;
const POPTS_IXSM = 1 << 0;
const POPTS_TXSM = 1 << 1;
const DTYP_CONTEXT = 0;
const DTYP_DATA = 1;

/** A super-frame with its header; what grows beyond is a driver's mistake, and lost. */
const MAX_PACKET_BYTES = 256 * 1024;
/** §3.3.6: the greatest frame it sends as it is. */
const MAX_FRAME_BYTES = 16_288;

/** What the last context descriptor said (§3.3.6, "TCP/IP Context Transmit Descriptor"). */
interface Context {
	ipStart: number;
	ipOffset: number;
	ipEnd: number;
	tcpStart: number;
	tcpOffset: number;
	tcpEnd: number;
	segmentBytes: number;
	isTcp: boolean;
}

export type TransmitState = {
	readonly context: { readonly [key in keyof Context]: Context[key] };
	readonly parts: readonly Uint8Array[];
	readonly options: { readonly popts: number; readonly isSegmented: boolean; readonly vlan: number };
};

export interface TransmitHost {
	/** Reads guest memory. */
	read(addr: number, into: Uint8Array): void;
	/** Ethertype of the tags it puts in. */
	readonly vlanType: number;
	/** Tags are put in at all. */
	readonly hasVlans: boolean;
	send(frame: Uint8Array): void;
}

/** Puts packets together from descriptors and sends them, with the checksums and cuts that the driver has left to the card. */
export class Transmitter {
	readonly #host: TransmitHost;
	#context: Context = newContext();
	#parts: Uint8Array[] = [];
	#byteLength = 0;
	#popts = 0;
	#isSegmented = false;
	/** -1: no tag. */
	#vlan = -1;

	constructor(host: TransmitHost) {
		this.#host = host;
	}

	/** Carries one descriptor out; answers whether its status is wanted back. */
	descriptor(view: DataView): boolean {
		const command = view.getUint8(11);
		if ((command & CMD_DEXT) === 0) this.#legacy(view, command);
		else {
			const type = (view.getUint32(8, true) >>> 20) & 15;
			if (type === DTYP_CONTEXT) this.#setContext(view, command);
			else if (type === DTYP_DATA) this.#data(view, command);
		}
		return (command & CMD_RS) !== 0;
	}

	#legacy(view: DataView, command: number): void {
		const isFirst = this.#parts.length === 0;
		this.#take(view, view.getUint16(8, true));
		if (isFirst) this.#vlan = (command & CMD_VLE) !== 0 ? view.getUint16(14, true) : -1;
		if ((command & CMD_EOP) === 0) return;
		const packet = this.#finish();
		if (packet === undefined) return;
		if ((command & CMD_IC) !== 0) {
			const [offset, start] = [view.getUint8(10), view.getUint8(13)];
			if (offset >= start) completeChecksum(packet, start, offset - start);
		}
		this.#sendOne(packet, this.#vlan);
	}

	#setContext(view: DataView, command: number): void {
		this.#context = {
			ipStart: view.getUint8(0),
			ipOffset: view.getUint8(1),
			ipEnd: view.getUint16(2, true),
			tcpStart: view.getUint8(4),
			tcpOffset: view.getUint8(5),
			tcpEnd: view.getUint16(6, true),
			segmentBytes: view.getUint16(14, true),
			isTcp: (command & TUCMD_TCP) !== 0,
		};
	}

	#data(view: DataView, command: number): void {
		if (this.#parts.length === 0) {
			this.#popts = view.getUint8(13);
			this.#isSegmented = (command & CMD_TSE) !== 0;
			this.#vlan = -1;
		}
		this.#take(view, view.getUint32(8, true) & 0xf_ffff);
		if ((command & CMD_EOP) === 0) return;
		// §3.3.7.1: the tag stands in the last descriptor of a packet, and drivers put it into all.
		if ((command & CMD_VLE) !== 0) this.#vlan = view.getUint16(14, true);
		const packet = this.#finish();
		if (packet === undefined) return;
		const { ipStart, ipOffset, ipEnd, tcpStart, tcpOffset, tcpEnd, segmentBytes, isTcp } = this.#context;
		if (this.#isSegmented) {
			if (!isTcp) unimplemented("e1000", "UDP segmentation");
			const frames = isTcp ? segmentTcp(packet, segmentBytes) : undefined;
			for (const frame of frames ?? []) this.#sendOne(frame, this.#vlan);
			return;
		}
		if ((this.#popts & POPTS_TXSM) !== 0 && tcpOffset >= tcpStart)
			completeChecksum(packet, tcpStart, tcpOffset - tcpStart, tcpEnd === 0 ? packet.length : tcpEnd + 1);
		if ((this.#popts & POPTS_IXSM) !== 0 && ipOffset >= ipStart)
			completeChecksum(packet, ipStart, ipOffset - ipStart, ipEnd === 0 ? packet.length : ipEnd + 1);
		this.#sendOne(packet, this.#vlan);
	}

	#take(view: DataView, count: number): void {
		const part = new Uint8Array(this.#byteLength + count <= MAX_PACKET_BYTES ? count : 0);
		this.#byteLength += count;
		this.#host.read(view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32, part);
		// Even an empty one counts: the packet has begun.
		this.#parts.push(part);
		if (this.#parts.length > 1024) this.#parts = [new Uint8Array(0)];
	}

	#finish(): Uint8Array | undefined {
		const [parts, byteLength] = [this.#parts, this.#byteLength];
		this.#parts = [];
		this.#byteLength = 0;
		if (byteLength > MAX_PACKET_BYTES || byteLength < 14) return undefined;
		if (parts.length === 1) return parts[0];
		const packet = new Uint8Array(byteLength);
		let at = 0;
		for (const part of parts) {
			packet.set(part, at);
			at += part.length;
		}
		return packet;
	}

	#sendOne(packet: Uint8Array, vlan: number): void {
		if (packet.length > MAX_FRAME_BYTES) return;
		const tagBytes = vlan >= 0 && this.#host.hasVlans ? 4 : 0;
		const frame =
			tagBytes === 0 && packet.length >= MIN_FRAME_BYTES ? packet : new Uint8Array(Math.max(MIN_FRAME_BYTES, packet.length + tagBytes));
		if (frame !== packet) {
			frame.set(packet.subarray(0, 12));
			frame.set(packet.subarray(12), 12 + tagBytes);
		}
		if (tagBytes > 0) frame.set([this.#host.vlanType >> 8, this.#host.vlanType & 0xff, vlan >> 8, vlan & 0xff], 12);
		this.#host.send(frame);
	}

	reset(): void {
		this.#context = newContext();
		this.#parts = [];
		this.#byteLength = 0;
		this.#popts = 0;
		this.#isSegmented = false;
		this.#vlan = -1;
	}

	save(): TransmitState {
		return {
			context: { ...this.#context },
			parts: this.#parts.map((part) => part.slice()),
			options: { popts: this.#popts, isSegmented: this.#isSegmented, vlan: this.#vlan },
		};
	}

	load(state: TransmitState): void {
		this.#context = { ...state.context };
		this.#parts = state.parts.map((part) => part.slice());
		this.#byteLength = this.#parts.reduce((sum, part) => sum + part.length, 0);
		this.#popts = state.options.popts;
		this.#isSegmented = state.options.isSegmented;
		this.#vlan = state.options.vlan;
	}
}

function newContext(): Context {
	return { ipStart: 0, ipOffset: 0, ipEnd: 0, tcpStart: 0, tcpOffset: 0, tcpEnd: 0, segmentBytes: 0, isTcp: false };
}
