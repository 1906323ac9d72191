import type { Ns } from "../../base/units.ts";
import { encodeUtf8 } from "../../base/utf8.ts";

// PCAP Now Generic (pcapng) Capture File Format, draft-ietf-opsawg-pcapng-02 (2024).
const BLOCK_SECTION_HEADER = 0x0a0d_0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_INTERFACE_STATISTICS = 5;
const BLOCK_ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET = 1;

const OPTION_END = 0;
const OPTION_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_SPEED = 8;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;

export interface CaptureInterface {
	readonly name: string;
	readonly description?: string;
	readonly speedBps?: number | undefined;
}

export interface CapturedPacket {
	readonly interfaceId: number;
	/** Since the start of the capture's clock. */
	readonly timeNs: Ns;
	readonly frame: Uint8Array;
	readonly direction?: "inbound" | "outbound";
	readonly comment?: string;
}

/** Block bodies grow in here, little-endian, everything padded to 32 bits (§3.1). */
class Body {
	readonly #bytes: number[] = [];

	u16(value: number): this {
		this.#bytes.push(value & 255, (value >>> 8) & 255);
		return this;
	}

	u32(value: number): this {
		return this.u16(value).u16(value >>> 16);
	}

	u64(value: bigint): this {
		return this.u32(Number(value & 0xffff_ffffn)).u32(Number(value >> 32n));
	}

	/** §3.5. */
	option(code: number, value: Uint8Array): this {
		this.u16(code).u16(value.length);
		this.#bytes.push(...value);
		while (this.#bytes.length % 4 !== 0) this.#bytes.push(0);
		return this;
	}

	text(code: number, value: string | undefined): this {
		// An option's length is 16 bits; nobody reads a longer comment.
		return value === undefined ? this : this.option(code, encodeUtf8(value).subarray(0, 0xfff0));
	}

	bytes(): Uint8Array {
		return Uint8Array.from(this.#bytes);
	}
}

/**
 * Writes a pcapng file as it happens: times in nanoseconds, one interface per place that is listened at. Every call
 * hands whole blocks to `write`, so a reader that follows live (Wireshark on a pipe) never sees half of one.
 */
export class PcapngWriter {
	readonly #write: (bytes: Uint8Array) => void;
	readonly #epochNs: bigint;
	#interfaces = 0;

	/** `epochNs`: what the clock's 0 is in Unix time; 0 leaves captures of one lab identical from run to run. */
	constructor(write: (bytes: Uint8Array) => void, options: { readonly epochNs?: bigint; readonly comment?: string } = {}) {
		this.#write = write;
		this.#epochNs = options.epochNs ?? 0n;
		const body = new Body().u32(BYTE_ORDER_MAGIC).u16(1).u16(0).u64(0xffff_ffff_ffff_ffffn);
		body.text(OPTION_COMMENT, options.comment).text(SHB_USERAPPL, "Basenji").option(OPTION_END, new Uint8Array(0));
		this.#block(BLOCK_SECTION_HEADER, body.bytes());
	}

	/** Returns the number that packets name their interface by. */
	addInterface(captured: CaptureInterface): number {
		const body = new Body().u16(LINKTYPE_ETHERNET).u16(0).u32(0);
		body.text(IF_NAME, captured.name).text(IF_DESCRIPTION, captured.description);
		if (captured.speedBps !== undefined) body.option(IF_SPEED, new Body().u64(BigInt(captured.speedBps)).bytes());
		body.option(IF_TSRESOL, Uint8Array.of(9)).option(OPTION_END, new Uint8Array(0));
		this.#block(BLOCK_INTERFACE, body.bytes());
		return this.#interfaces++;
	}

	/** One Enhanced Packet Block (§4.3). */
	packet(packet: CapturedPacket): void {
		const { frame, comment, direction } = packet;
		const options = new Body();
		if (comment !== undefined || direction !== undefined) {
			options.text(OPTION_COMMENT, comment);
			if (direction !== undefined) options.option(EPB_FLAGS, new Body().u32(direction === "inbound" ? 1 : 2).bytes());
			options.option(OPTION_END, new Uint8Array(0));
		}
		const optionBytes = options.bytes();
		const paddedBytes = (frame.length + 3) & ~3;
		const body = new Uint8Array(20 + paddedBytes + optionBytes.length);
		const view = new DataView(body.buffer);
		view.setUint32(0, packet.interfaceId, true);
		this.#time(view, 4, packet.timeNs);
		view.setUint32(12, frame.length, true);
		view.setUint32(16, frame.length, true);
		body.set(frame, 20);
		body.set(optionBytes, 20 + paddedBytes);
		this.#block(BLOCK_ENHANCED_PACKET, body);
	}

	/** Interface Statistics Block (§4.6): what the interface has seen and lost by now. */
	statistics(interfaceId: number, timeNs: Ns, received: number, dropped: number): void {
		const head = new Uint8Array(12);
		const view = new DataView(head.buffer);
		view.setUint32(0, interfaceId, true);
		this.#time(view, 4, timeNs);
		const options = new Body()
			.option(ISB_IFRECV, new Body().u64(BigInt(received)).bytes())
			.option(ISB_IFDROP, new Body().u64(BigInt(dropped)).bytes())
			.option(OPTION_END, new Uint8Array(0))
			.bytes();
		const body = new Uint8Array(head.length + options.length);
		body.set(head);
		body.set(options, head.length);
		this.#block(BLOCK_INTERFACE_STATISTICS, body);
	}

	/** High word first, whatever the byte order (§4.3). */
	#time(view: DataView, offset: number, timeNs: Ns): void {
		const time = this.#epochNs + BigInt(Math.max(0, Math.round(timeNs)));
		view.setUint32(offset, Number((time >> 32n) & 0xffff_ffffn), true);
		view.setUint32(offset + 4, Number(time & 0xffff_ffffn), true);
	}

	#block(type: number, body: Uint8Array): void {
		const block = new Uint8Array(12 + body.length);
		const view = new DataView(block.buffer);
		view.setUint32(0, type, true);
		view.setUint32(4, block.length, true);
		block.set(body, 8);
		view.setUint32(8 + body.length, block.length, true);
		this.#write(block);
	}
}
