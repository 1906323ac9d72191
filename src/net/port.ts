import type { SuperFrame } from "./offload/segment.ts";

/**
 * One end of a cable, as whoever is plugged into it sees it: a network card, a switch's port, a router's interface.
 *
 * A frame is an Ethernet frame from destination address to end of payload: no preamble, no frame check sequence.
 * Its bytes belong to nobody once sent: the sender does not write to them again, and a receiver that wants to change
 * a frame copies it, because a hub or a switch hands the same bytes to several.
 *
 * `send` never calls `onFrame` of either end before it returns: frames arrive from the link's timers. A device may
 * therefore send from inside `onFrame`.
 */
export interface Port {
	/** The link is up at this end. Without carrier, sent frames are lost (and counted by the link). */
	readonly hasCarrier: boolean;
	/** Bits per second that the cable takes from this end; absent or `undefined`: as fast as you like. */
	readonly speedBps?: number | undefined;
	send(frame: Uint8Array): void;
	/**
	 * Takes a TCP super-frame as it is, where nothing on the way has to see the frames that it would be cut into and the other
	 * end does not mind; false, and nothing done, where it has to be cut first.
	 */
	sendWhole?(whole: SuperFrame): boolean;
	/** Whether `sendWhole` would take one of the usual size now. */
	readonly takesWhole?: boolean;
	/** Set by the device. A frame that has come to this end. */
	onFrame: (frame: Uint8Array) => void;
	/** Set by a device that takes super-frames as they are. */
	onWhole?: ((whole: SuperFrame) => void) | undefined;
	/** Set by the device. Called when `hasCarrier` has changed. */
	onCarrier: (isUp: boolean) => void;
}

/**
 * A socket in a device: it stays while cables come and go. A device is built with one (as its `Port`); whoever draws
 * the network plugs cable ends into it.
 */
export class Jack implements Port {
	readonly name: string;
	onFrame: (frame: Uint8Array) => void = () => {};
	onWhole: ((whole: SuperFrame) => void) | undefined;
	onCarrier: (isUp: boolean) => void = () => {};
	#cable: Port | undefined;

	constructor(name: string) {
		this.name = name;
	}

	get hasCarrier(): boolean {
		return this.#cable?.hasCarrier ?? false;
	}

	get speedBps(): number | undefined {
		return this.#cable?.speedBps;
	}

	get isPlugged(): boolean {
		return this.#cable !== undefined;
	}

	/** Puts a cable in (taking out the one that was there). */
	plug(cable: Port): void {
		const before = this.hasCarrier;
		if (this.#cable !== undefined) detach(this.#cable);
		this.#cable = cable;
		cable.onFrame = (frame) => this.onFrame(frame);
		cable.onWhole = this.onWhole === undefined ? undefined : (whole) => this.onWhole?.(whole);
		cable.onCarrier = (isUp) => this.onCarrier(isUp);
		if (this.hasCarrier !== before) this.onCarrier(this.hasCarrier);
	}

	unplug(): void {
		const before = this.hasCarrier;
		if (this.#cable !== undefined) detach(this.#cable);
		this.#cable = undefined;
		if (before) this.onCarrier(false);
	}

	send(frame: Uint8Array): void {
		this.#cable?.send(frame);
	}

	sendWhole(whole: SuperFrame): boolean {
		return this.#cable?.sendWhole?.(whole) ?? false;
	}

	get takesWhole(): boolean {
		return this.#cable?.takesWhole ?? false;
	}
}

function detach(cable: Port): void {
	cable.onFrame = () => {};
	cable.onWhole = undefined;
	cable.onCarrier = () => {};
}
