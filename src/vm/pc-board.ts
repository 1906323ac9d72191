import { assert } from "../base/assert.ts";
import type { StateValue } from "../base/json.ts";
import type { Disk } from "../disk/disk.ts";
import type { Clock } from "../machine/clock.ts";
import type { GuestMemory } from "../machine/memory.ts";
import type { PciDevice } from "../machine/pci.ts";
import type { CpuPins } from "../machine/processor.ts";
import { announceGeneration, bootFirmware, bootLinux } from "../pc/boot.ts";
import type { InitialCpuState } from "../pc/linux/entry.ts";
import { Pc, type PcState } from "../pc/pc.ts";
import { VirtioBlock } from "../virtio/block.ts";
import { VirtioConsole } from "../virtio/console.ts";
import { VirtioPci } from "../virtio/pci-transport.ts";
import { VirtioRng } from "../virtio/rng.ts";
import type { Board, BoardEvent } from "./board.ts";
import type { MachineConfig } from "./config.ts";
import type { CpuEngine } from "./engine.ts";
import { MachineError } from "./error.ts";
import type { Host } from "./host.ts";
import { makeNic } from "./nic.ts";

/** Serial output is handed on at the end of a slice, or when this much has come together. */
const BUNCH_BYTES = 4096;

export interface PcBoardOptions {
	readonly config: MachineConfig;
	readonly memory: GuestMemory;
	readonly clock: Clock;
	readonly host: Host;
	readonly physAddrBits: number;
	/** Brings work into the machine's own thread, between two slices. */
	readonly post: (work: () => void) => void;
}

/** A PC as a machine holds it: board, cards, and what boots on it. */
export class PcBoard implements Board {
	readonly pc: Pc;
	onEvent: (event: BoardEvent) => void = () => {};
	onSerialRoom: (port: number) => void = () => {};
	readonly #options: PcBoardOptions;
	readonly #cards: readonly PciDevice[];
	readonly #disks: readonly Disk[];
	/** Its port has the number behind the serial ports'. */
	readonly #virtioConsole: VirtioConsole | undefined;
	#isFeeding = false;
	#cpus: readonly CpuEngine[] = [];
	/** What each port has written and nobody has been told yet: bytes are handed on in bunches. */
	readonly #output: number[][];

