import type { IoBus } from "../../src/machine/bus.ts";
import type { Survey } from "./nonsense.ts";

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const BAR0 = 0x10;
const BAR_COUNT = 6;

/** Reads through configuration mechanism 1 where a board's PCI devices stand, as a driver would. Its windows must be assigned. */
export function surveyPorts(io: IoBus): Survey {
	const select = (slot: number, register: number): void => io.write(CONFIG_ADDRESS, 4, (0x8000_0000 | (slot << 11) | register) >>> 0);
	const read = (slot: number, register: number): number => {
		select(slot, register);
		return io.read(CONFIG_DATA, 4);
	};
	const write = (slot: number, register: number, value: number): void => {
		select(slot, register);
		io.write(CONFIG_DATA, 4, value);
	};
	const slots: number[] = [];
	const windows: { slot: number; register: number; first: number; sizeBytes: number }[] = [];
	for (let slot = 0; slot < 32; slot++) {
		if ((read(slot, 0) & 0xffff) === 0xffff) continue;
		slots.push(slot);
		for (let bar = 0; bar < BAR_COUNT; bar++) {
			const register = BAR0 + 4 * bar;
			const address = read(slot, register);
			write(slot, register, 0xffff_ffff);
			const sizeBytes = -(read(slot, register) & ~0xf) >>> 0;
			write(slot, register, address);
			const isMemory = (address & 1) === 0 && sizeBytes > 0 && (address & ~0xf) !== 0;
			if (isMemory) windows.push({ slot, register, first: (address & ~0xf) >>> 0, sizeBytes });
			// The upper half of a 64-bit window is no window of its own.
			if ((address & 0x7) === 4) bar++;
		}
	}
	return { slots, windows };
}
