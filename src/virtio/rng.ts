import type { VirtioDevice, VirtioHost } from "./device.ts";

export type VirtioRngState = { readonly delivered: number };

/** Most that one request gets, so that a greedy one cannot hold the machine up. */
const MAX_REQUEST_BYTES = 64 * 1024;

/** The entropy device (Virtio 1.2 §5.4). Bytes come from `fill`: the host's, or a seeded stream in tests and replays. */
export class VirtioRng implements VirtioDevice<VirtioRngState> {
	readonly name: string;
	readonly typeId = 4;
	readonly pciClass = 0x00ff;
	readonly features = 0n;
	readonly queueSizes = [64];
	readonly configBytes = 0;
	readonly #fill: (into: Uint8Array) => void;
	#host: VirtioHost | undefined;
	#delivered = 0;

	constructor(fill: (into: Uint8Array) => void, name = "virtio-rng") {
		this.#fill = fill;
		this.name = name;
	}

	/** Bytes handed out since power-on: where a seeded source has to go on after a restore. */
	get deliveredBytes(): number {
		return this.#delivered;
	}

	connect(host: VirtioHost): void {
		this.#host = host;
	}

	start(): void {
		this.onNotify();
	}

	onNotify(): void {
		const queue = (this.#host as VirtioHost).queue(0);
		for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
			const bytes = new Uint8Array(Math.min(chain.writable.byteLength, MAX_REQUEST_BYTES));
			this.#fill(bytes);
			this.#delivered += bytes.length;
			queue.push(chain, chain.writable.write(0, bytes));
		}
		queue.signal();
	}

	readConfig(): number {
		return 0;
	}

	writeConfig(): void {}

	quiesce(): Promise<void> {
		return Promise.resolve();
	}

	reset(): void {}

	save(): VirtioRngState {
		return { delivered: this.#delivered };
	}

	load(state: VirtioRngState): void {
		this.#delivered = state.delivered;
	}
}
