import { type Mac, writeMac } from "../../net/frames/address.ts";
import { type SuperFrame, segmentCount, segmentsOf } from "../../net/offload/segment.ts";
import type { Port } from "../../net/port.ts";
import type { VirtioDevice, VirtioHost } from "../device.ts";
import { control, MAX_COMMAND_BYTES } from "./control.ts";
import * as net from "./features.ts";
import { ReceiveFilter, type ReceiveFilterState } from "./filter.ts";
import { Receiver } from "./receive.ts";
import { Steering } from "./steering.ts";
import { readRequest } from "./transmit.ts";

export interface VirtioNetOptions {
	readonly name?: string;
	readonly mac: Mac;
	/** Pairs of queues, one for each CPU at best; 1 by default. */
	readonly pairs?: number;
	/** The greatest IP packet, told to the driver; left out, the driver takes Ethernet's 1500. */
	readonly mtuBytes?: number;
	readonly queueSize?: number;
	/** Brings work into the machine's inbox, behind what is in it: frames that come in one go are handed on in one go. */
	readonly post: (work: () => void) => void;
}

export type VirtioNetState = {
	readonly mac: Mac;
	readonly filter: ReceiveFilterState;
	readonly pairs: number;
	readonly offloads: bigint;
	readonly isLinkUp: boolean;
	readonly backlog: readonly Uint8Array[];
	readonly steering: Uint8Array;
};

const DEFAULT_QUEUE_SIZE = 256;
const CONTROL_QUEUE_SIZE = 64;
const CONTROL_OK = 0;
const CONTROL_ERROR = 1;

const TSO_OFFLOADS = net.VIRTIO_NET_F_GUEST_TSO4 | net.VIRTIO_NET_F_GUEST_TSO6;
/** What the control queue may switch (§5.1.6.5.6.1). */
const SWITCHABLE_OFFLOADS = net.VIRTIO_NET_F_GUEST_CSUM | TSO_OFFLOADS;

const FEATURES =
	net.VIRTIO_NET_F_CSUM |
	net.VIRTIO_NET_F_GUEST_CSUM |
	net.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS |
	net.VIRTIO_NET_F_MAC |
	TSO_OFFLOADS |
	net.VIRTIO_NET_F_HOST_TSO4 |
	net.VIRTIO_NET_F_HOST_TSO6 |
	net.VIRTIO_NET_F_HOST_ECN |
	net.VIRTIO_NET_F_MRG_RXBUF |
	net.VIRTIO_NET_F_STATUS |
	net.VIRTIO_NET_F_CTRL_VQ |
	net.VIRTIO_NET_F_CTRL_RX |
	net.VIRTIO_NET_F_CTRL_RX_EXTRA |
	net.VIRTIO_NET_F_CTRL_VLAN |
	net.VIRTIO_NET_F_CTRL_MAC_ADDR |
	net.VIRTIO_NET_F_SPEED_DUPLEX;

/**
 * The network device (Virtio 1.2 §5.1). What leaves it are whole frames, segmented and with right checksums, whatever was
 * left to it; what comes in is checked for the guest, and pieces of one TCP stream are handed on as one where it likes.
 */
export class VirtioNet implements VirtioDevice<VirtioNetState> {
	readonly name: string;
	readonly typeId = 1;
	readonly pciClass = 0x0200;
	readonly features: bigint;
	readonly queueSizes: readonly number[];
	readonly configBytes = net.CONFIG_BYTES;
	/** Frames that the guest left no room for, or that came before its driver was up. */
	readonly stats = { sentFrames: 0, receivedFrames: 0, droppedFrames: 0 };
	readonly #mac: Mac;
	readonly #maxPairs: number;
	readonly #port: Port;
	readonly #config = new DataView(new ArrayBuffer(net.CONFIG_BYTES));
	readonly #filter: ReceiveFilter;
	readonly #receiver: Receiver;
	readonly #steering = new Steering();
	readonly #post: (work: () => void) => void;
	#host: VirtioHost | undefined;
	#pairs = 1;
	#offloads = 0n;
	#isDeliveryPosted = false;

