import { MIB } from "../../src/base/units.ts";
import { SteppedClock } from "../../src/machine/clock.ts";
import { GuestMemory } from "../../src/machine/memory.ts";
import type { CpuPins } from "../../src/machine/processor.ts";
import { OpenWire } from "../../src/machine/wire.ts";
import { Jack } from "../../src/net/port.ts";
import { bootLinux } from "../../src/pc/boot.ts";
import { Pc } from "../../src/pc/pc.ts";
import { VirtioBlock } from "../../src/virtio/block.ts";
import { VirtioConsole } from "../../src/virtio/console.ts";
import { VirtioNet } from "../../src/virtio/net/device.ts";
import { VirtioPci } from "../../src/virtio/pci-transport.ts";
import { VirtioRng } from "../../src/virtio/rng.ts";
import { blankDisk } from "./blank-disk.ts";
import { randomFrom } from "./nonsense.ts";
import { nonsenseKernel } from "./nonsense-kernel.ts";

export const MEMORY_BYTES = 32 * MIB;

/** A board without processors, with every card that a machine may have, in the machine's order. */
export interface Bench {
	readonly pc: Pc;
	readonly clock: SteppedClock;
	readonly memory: GuestMemory;
	readonly cards: readonly VirtioPci[];
	/** Carries out what devices have posted. */
	drain(): void;
	/** What the guest has asked of whoever runs it. */
	readonly events: Set<string>;
}

/** A board as direct boot leaves it. */
export async function buildBench(seed: number): Promise<Bench> {
	const random = randomFrom(seed);
	const clock = new SteppedClock();
	const memory = new GuestMemory(MEMORY_BYTES);
	const inbox: (() => void)[] = [];
	const post = (work: () => void): void => void inbox.push(work);
	const cards = [
		new VirtioPci(new VirtioNet(new Jack("jack"), { name: "nic0", mac: 0x02_00_00_00_00_01, pairs: 2, post }), memory),
		new VirtioPci(new VirtioBlock(await blankDisk(4 * MIB), { name: "disk0", post }), memory),
		new VirtioPci(new VirtioRng((into) => into.fill(random(256))), memory),
		new VirtioPci(new VirtioConsole({ onOutput: () => {} }), memory),
	];
	const events = new Set<string>();
	const pc = new Pc({
		memory,
		clock,
		cpuCount: 2,
		wallTimeMs: Date.UTC(2024, 1, 29, 12, 34, 56),
		events: {
			onPowerOff: () => events.add("power-off"),
			onReset: (cause) => events.add(`reset: ${cause}`),
			onDebugExit: () => events.add("debug-exit"),
		},
		serialLines: [{ onTransmit: () => {} }, { onTransmit: () => {} }],
		pciDevices: cards,
	});
	const pins = (): CpuPins => ({ intr: new OpenWire(), nmi() {}, init() {}, startup() {}, reset() {} });
	pc.attachCpu(0, pins());
	pc.attachCpu(1, pins());
	pc.reset();
	bootLinux(pc, { kernel: nonsenseKernel([], new Uint8Array(0)), commandLine: "", rngSeed: new Uint8Array(32) });
	const drain = (): void => {
		for (let work = inbox.shift(); work !== undefined; work = inbox.shift()) work();
	};
	return { pc, clock, memory, cards, drain, events };
}
