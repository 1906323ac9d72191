import type { StateValue } from "../base/json.ts";
import type { Ns } from "../base/units.ts";
import { debugExit } from "../chips/debug-exit.ts";
import type { LocalApic } from "../chips/lapic.ts";
import { IoBus } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { GuestMemory } from "../machine/memory.ts";
import type { PciDevice, PciFunction } from "../machine/pci.ts";
import type { CpuBoard, CpuPins } from "../machine/processor.ts";
import { PcError } from "./error.ts";
import { fillFwCfg } from "./firmware/fill-fw-cfg.ts";
import { FwCfg } from "./firmware/fw-cfg.ts";
import { PcInterrupts } from "./interrupts.ts";
import { IsaDevices, type SerialLine } from "./isa-devices.ts";
import * as at from "./layout.ts";
import { PciBus } from "./pci/bus.ts";
import { currentPam, makeHostBridge } from "./pci/i440fx.ts";
import { ConfigMechanism1 } from "./pci/mechanism1.ts";
import { makeIsaBridge, showSteering } from "./pci/piix3.ts";
import { REPLUG_BYTES, Replug } from "./pci/replug.ts";
import { ShadowMap } from "./pci/shadow.ts";

export type ResetCause = "request" | "triple-fault";

/**
 * What the guest asks of whoever runs the machine. All come from within a device access, so the listener should end the
 * CPUs' slice and act (say, call `Pc.reset`) between slices.
 */
export interface PcEvents {
	onPowerOff(): void;
	/** `how` names the way it was asked for. */
	onReset(cause: ResetCause, how: string): void;
	/** A byte written to port 0xF4. */
	onDebugExit(code: number): void;
}

export interface PcConfig {
	readonly memory: GuestMemory;
	readonly clock: Clock;
	readonly cpuCount: number;
	/** The host's wall time (milliseconds since 1970, in the zone that the guest's clock shall show) at `clock.nowNs`. */
	readonly wallTimeMs: number;
	readonly events: PcEvents;
	/** COM1 first; at most four. */
	readonly serialLines?: readonly SerialLine[];
	/** They get slots in this order, from 2 up. */
	readonly pciDevices?: readonly PciDevice[];
	/** Those of them that the guest may be asked to take out and put in anew: `Pc.replugCard`. */
	readonly replugs?: readonly PciDevice[];
	/** Whether port 0xF4 is there. */
	readonly hasDebugExit?: boolean;
	/** A firmware image, up to 16 MiB in pages: it ends at 4 GiB, and its last part shows below 1 MiB. */
	readonly firmware?: Uint8Array;
	/** Machine identity for SMBIOS, 16 bytes. */
	readonly uuid?: Uint8Array;
	/** When CPU `cpuIndex` will count `tsc`; needed if its time-stamp counter is not guest nanoseconds. */
	readonly nsOfTsc?: (cpuIndex: number, tsc: bigint) => Ns;
}

export type PcState = { readonly version: number; readonly devices: { readonly [name: string]: StateValue } };

const STATE_VERSION = 1;
/** Devices that the first boards of this version had not: in an older snapshot they are as after a reset. */
const YOUNGER_DEVICES: ReadonlySet<string> = new Set(["float-error", "replug"]);
const MAX_CPUS = 255;

/** An AT-compatible PC: an i440FX/PIIX3 board with APICs, HPET and ACPI, whatever CPUs and PCI devices it is given. */
export class Pc {
	readonly config: PcConfig;
	readonly memory: GuestMemory;
	readonly io = new IoBus();
	readonly interrupts: PcInterrupts;
	readonly pci: PciBus;
	readonly hostBridge: PciFunction;
	readonly isaBridge: PciFunction;
	readonly isa: IsaDevices;
	/** How a firmware image learns about the machine; without one, absent. */
	readonly fwCfg: FwCfg | undefined;
	readonly replug: Replug;
	/** In the order of `reset` and `load`: what drives lines before what listens to them. */
	readonly #devices: readonly Device<StateValue>[];
	readonly #shadow: ShadowMap;
	readonly #cpus: (CpuPins | undefined)[];