	constructor(port: Port, options: VirtioNetOptions) {
		const { mac, mtuBytes } = options;
		this.name = options.name ?? "virtio-net";
		this.#port = port;
		this.#mac = mac;
		this.#post = options.post;
		this.#maxPairs = options.pairs ?? 1;
		this.#filter = new ReceiveFilter(mac);
		this.#receiver = new Receiver(this.stats);
		const queueSize = options.queueSize ?? DEFAULT_QUEUE_SIZE;
		this.queueSizes = [...new Array<number>(2 * this.#maxPairs).fill(queueSize), CONTROL_QUEUE_SIZE];
		this.features = FEATURES | (this.#maxPairs > 1 ? net.VIRTIO_NET_F_MQ : 0n) | (mtuBytes === undefined ? 0n : net.VIRTIO_NET_F_MTU);
		this.#config.setUint16(net.CONFIG_MAX_PAIRS_AT, this.#maxPairs, true);
		this.#config.setUint16(net.CONFIG_MTU_AT, mtuBytes ?? 0, true);
		this.#config.setUint8(net.CONFIG_DUPLEX_AT, net.DUPLEX_FULL);
		this.#showMac();
		this.#showLink(port.hasCarrier);
		port.onFrame = (frame) => this.#arrived(frame);
		port.onWhole = (whole) => this.#arrived(whole);
		port.onCarrier = (isUp) => {
			this.#showLink(isUp);
			this.#host?.configChanged();
		};
	}

	/** The address that the guest goes by now. */
	get mac(): Mac {
		return this.#filter.mac;
	}

	connect(host: VirtioHost): void {
		this.#host = host;
	}

	start(): void {
		const features = this.#negotiated;
		this.#offloads = features & SWITCHABLE_OFFLOADS;
		// A driver that cannot say what it wants wants everything.
		if ((features & net.VIRTIO_NET_F_CTRL_RX) === 0n) this.#filter.modes.add("promiscuous");
		if ((features & net.VIRTIO_NET_F_CTRL_VLAN) !== 0n) this.#filter.vlans = new Set();
		for (let index = 0; index < this.queueSizes.length; index++) this.onNotify(index);
	}

	reset(): void {
		this.#filter.reset(this.#mac);
		this.#receiver.clear();
		this.#steering.clear();
		this.#pairs = 1;
		this.#offloads = 0n;
		this.#showMac();
		this.#showLink(this.#port.hasCarrier);
	}

	get #negotiated(): bigint {
		return this.#host?.features ?? 0n;
	}

	/** §5.1.2: behind the queues of all pairs, or of the one pair that a driver without multiqueue knows. */
	get #controlIndex(): number {
		return (this.#negotiated & net.VIRTIO_NET_F_MQ) === 0n ? 2 : 2 * this.#maxPairs;
	}

	onNotify(queueIndex: number): void {
		if (queueIndex === this.#controlIndex) {
			if ((this.#negotiated & net.VIRTIO_NET_F_CTRL_VQ) !== 0n) this.#obey(queueIndex);
		} else if (queueIndex > this.#controlIndex) return;
		else if (queueIndex % 2 === 0) this.#deliver();
		else this.#transmit(queueIndex);
	}

	#transmit(queueIndex: number): void {
		const queue = (this.#host as VirtioHost).queue(queueIndex);
		for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
			const request = readRequest(chain);
			if (request !== undefined) this.#send(request, queueIndex >> 1);
			queue.push(chain, 0);
		}
		queue.signal();
	}

	#send(request: Uint8Array | SuperFrame, pair: number): void {
		const isFrame = request instanceof Uint8Array;
		if (this.#pairs > 1) this.#steering.learn(isFrame ? request : request.frame, pair);
		this.stats.sentFrames += isFrame ? 1 : segmentCount(request);
		if (isFrame) this.#port.send(request);
		else if (this.#port.sendWhole?.(request) !== true) for (const frame of segmentsOf(request)) this.#port.send(frame);
	}

	#arrived(arrival: Uint8Array | SuperFrame): void {
		const frame = arrival instanceof Uint8Array ? arrival : arrival.frame;
		if (this.#host?.isLive !== true || !this.#filter.accepts(frame)) return;
		const pair = this.#pairs > 1 ? this.#steering.pairOf(frame) % this.#pairs : 0;
		this.#receiver.add(arrival, pair);
		if ((this.#offloads & TSO_OFFLOADS) === 0n) this.#deliver();
		else if (!this.#isDeliveryPosted) {
			// What has come together until then may go to the guest in one piece.
			this.#isDeliveryPosted = true;
			this.#post(() => {
				this.#isDeliveryPosted = false;
				this.#deliver();
			});
		}
	}

	#deliver(): void {
		const host = this.#host;
		if (host?.isLive !== true) return;
		const isMergeable = (this.#negotiated & net.VIRTIO_NET_F_MRG_RXBUF) !== 0n;
		const offloads = {
			isMergeable,
			checksChecksums: (this.#offloads & net.VIRTIO_NET_F_GUEST_CSUM) !== 0n,
			joinsIpv4: isMergeable && (this.#offloads & net.VIRTIO_NET_F_GUEST_TSO4) !== 0n,
			joinsIpv6: isMergeable && (this.#offloads & net.VIRTIO_NET_F_GUEST_TSO6) !== 0n,
		};
		this.#receiver.deliver((pair) => host.queue(2 * pair), offloads);
	}

	#obey(queueIndex: number): void {
		const host = this.#host as VirtioHost;
		const queue = host.queue(queueIndex);
		for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
			if (chain.writable.byteLength < 1) {
				host.broken(`${this.name}: a command without room for its status`);
				return;
			}
			const bytes = new Uint8Array(Math.min(chain.readable.byteLength, MAX_COMMAND_BYTES));
			chain.readable.read(0, bytes);
			const target = {
				filter: this.#filter,
				setMac: (mac: Mac) => this.#setMac(mac),
				setPairs: (count: number) => this.#setPairs(count),
				setOffloads: (bits: bigint) => this.#setOffloads(bits),
			};
			chain.writable.write(0, Uint8Array.of(control(target, bytes) ? CONTROL_OK : CONTROL_ERROR));
			queue.push(chain, 1);
		}
		queue.signal();
	}

	#setMac(mac: Mac): void {
		this.#filter.mac = mac;
		this.#showMac();
	}

	#setPairs(count: number): boolean {
		if ((this.#negotiated & net.VIRTIO_NET_F_MQ) === 0n || count < 1 || count > this.#maxPairs) return false;
		this.#pairs = count;
		return true;
	}

	#setOffloads(bits: bigint): boolean {
		if ((bits & ~(this.#negotiated & SWITCHABLE_OFFLOADS)) !== 0n) return false;
		this.#offloads = bits;
		return true;
	}

	#showMac(): void {
		writeMac(new Uint8Array(this.#config.buffer), net.CONFIG_MAC_AT, this.#filter.mac);
	}

	#showLink(isUp: boolean): void {
		const { speedBps } = this.#port;
		this.#config.setUint16(net.CONFIG_STATUS_AT, isUp ? net.VIRTIO_NET_S_LINK_UP : 0, true);
		this.#config.setUint32(net.CONFIG_SPEED_AT, speedBps === undefined ? net.SPEED_UNKNOWN : Math.max(1, Math.round(speedBps / 1e6)), true);
	}

	readConfig(offset: number): number {
		return this.#config.getUint8(offset);
	}

	/** Read-only since there is a command for the address (§5.1.4.2). */
	writeConfig(): void {}

	quiesce(): Promise<void> {
		return Promise.resolve();
	}

	save(): VirtioNetState {
		return {
			mac: this.#filter.mac,
			filter: this.#filter.save(),
			pairs: this.#pairs,
			offloads: this.#offloads,
			isLinkUp: this.#config.getUint16(net.CONFIG_STATUS_AT, true) !== 0,
			backlog: this.#receiver.frames(),
			steering: this.#steering.save(),
		};
	}

	/** A cable that is not as it was then is news for the guest. */
	load(state: VirtioNetState): void {
		this.#filter.load(state.filter, state.mac);
		this.#pairs = state.pairs;
		this.#offloads = state.offloads;
		this.#steering.load(state.steering);
		this.#receiver.clear();
		for (const frame of state.backlog) this.#receiver.add(frame, this.#pairs > 1 ? this.#steering.pairOf(frame) % this.#pairs : 0);
		this.#showMac();
		this.#showLink(this.#port.hasCarrier);
		if (state.isLinkUp !== this.#port.hasCarrier) this.#host?.configChanged();
	}
}
