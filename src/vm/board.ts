import type { StateValue } from "../base/json.ts";
import type { CpuPins } from "../machine/processor.ts";

/** What a board tells the machine it is part of. */
export type BoardEvent =
	| { readonly kind: "power-off" }
	| { readonly kind: "reset"; readonly cause: "request" | "triple-fault" }
	| { readonly kind: "debug-exit"; readonly code: number }
	| { readonly kind: "serial"; readonly port: number; readonly bytes: Uint8Array }
	/** The host failed at what the guest asked of a device; the guest has been told so in the device's own way. */
	| { readonly kind: "device-failed"; readonly device: string; readonly error: unknown };

/** The machine's hold on everything that is not a CPU. */
export interface Board {
	/** Set once, before the first instruction. */
	onEvent: (event: BoardEvent) => void;
	/** As when power comes on: every device, and the boot image back in memory. The CPUs are reset through their pins. */
	reset(cpus: readonly CpuPins[]): void;
	/** As when power comes on, but with nothing to boot: a saved state follows. */
	clear(): void;
	/** Bytes arriving at a serial port; returns how many it takes now. */
	serialInput(port: number, bytes: Uint8Array): number;
	/** Called when a serial port can take more, after `serialInput` took less than all. */
	onSerialRoom: (port: number) => void;
	pressPowerButton(): void;
	/** Tells the guest, if it can be told, that it has become another machine (a copy, or one put back in time). */
	announceGeneration(): void;
	/** Asks the guest to take network card `index` out and put it in anew: its driver then finds the card's own address. */
	replugNic(index: number): void;
	/** Sets the clock chip to the host's time of day. */
	setClock(): void;
	/** CPU `index` is about to run: what it reads of its own interrupt controller is that CPU's. */
	cpuTurn(index: number): void;
	/** The CPUs have come to a rest for a moment: a good one to hand on what has gathered. */
	sliceEnded(): void;
	/** Resolves when no disk or network work is under way: devices can be saved then. */
	quiesce(): Promise<void>;
	save(): StateValue;
	load(state: StateValue): void;
	/** Flushes and gives back what the devices hold. */
	close(): Promise<void>;
}
