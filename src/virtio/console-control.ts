import type { ConsolePort } from "./console.ts";
import type { VirtioHost } from "./device.ts";

// Virtio 1.2 §5.3.6.2, "Multiport Device Operation"
const RECEIVE_QUEUE = 2;
const TRANSMIT_QUEUE = 3;
const VIRTIO_CONSOLE_DEVICE_READY = 0;
const VIRTIO_CONSOLE_DEVICE_ADD = 1;
const VIRTIO_CONSOLE_PORT_READY = 3;
const VIRTIO_CONSOLE_CONSOLE_PORT = 4;
const VIRTIO_CONSOLE_RESIZE = 5;
const VIRTIO_CONSOLE_PORT_OPEN = 6;
const VIRTIO_CONSOLE_PORT_NAME = 7;
const MESSAGE_BYTES = 8;
/** A guest that asks and never listens is not remembered beyond this. */
const MAX_WAITING_MESSAGES = 256;

/** The control queues: which ports there are, what they are called, who has them open. */
export class ControlQueue {
	readonly #ports: readonly ConsolePort[];
	readonly #onEvent: (port: number, event: "ready" | "open" | "close") => void;
	#host: VirtioHost | undefined;
	#waiting: Uint8Array[] = [];

	constructor(ports: readonly ConsolePort[], onEvent: (port: number, event: "ready" | "open" | "close") => void) {
		this.#ports = ports;
		this.#onEvent = onEvent;
	}

	connect(host: VirtioHost): void {
		this.#host = host;
	}

	reset(): void {
		this.#waiting = [];
	}

	save(): readonly Uint8Array[] {
		return this.#waiting.map((message) => message.slice());
	}

	load(waiting: readonly Uint8Array[]): void {
		this.#waiting = waiting.map((message) => message.slice());
	}

	onNotify(): void {
		const queue = (this.#host as VirtioHost).queue(TRANSMIT_QUEUE);
		const message = new Uint8Array(MESSAGE_BYTES);
		const view = new DataView(message.buffer);
		for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
			const count = chain.readable.read(0, message);
			queue.push(chain, 0);
			if (count === MESSAGE_BYTES) this.#onMessage(view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true));
		}
		queue.signal();
		this.#deliver();
	}

	sendResize(port: number, columns: number, rows: number): void {
		const size = new Uint8Array(4);
		const view = new DataView(size.buffer);
		view.setUint16(0, columns, true);
		view.setUint16(2, rows, true);
		this.#send(port, VIRTIO_CONSOLE_RESIZE, 0, size);
		this.#deliver();
	}

	#onMessage(port: number, event: number, value: number): void {
		if (event === VIRTIO_CONSOLE_DEVICE_READY) {
			if (value === 1) for (const index of this.#ports.keys()) this.#send(index, VIRTIO_CONSOLE_DEVICE_ADD, 1);
			return;
		}
		const spec = this.#ports[port];
		if (spec === undefined) return;
		if (event === VIRTIO_CONSOLE_PORT_READY && value === 1) {
			if (spec.isConsole) this.#send(port, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
			if (spec.name !== undefined) this.#send(port, VIRTIO_CONSOLE_PORT_NAME, 1, ascii(spec.name));
			this.#send(port, VIRTIO_CONSOLE_PORT_OPEN, 1);
			this.#onEvent(port, "ready");
		} else if (event === VIRTIO_CONSOLE_PORT_OPEN) this.#onEvent(port, value === 1 ? "open" : "close");
	}

	#send(port: number, event: number, value: number, extra: Uint8Array = new Uint8Array(0)): void {
		if (this.#waiting.length >= MAX_WAITING_MESSAGES) return;
		const message = new Uint8Array(MESSAGE_BYTES + extra.length);
		const view = new DataView(message.buffer);
		view.setUint32(0, port, true);
		view.setUint16(4, event, true);
		view.setUint16(6, value, true);
		message.set(extra, MESSAGE_BYTES);
		this.#waiting.push(message);
	}

	#deliver(): void {
		if (this.#host?.isLive !== true || this.#waiting.length === 0) return;
		const queue = this.#host.queue(RECEIVE_QUEUE);
		while (this.#waiting.length > 0) {
			const chain = queue.pop();
			if (chain === undefined) break;
			queue.push(chain, chain.writable.write(0, this.#waiting.shift() as Uint8Array));
		}
		queue.signal();
	}
}

function ascii(text: string): Uint8Array {
	return Uint8Array.from([...text], (char) => char.charCodeAt(0) & 0x7f);
}
