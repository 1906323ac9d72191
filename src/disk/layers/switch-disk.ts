import type { Disk } from "../disk.ts";
import type { Pieces } from "../pieces.ts";

/** A disk whose inside can be exchanged while it is in use: requests wait for the moment that takes. */
export class SwitchDisk implements Disk {
	#inner: Disk;
	#running = 0;
	/** Set while an exchange waits for, or has, the disk to itself. */
	#gate: Promise<void> | undefined;
	#onIdle: (() => void) | undefined;

	constructor(inner: Disk) {
		this.#inner = inner;
	}

	get sizeBytes(): number {
		return this.#inner.sizeBytes;
	}

	get sectorBytes(): 512 | 4096 {
		return this.#inner.sectorBytes;
	}

	get isReadOnly(): boolean {
		return this.#inner.isReadOnly;
	}

	read(offsetBytes: number, into: Uint8Array): Promise<void> {
		return this.#pass((disk) => disk.read(offsetBytes, into));
	}

	write(offsetBytes: number, from: Uint8Array): Promise<void> {
		return this.#pass((disk) => disk.write(offsetBytes, from));
	}

	writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#pass((disk) => disk.writeZeroes(offsetBytes, lengthBytes));
	}

	discard(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#pass((disk) => disk.discard(offsetBytes, lengthBytes));
	}

	readNow(offsetBytes: number, into: Pieces): boolean {
		return this.#gate === undefined && this.#inner.readNow?.(offsetBytes, into) === true;
	}

	writeNow(offsetBytes: number, from: Pieces): boolean {
		return this.#gate === undefined && this.#inner.writeNow?.(offsetBytes, from) === true;
	}

	flush(): Promise<void> {
		return this.#pass((disk) => disk.flush());
	}

	close(): Promise<void> {
		return this.#pass((disk) => disk.close());
	}

	/**
	 * Waits until nothing is under way, runs `work` with everything else held up, and goes on with the disk it answers. If
	 * it fails, with the one there was.
	 */
	async exchange(work: (inner: Disk) => Promise<Disk>): Promise<void> {
		while (this.#gate !== undefined) await this.#gate;
		let open = () => {};
		this.#gate = new Promise((resolve) => {
			open = resolve;
		});
		try {
			if (this.#running > 0)
				await new Promise<void>((resolve) => {
					this.#onIdle = resolve;
				});
			this.#inner = await work(this.#inner);
		} finally {
			this.#gate = undefined;
			open();
		}
	}

	async #pass(run: (disk: Disk) => Promise<void>): Promise<void> {
		while (this.#gate !== undefined) await this.#gate;
		this.#running++;
		try {
			await run(this.#inner);
		} finally {
			this.#running--;
			if (this.#running === 0) {
				this.#onIdle?.();
				this.#onIdle = undefined;
			}
		}
	}
}