	/** @throws PcError */
	constructor(options: PcBoardOptions) {
		const { config, memory, clock, host } = options;
		this.#options = options;
		this.#disks = config.disks.map(({ disk }) => disk);
		this.#virtioConsole = config.virtioConsole ? this.#makeConsole(config.serialPorts) : undefined;
		this.#cards = [
			// First, so that a disk more does not give a card another slot: guests name their interfaces after those.
			...config.nics.map((nic, index) => makeNic(nic, { ...options, name: `nic${index}` })),
			...config.disks.map(({ disk }, index) => {
				const name = `disk${index}`;
				const onHostError = (error: unknown) => this.onEvent({ kind: "device-failed", device: name, error });
				return new VirtioPci(new VirtioBlock(disk, { name, serial: `basenji-${index}`, post: options.post, onHostError }), memory);
			}),
			new VirtioPci(new VirtioRng((into) => host.random(into)), memory),
			...(this.#virtioConsole === undefined ? [] : [new VirtioPci(this.#virtioConsole, memory)]),
		];
		this.#output = Array.from({ length: config.serialPorts }, () => []);
		this.pc = new Pc({
			memory,
			clock,
			cpuCount: config.cpus,
			wallTimeMs: host.wallMs(),
			events: {
				onPowerOff: () => this.#tell({ kind: "power-off" }),
				onReset: (cause) => this.#tell({ kind: "reset", cause }),
				onDebugExit: (code) => this.#tell({ kind: "debug-exit", code }),
			},
			serialLines: this.#output.map((_, port) => ({
				onTransmit: (byte) => this.#transmit(port, byte),
				onSpace: () => this.onSerialRoom(port),
			})),
			pciDevices: this.#cards,
			replugs: this.#cards.slice(0, config.nics.length),
			hasDebugExit: config.debugExit,
			...(config.bios === undefined ? {} : { firmware: config.bios }),
		});
	}

	/** Plugs the CPUs in. Before the first reset. */
	attach(cpus: readonly CpuEngine[]): void {
		this.#cpus = cpus;
		for (const [index, cpu] of cpus.entries()) this.pc.attachCpu(index, cpu.pins);
	}

	reset(_cpus: readonly CpuPins[]): void {
		const [boot] = this.#cpus;
		assert(boot !== undefined, "a board is reset with its CPUs in place");
		this.pc.reset();
		const entry = this.#boot();
		boot.enter(entry);
		for (const cpu of this.#cpus) cpu.setFirmwareMsrs(entry.msrs);
	}

	clear(): void {
		this.pc.reset();
	}

	#boot(): InitialCpuState {
		const { config, host, physAddrBits } = this.#options;
		if (config.kernel === undefined) return bootFirmware(this.pc);
		const rngSeed = new Uint8Array(32);
		host.random(rngSeed);
		const boot = {
			kernel: config.kernel,
			commandLine: config.append ?? "",
			rngSeed,
			...(config.initrd === undefined ? {} : { initrd: config.initrd }),
		};
		return bootLinux(this.pc, boot, { physAddrBits });
	}

	serialInput(port: number, bytes: Uint8Array): number {
		if (port === this.#options.config.serialPorts && this.#virtioConsole !== undefined) {
			// What the guest has no buffers for stays with whoever types, so that it is not held twice.
			if (this.#virtioConsole.pendingInputBytes(0) > 0) return 0;
			this.#isFeeding = true;
			this.#virtioConsole.input(0, bytes);
			this.#isFeeding = false;
			return bytes.length;
		}
		return this.pc.isa.serialPorts[port]?.receive(bytes) ?? bytes.length;
	}

	pressPowerButton(): void {
		this.pc.pressPowerButton();
	}

	replugNic(index: number): void {
		this.pc.replugCard(this.#cards[index] as PciDevice);
	}

	setClock(): void {
		this.pc.isa.rtc.setWallTime(this.#options.host.wallMs() / 1000);
	}

	announceGeneration(): void {
		const id = new Uint8Array(16);
		this.#options.host.random(id);
		announceGeneration(this.pc, id);
	}

	cpuTurn(index: number): void {
		this.pc.accessingCpu = index;
	}

	async quiesce(): Promise<void> {
		for (const card of this.#cards) if (card instanceof VirtioPci) await card.quiesce();
	}

	save(): StateValue {
		return this.pc.save();
	}

	load(state: StateValue): void {
		this.pc.load(state as PcState);
	}

	/** @throws MachineError `unavailable` if a disk does not take what the guest had written */
	async close(): Promise<void> {
		this.sliceEnded();
		const failures: unknown[] = [];
		for (const disk of this.#disks) {
			try {
				if (!disk.isReadOnly) await disk.flush();
			} catch (error) {
				failures.push(error);
			}
			await disk.close().catch((error: unknown) => failures.push(error));
		}
		if (failures.length > 0)
			throw new MachineError("unavailable", `a disk could not be closed: ${String(failures[0])}`, { cause: failures[0] });
	}

	/** Hands on what the guest has written to its serial ports. */
	sliceEnded(): void {
		for (const [port, bytes] of this.#output.entries()) {
			if (bytes.length === 0) continue;
			const bunch = Uint8Array.from(bytes);
			bytes.length = 0;
			this.onEvent({ kind: "serial", port, bytes: bunch });
		}
	}

	#makeConsole(port: number): VirtioConsole {
		return new VirtioConsole({
			onOutput: (_, bytes) => this.onEvent({ kind: "serial", port, bytes }),
			// Who feeds it sees for himself that it has taken all.
			onInputDrained: () => {
				if (!this.#isFeeding) this.onSerialRoom(port);
			},
		});
	}

	/** A debug-exit or power-off must not overtake what was printed before it. */
	#tell(event: BoardEvent): void {
		this.sliceEnded();
		this.onEvent(event);
	}

	#transmit(port: number, byte: number): void {
		const bunch = this.#output[port] as number[];
		bunch.push(byte);
		if (bunch.length >= BUNCH_BYTES) this.sliceEnded();
	}
}
