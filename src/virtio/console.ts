import type { Chain } from "./chain.ts";
import { ControlQueue } from "./console-control.ts";
import type { VirtioDevice, VirtioHost } from "./device.ts";

// Virtio 1.2 §5.3.3, "Feature bits"
const VIRTIO_CONSOLE_F_SIZE = 1n << 0n;
const VIRTIO_CONSOLE_F_MULTIPORT = 1n << 1n;
const VIRTIO_CONSOLE_F_EMERG_WRITE = 1n << 2n;
// §5.3.4, "Device configuration layout"
const CONFIG_BYTES = 12;
const EMERG_WR_AT = 8;
/** Output comes up to the host in pieces of at most this size. */
const MAX_PIECE_BYTES = 64 * 1024;

export interface ConsolePort {
	/** Shown in the guest under /dev/virtio-ports; not for consoles. */
	readonly name?: string;
	/** A terminal (hvc0…), as opposed to a plain byte channel. */
	readonly isConsole: boolean;
}

export interface VirtioConsoleOptions {
	readonly name?: string;
	/** One console port when left out; more than one, or one that is not a console, turns multiport on. */
	readonly ports?: readonly ConsolePort[];
	readonly columns?: number;
	readonly rows?: number;
	/** Bytes the guest wrote to a port. */
	readonly onOutput: (port: number, bytes: Uint8Array) => void;
	/** The guest opened or closed a port (multiport only). */
	readonly onOpenChanged?: (port: number, isOpen: boolean) => void;
	/** All input given for a port has reached the guest: more is welcome. */
	readonly onInputDrained?: (port: number) => void;
}

export type VirtioConsoleState = {
	readonly columns: number;
	readonly rows: number;
	readonly ports: readonly { readonly isGuestOpen: boolean; readonly isReady: boolean; readonly input: Uint8Array }[];
	/** Control messages the guest has made no room for yet. */
	readonly control: readonly Uint8Array[];
};

interface Port {
	readonly spec: ConsolePort;
	isReady: boolean;
	isGuestOpen: boolean;
	/** Waiting for buffers from the guest, oldest first. */
	input: Uint8Array[];
}

/** The console device (Virtio 1.2 §5.3): a terminal, and further byte channels if there are more ports. */
export class VirtioConsole implements VirtioDevice<VirtioConsoleState> {
	readonly name: string;
	readonly typeId = 3;
	readonly pciClass = 0x0780;
	readonly features: bigint;
	readonly queueSizes: readonly number[];
	readonly configBytes = CONFIG_BYTES;
	readonly #options: VirtioConsoleOptions;
	readonly #config = new DataView(new ArrayBuffer(CONFIG_BYTES));
	readonly #ports: readonly Port[];
	readonly #control: ControlQueue | undefined;
	#host: VirtioHost | undefined;
	#columns: number;
	#rows: number;

	constructor(options: VirtioConsoleOptions) {
		this.name = options.name ?? "virtio-console";
		this.#options = options;
		this.#columns = options.columns ?? 80;
		this.#rows = options.rows ?? 25;
		const specs = options.ports ?? [{ isConsole: true }];
		this.#ports = specs.map((spec) => ({ spec, isReady: false, isGuestOpen: false, input: [] }));
		const isMultiport = specs.length > 1 || specs[0]?.isConsole === false;
		this.features = VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_EMERG_WRITE | (isMultiport ? VIRTIO_CONSOLE_F_MULTIPORT : 0n);
		this.queueSizes = new Array<number>(isMultiport ? 2 * specs.length + 2 : 2).fill(128);
		this.#config.setUint32(4, specs.length, true);
		if (isMultiport) this.#control = new ControlQueue(specs, (port, event) => this.#onControl(port, event));
		this.#showSize();
	}

	/** Bytes for the guest's reader of `port`; they wait here until it makes room. */
	input(port: number, bytes: Uint8Array): void {
		const target = this.#ports[port];
		if (target === undefined || bytes.length === 0) return;
		target.input.push(bytes.slice());
		this.#deliver(port);
	}

	/** How much input of `port` the guest has not taken yet. */
	pendingInputBytes(port: number): number {
		return this.#ports[port]?.input.reduce((sum, bytes) => sum + bytes.length, 0) ?? 0;
	}

