import type { Disk } from "../../../../disk/disk.ts";
import { Questions, type SentAnswer } from "../../../../vm/questions.ts";
import type { DiskRequest, SentDiskFacts } from "./messages.ts";

/** The machine's end of the line to the lab's open disks. */
export class DiskLine {
	readonly #send: (id: number, request: DiskRequest) => void;
	readonly #questions = new Questions<Uint8Array | undefined>();

	constructor(send: (id: number, request: DiskRequest) => void) {
		this.#send = send;
	}

	async ask(request: DiskRequest, into?: Uint8Array): Promise<void> {
		const bytes = await this.#questions.ask((id) => this.#send(id, request));
		if (bytes !== undefined) into?.set(bytes);
	}

	answer(answer: SentAnswer<Uint8Array | undefined>): void {
		this.#questions.settle(answer);
	}
}

/** A disk that is open on the lab's thread. Where a buffer is the guest's own memory, it is read and written in place. */
export class RemoteDisk implements Disk {
	readonly sizeBytes: number;
	readonly sectorBytes: 512 | 4096;
	readonly isReadOnly: boolean;
	readonly #line: DiskLine;
	readonly #disk: number;

	constructor(line: DiskLine, disk: number, { sizeBytes, sectorBytes, isReadOnly }: SentDiskFacts) {
		this.#line = line;
		this.#disk = disk;
		this.sizeBytes = sizeBytes;
		this.sectorBytes = sectorBytes;
		this.isReadOnly = isReadOnly;
	}

	read(offsetBytes: number, into: Uint8Array): Promise<void> {
		const request = { disk: this.#disk, verb: "read" as const, offsetBytes, lengthBytes: into.length };
		if (into.buffer instanceof SharedArrayBuffer) return this.#line.ask({ ...request, bytes: into });
		return this.#line.ask(request, into);
	}

	write(offsetBytes: number, from: Uint8Array): Promise<void> {
		return this.#line.ask({ disk: this.#disk, verb: "write", offsetBytes, lengthBytes: from.length, bytes: from });
	}

	writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#line.ask({ disk: this.#disk, verb: "writeZeroes", offsetBytes, lengthBytes });
	}

	discard(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#line.ask({ disk: this.#disk, verb: "discard", offsetBytes, lengthBytes });
	}

	flush(): Promise<void> {
		return this.#line.ask({ disk: this.#disk, verb: "flush", offsetBytes: 0, lengthBytes: 0 });
	}

	close(): Promise<void> {
		return this.#line.ask({ disk: this.#disk, verb: "close", offsetBytes: 0, lengthBytes: 0 });
	}
}

/** The lab's end: carries a request out. Returns bytes only where the machine's own could not be written to. */
export async function carryOut(disk: Disk, request: DiskRequest): Promise<Uint8Array | undefined> {
	const { verb, offsetBytes, lengthBytes, bytes } = request;
	switch (verb) {
		case "read": {
			const into = bytes ?? new Uint8Array(lengthBytes);
			await disk.read(offsetBytes, into);
			return bytes === undefined ? into : undefined;
		}
		case "write":
			await disk.write(offsetBytes, bytes as Uint8Array);
			return undefined;
		case "writeZeroes":
		case "discard":
			await disk[verb](offsetBytes, lengthBytes);
			return undefined;
		default:
			await disk[verb]();
			return undefined;
	}
}