	/** @throws PcError `bad-configuration`, `bad-firmware` */
	constructor(config: PcConfig) {
		checkConfig(config);
		const { memory, clock, cpuCount, events } = config;
		this.config = config;
		this.memory = memory;
		this.#cpus = new Array<CpuPins | undefined>(cpuCount).fill(undefined);
		this.interrupts = new PcInterrupts({ clock, cpuCount, ...(config.nsOfTsc === undefined ? {} : { nsOfTsc: config.nsOfTsc }) });
		this.isa = new IsaDevices({
			clock,
			memory,
			interrupts: this.interrupts,
			wallTimeMs: config.wallTimeMs,
			serialLines: config.serialLines ?? [],
			onPowerOff: () => events.onPowerOff(),
			requestReset: (how) => events.onReset("request", how),
		});

		this.fwCfg = config.firmware === undefined ? undefined : new FwCfg(memory);
		if (config.firmware !== undefined) memory.addRom("firmware", 2 ** 32 - config.firmware.length, config.firmware);
		this.#shadow = new ShadowMap(memory);
		this.pci = new PciBus({
			ports: this.io,
			memory,
			interruptPin: (slot, pin) => this.interrupts.pirqs.pin(slot, pin),
			deliverMsi: (address, data) => void this.interrupts.apicBus.deliverMsi(address, data),
		});
		this.hostBridge = makeHostBridge((ranges) => this.#shadow.apply(ranges));
		this.isaBridge = makeIsaBridge((pirq, steering) => this.interrupts.pirqs.steer(pirq, steering));
		const mechanism = new ConfigMechanism1(this.pci);
		const cards = config.pciDevices ?? [];
		const slotOf = (card: PciDevice) => at.FIRST_FREE_SLOT + cards.indexOf(card);
		this.replug = new Replug(this.isa.pm.gpe(at.REPLUG_GPE), new Map(config.replugs?.map((card) => [slotOf(card), card])));
		this.#claim(mechanism);
		this.pci.attach(this.hostBridge, 0);
		this.pci.attach(this.isaBridge, at.ISA_BRIDGE_SLOT);
		for (const card of cards) this.pci.attach(card.pci, slotOf(card));
		this.#devices = [
			...cards,
			this.hostBridge,
			this.isaBridge,
			mechanism,
			...(this.fwCfg === undefined ? [] : [this.fwCfg]),
			this.replug,
			...this.isa.devices,
			this.interrupts.pic2,
			this.interrupts.pic1,
			this.interrupts.ioapic,
			...this.interrupts.lapics,
		];
		this.#bridgesChanged();
		if (this.fwCfg !== undefined) fillFwCfg(this.fwCfg, this);
	}

	/** Puts the pins of CPU `index` (0: the boot processor) on the board. */
	attachCpu(index: number, pins: CpuPins): void {
		this.#cpus[index] = pins;
		this.#lapic(index).attachCpu(pins);
	}

	/** What CPU `index` sees of the board. */
	cpuBoard(index: number): CpuBoard {
		const lapic = this.#lapic(index);
		const isA20Enabled = () => this.isA20Enabled;
		return {
			acknowledgeInterrupt: () => lapic.acknowledgeInterrupt(),
			readTaskPriority: () => lapic.readTaskPriority(),
			writeTaskPriority: (priority) => lapic.writeTaskPriority(priority),
			readApicMsr: (msr) => lapic.readApicMsr(msr),
			writeApicMsr: (msr, value) => lapic.writeApicMsr(msr, value),
			signalFloatError: (isPending) => this.isa.floatError.signal(isPending),
			get isA20Enabled() {
				return isA20Enabled();
			},
			shutdown: () => this.config.events.onReset("triple-fault", `CPU ${index} shut down`),
		};
	}

	/** To be set to the index of the CPU before it accesses memory or ports: each sees its own local APIC. */
	set accessingCpu(index: number) {
		this.interrupts.accessingCpu = index;
	}

	get isA20Enabled(): boolean {
		return this.isa.isA20Enabled;
	}

	/** A short press. False if the guest has not asked to hear of it (no ACPI driver yet, or none at all). */
	pressPowerButton(): boolean {
		return this.isa.pm.pressPowerButton();
	}

	/** Asks the guest to take one of `PcConfig.replugs` out and put it in anew. */
	replugCard(card: PciDevice): void {
		this.replug.ask(at.FIRST_FREE_SLOT + (this.config.pciDevices ?? []).indexOf(card));
	}

	/** The front panel's NMI button; lost while the guest masks NMI. */
	pressNmiButton(): void {
		if (!this.isa.nmiMask.isMasked) this.interrupts.pulseNmi();
	}