	/** The terminal has another size now. */
	resize(columns: number, rows: number): void {
		if (columns === this.#columns && rows === this.#rows) return;
		this.#columns = columns;
		this.#rows = rows;
		this.#showSize();
		if (this.#isMultiport) {
			for (const [port, { spec, isReady }] of this.#ports.entries())
				if (spec.isConsole && isReady) this.#control?.sendResize(port, columns, rows);
		} else this.#host?.configChanged();
	}

	#showSize(): void {
		this.#config.setUint16(0, this.#columns, true);
		this.#config.setUint16(2, this.#rows, true);
	}

	get #isMultiport(): boolean {
		return ((this.#host?.features ?? 0n) & VIRTIO_CONSOLE_F_MULTIPORT) !== 0n;
	}

	connect(host: VirtioHost): void {
		this.#host = host;
		this.#control?.connect(host);
	}

	start(): void {
		for (let index = 0; index < this.queueSizes.length; index++) this.onNotify(index);
	}

	onNotify(queueIndex: number): void {
		if (queueIndex === 2 || queueIndex === 3) {
			if (this.#isMultiport) this.#control?.onNotify();
			return;
		}
		const port = queueIndex < 2 ? 0 : (queueIndex >> 1) - 1;
		if ((queueIndex & 1) === 0) this.#deliver(port);
		else this.#take(port, queueIndex);
	}

	#take(port: number, queueIndex: number): void {
		const queue = (this.#host as VirtioHost).queue(queueIndex);
		for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
			const { byteLength } = chain.readable;
			for (let at = 0; at < byteLength; at += MAX_PIECE_BYTES) {
				const bytes = new Uint8Array(Math.min(byteLength - at, MAX_PIECE_BYTES));
				chain.readable.read(at, bytes);
				this.#options.onOutput(port, bytes);
			}
			queue.push(chain, 0);
		}
		queue.signal();
	}

	#deliver(port: number): void {
		const target = this.#ports[port];
		if (target === undefined || target.input.length === 0 || this.#host?.isLive !== true) return;
		// §5.3.6.1: a port's reader must have it open, where opening exists.
		if (this.#isMultiport ? !target.isGuestOpen : port !== 0) return;
		const queue = this.#host.queue(port === 0 ? 0 : 2 * port + 2);
		if (!queue.isEnabled) return;
		while (target.input.length > 0) {
			const chain = queue.pop();
			if (chain === undefined) break;
			queue.push(chain, fill(chain, target.input));
		}
		queue.signal();
		if (target.input.length === 0) this.#options.onInputDrained?.(port);
	}

	#onControl(port: number, event: "ready" | "open" | "close"): void {
		const target = this.#ports[port];
		if (target === undefined) return;
		if (event === "ready") {
			target.isReady = true;
			if (target.spec.isConsole) this.#control?.sendResize(port, this.#columns, this.#rows);
			return;
		}
		target.isGuestOpen = event === "open";
		this.#options.onOpenChanged?.(port, target.isGuestOpen);
		this.#deliver(port);
	}

	readConfig(offset: number): number {
		return this.#config.getUint8(offset);
	}

	/** A crashing guest may write characters here without any queue (§5.3.6, "emerg_wr"). */
	writeConfig(offset: number, _bytes: number, value: number): void {
		if (offset === EMERG_WR_AT) this.#options.onOutput(0, Uint8Array.of(value & 0xff));
	}

	quiesce(): Promise<void> {
		return Promise.resolve();
	}

	reset(): void {
		for (const port of this.#ports) {
			port.isReady = false;
			port.isGuestOpen = false;
		}
		this.#control?.reset();
	}

	save(): VirtioConsoleState {
		return {
			columns: this.#columns,
			rows: this.#rows,
			ports: this.#ports.map(({ isReady, isGuestOpen, input }) => ({ isReady, isGuestOpen, input: concat(input) })),
			control: this.#control?.save() ?? [],
		};
	}

	load(state: VirtioConsoleState): void {
		this.#columns = state.columns;
		this.#rows = state.rows;
		this.#showSize();
		for (const [index, port] of this.#ports.entries()) {
			const saved = state.ports[index];
			port.isReady = saved?.isReady ?? false;
			port.isGuestOpen = saved?.isGuestOpen ?? false;
			port.input = saved === undefined || saved.input.length === 0 ? [] : [saved.input.slice()];
		}
		this.#control?.load(state.control);
	}
}

/** Moves as much waiting input as fits into one buffer of the guest. */
function fill(chain: Chain, input: Uint8Array[]): number {
	const room = chain.writable.byteLength;
	let at = 0;
	while (at < room && input.length > 0) {
		const bytes = input[0] as Uint8Array;
		const count = Math.min(room - at, bytes.length);
		chain.writable.write(at, bytes.subarray(0, count));
		at += count;
		if (count === bytes.length) input.shift();
		else input[0] = bytes.subarray(count);
	}
	return at;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
	const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
	let at = 0;
	for (const part of parts) {
		whole.set(part, at);
		at += part.length;
	}
	return whole;
}
