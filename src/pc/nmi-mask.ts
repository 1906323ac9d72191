import type { IoHandler } from "../machine/bus.ts";
import type { Device } from "../machine/device.ts";

export type NmiMaskState = { readonly isMasked: boolean };

const NMI_MASK = 0x80;

/** Bit 7 of port 0x70, which the clock chip behind that port does not see: NMI is kept from the processors. */
export class NmiMask implements Device<NmiMaskState> {
	readonly name = "nmi-mask";
	#isMasked = false;

	get isMasked(): boolean {
		return this.#isMasked;
	}

	/** Puts the mask before the clock chip's two ports. */
	before(clockChip: IoHandler): IoHandler {
		return {
			accessBytes: { min: 1, max: 1 },
			read: (offset, bytes) => clockChip.read(offset, bytes),
			write: (offset, bytes, value) => {
				if (offset === 0) this.#isMasked = (value & NMI_MASK) !== 0;
				clockChip.write(offset, bytes, value);
			},
		};
	}

	reset(): void {
		this.#isMasked = false;
	}

	save(): NmiMaskState {
		return { isMasked: this.#isMasked };
	}

	load(state: NmiMaskState): void {
		this.#isMasked = state.isMasked;
	}
}