	/**
	 * The board's RESET line. Order: PCI devices (so that none masters the bus any more or interrupts), bridges, ISA
	 * devices, power management, the interrupt controllers from the outside in (8259s, I/O APIC, local APICs), and last
	 * the CPUs, which then find quiet pins. Memory, CMOS and the time of day live on.
	 */
	reset(): void {
		for (const device of this.#devices) device.reset();
		this.#bridgesChanged();
		for (const cpu of this.#cpus) cpu?.reset();
	}

	save(): PcState {
		return { version: STATE_VERSION, devices: Object.fromEntries(this.#devices.map((device) => [device.name, device.save()])) };
	}

	/**
	 * Takes what `save` gave on a board of the same configuration. Lines come back without edges: drivers are loaded
	 * before the controllers that listen, so whatever a driver's load sets off there is overwritten.
	 * @throws PcError `bad-snapshot`
	 */
	load(state: PcState): void {
		if (state.version !== STATE_VERSION)
			throw new PcError("bad-snapshot", `the board's state has version ${state.version}; this version of Basenji reads ${STATE_VERSION}`);
		const names = new Set(this.#devices.map((device) => device.name));
		for (const name of Object.keys(state.devices))
			if (!names.has(name)) throw new PcError("bad-snapshot", `the snapshot has a device "${name}" that this machine lacks`);
		for (const name of names)
			if (!(name in state.devices) && !YOUNGER_DEVICES.has(name))
				throw new PcError("bad-snapshot", `the snapshot lacks the device "${name}" of this machine`);
		for (const device of this.#devices) {
			const saved = state.devices[device.name];
			if (saved === undefined) device.reset();
			else device.load(saved as StateValue);
			if (device === this.hostBridge || device === this.isaBridge) this.#bridgesChanged();
		}
	}

	/** Brings what hangs on the bridges' registers up to date where no guest's write has done so. */
	#bridgesChanged(): void {
		this.#shadow.apply(currentPam(this.hostBridge));
		showSteering(this.isaBridge, (pirq, steering) => this.interrupts.pirqs.steer(pirq, steering));
	}

	#lapic(index: number): LocalApic {
		return this.interrupts.lapics[index] as LocalApic;
	}

	#claim(mechanism: ConfigMechanism1): void {
		const { io, memory, interrupts, isa } = this;
		isa.claim(io, memory);
		io.claim("pic1", 0x20, 2, interrupts.pic1.registers);
		io.claim("pic2", 0xa0, 2, interrupts.pic2.registers);
		io.claim("replug", at.REPLUG_PORT, REPLUG_BYTES, this.replug.ports);
		io.claim("elcr1", 0x4d0, 1, interrupts.pic1.edgeLevelControl);
		io.claim("elcr2", 0x4d1, 1, interrupts.pic2.edgeLevelControl);
		if (this.fwCfg !== undefined) {
			io.claim("fw-cfg", at.FW_CFG_PORT, 2, this.fwCfg.ports);
			io.claim("fw-cfg-dma", at.FW_CFG_DMA_PORT, 8, this.fwCfg.dmaPorts);
		}
		if (this.config.hasDebugExit === true) {
			const exit = debugExit((code) => this.config.events.onDebugExit(code));
			io.claim("debug-exit", at.DEBUG_EXIT_PORT, 1, exit);
		}
		io.claim("pci-config-address", 0xcf8, 4, mechanism.addressPorts(isa.resetControl.register));
		io.claim("pci-config-data", 0xcfc, 4, mechanism.dataPorts);
		memory.claim("ioapic", at.IOAPIC_ADDR, at.PAGE, interrupts.ioapic.registers);
		memory.claim("lapic", at.LAPIC_ADDR, at.PAGE, interrupts.lapicPage);
	}
}

function checkConfig(config: PcConfig): void {
	const refuse = (what: string) => {
		throw new PcError("bad-configuration", what);
	};
	const { cpuCount } = config;
	if (!Number.isInteger(cpuCount) || cpuCount < 1 || cpuCount > MAX_CPUS) refuse(`a PC has 1 to ${MAX_CPUS} CPUs, not ${cpuCount}`);
	if ((config.serialLines?.length ?? 0) > at.SERIAL_PORTS.length) refuse(`a PC has at most ${at.SERIAL_PORTS.length} serial ports`);
	if ((config.pciDevices?.length ?? 0) > 32 - at.FIRST_FREE_SLOT) refuse(`a PC has ${32 - at.FIRST_FREE_SLOT} free PCI slots`);
	if (config.uuid !== undefined && config.uuid.length !== 16) refuse("a UUID has 16 bytes");
	const names = (config.pciDevices ?? []).map((device) => device.name);
	for (const [i, name] of names.entries()) if (names.indexOf(name) !== i) refuse(`two PCI devices are named "${name}"`);
	const firmwareBytes = config.firmware?.length;
	if (firmwareBytes !== undefined && (firmwareBytes === 0 || firmwareBytes % at.PAGE !== 0 || firmwareBytes > 16 * 2 ** 20))
		throw new PcError("bad-firmware", `a firmware image has 4 KiB to 16 MiB in whole pages, not ${firmwareBytes} bytes`);
}
