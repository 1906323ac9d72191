import { I8237 } from "../chips/i8237.ts";
import type { IoBus, IoHandler } from "../machine/bus.ts";
import type { DmaPort } from "../machine/memory.ts";

/** Port of each channel's page latch (IBM, "PC/AT Technical Reference", "DMA Page Register Addresses"). */
const PAGE_PORTS = [0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a] as const;

/** The two DMA controllers of an AT: bytes on channels 0–3, words on 5–7, the first in cascade on channel 4. */
export class PcDma {
	readonly dma1: I8237;
	readonly dma2: I8237;

	constructor(memory: DmaPort) {
		this.dma1 = new I8237({ name: "dma1", memory, unitBytes: 1 });
		this.dma2 = new I8237({ name: "dma2", memory, unitBytes: 2 });
	}

	claim(io: IoBus): void {
		io.claim("dma1", 0x00, 16, this.dma1.registers);
		io.claim("dma2", 0xc0, 32, everySecond(this.dma2.registers));
		PAGE_PORTS.forEach((port, channel) => {
			io.claim("dma-page", port, 1, channel < 4 ? this.dma1.page(channel) : this.dma2.page(channel - 4));
		});
	}
}

/** The word controller's A0 hangs on address bit 1; odd ports are the even ones over again. */
function everySecond(registers: IoHandler): IoHandler {
	return {
		accessBytes: { min: 1, max: 1 },
		read: (offset, bytes) => registers.read(offset >> 1, bytes),
		write: (offset, bytes, value) => registers.write(offset >> 1, bytes, value),
	};
}
