import type { IoHandler } from "../machine/bus.ts";

/**
 * A register that ends the run: the byte written is the exit code. Wider writes give their lowest byte, once. It reads
 * as an empty port does.
 */
export function debugExit(onExit: (code: number) => void): IoHandler {
	return {
		accessBytes: { min: 1, max: 4 },
		read: () => 0xffff_ffff,
		write: (_offset, _bytes, value) => onExit(value & 0xff),
	};
}
