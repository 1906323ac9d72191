import type { Disk } from "../../disk/disk.ts";

/**
 * A disk whose requests are answered in the order they were made in, however the host's storage orders them, and which
 * says when all of them are: what a guest sees of it then does not depend on the host's speed.
 */
export class OrderedDisk implements Disk {
	readonly #disk: Disk;
	#last: Promise<unknown> = Promise.resolve();
	#pending = 0;

	constructor(disk: Disk) {
		this.#disk = disk;
	}

	get sizeBytes(): number {
		return this.#disk.sizeBytes;
	}

	get sectorBytes(): 512 | 4096 {
		return this.#disk.sectorBytes;
	}

	get isReadOnly(): boolean {
		return this.#disk.isReadOnly;
	}

	get isBusy(): boolean {
		return this.#pending > 0;
	}

	read(offsetBytes: number, into: Uint8Array): Promise<void> {
		return this.#inOrder(this.#disk.read(offsetBytes, into));
	}

	write(offsetBytes: number, from: Uint8Array): Promise<void> {
		return this.#inOrder(this.#disk.write(offsetBytes, from));
	}

	writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#inOrder(this.#disk.writeZeroes(offsetBytes, lengthBytes));
	}

	discard(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#inOrder(this.#disk.discard(offsetBytes, lengthBytes));
	}

	flush(): Promise<void> {
		return this.#inOrder(this.#disk.flush());
	}

	close(): Promise<void> {
		return this.#disk.close();
	}

	async #inOrder(work: Promise<void>): Promise<void> {
		this.#pending++;
		const before = this.#last;
		this.#last = Promise.allSettled([before, work]);
		try {
			await this.#last;
			await work;
		} finally {
			this.#pending--;
		}
	}
}
