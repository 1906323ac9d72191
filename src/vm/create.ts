import { assert } from "../base/assert.ts";
import { SoftwareEngine } from "../cpu/software-engine.ts";
import { GuestMemory } from "../machine/memory.ts";
import { type MachineConfig, type MachineOptions, readConfig } from "./config.ts";
import type { CpuEngine } from "./engine.ts";
import { MachineError } from "./error.ts";
import type { Host } from "./host.ts";
import { Machine, type MachineSource } from "./machine.ts";
import { PcBoard } from "./pc-board.ts";
import { formatSize } from "./quantity.ts";
import { SoftwareCpuEngine } from "./software.ts";
import { CountedTime, HostPacedTime, type TimeKeeper } from "./time.ts";

/** What the software engine's CPUs say in CPUID leaf 0x80000008. */
const PHYS_ADDR_BITS = 40;

/**
 * Puts a machine together; it is not started yet.
 * @throws MachineError `config`, `unavailable`; PcError when the kernel or firmware cannot be booted
 */
export function assembleMachine(options: MachineOptions, host: Host, from: MachineSource = {}): Machine {
	const config = readConfig(options);
	assert(from.pacemaker === undefined || config.time === "instructions", "whoever gets time from others counts instructions");
	refuseMissing(config);
	const memory = allocate(config);
	const cpus: CpuEngine[] = [];
	const time: TimeKeeper =
		config.time === "host" ? new HostPacedTime(host) : new CountedTime(() => cpus.reduce((sum, cpu) => sum + cpu.instructionCount, 0));
	let machine: Machine | undefined;
	const board = new PcBoard({
		config,
		memory,
		clock: time.clock,
		host,
		physAddrBits: PHYS_ADDR_BITS,
		post: (work) => {
			assert(machine !== undefined, "no device works before the machine is together");
			machine.post(work);
		},
	});
	const engine = new SoftwareEngine(memory, {
		isNamed: config.profile,
		kept: host.keptCode,
		guest: guestName(config),
		isRepeatable: config.time === "instructions",
		...(config.translateAfter === undefined ? {} : { hotThreshold: config.translateAfter }),
		...(config.engine === "interpret" ? { hotThreshold: 0 } : {}),
	});
	const random32 = randomSource(host);
	for (let index = 0; index < config.cpus; index++) {
		const environment = {
			index,
			cpuCount: config.cpus,
			memory,
			io: board.pc.io,
			clock: time.clock,
			board: board.pc.cpuBoard(index),
			random32,
		};
		cpus.push(new SoftwareCpuEngine(engine, environment, { isCounted: config.time === "instructions" }));
	}
	board.attach(cpus);
	machine = new Machine({ config, host, time, cpus, board, memory, ...from });
	return machine;
}

const FNV_PRIME = 0x0100_0193;
const FNV_BASIS = 0x811c_9dc5;
const SAMPLES = 4096;

/**
 * What a machine boots, in sixteen digits: the same for the same kernel or firmware and disks of the same sizes. Guests with one name share what is kept of
 * their translations, which does no more harm than that it takes longer to look through.
 */
function guestName({ kernel, bios, disks }: MachineConfig): string {
	const image = kernel ?? bios ?? new Uint8Array(0);
	let [low, high] = [FNV_BASIS, image.length | 0];
	const mix = (value: number) => {
		low = Math.imul(low ^ value, FNV_PRIME);
		high = Math.imul(high ^ (low >>> 15), FNV_PRIME);
	};
	// Compressed as they are, any two differ everywhere.
	for (let n = 0; n < SAMPLES; n++) mix(image[Math.floor((n / SAMPLES) * image.length)] ?? 0);
	for (const { disk } of disks) mix(disk.sizeBytes / disk.sectorBytes);
	return [low, high].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}

/** As many slots as disks and the rest of the board leave. */
const MAX_NICS = 4;

function refuseMissing(config: MachineConfig): void {
	if (config.engine === "kvm") throw new MachineError("unavailable", "engine: kvm is not there yet; use auto, translate or interpret");
	if (config.disks.some(({ bus }) => bus === "ide")) throw new MachineError("unavailable", "disks: bus ide is not there yet; use virtio");
	if (config.disks.length > 24) throw new MachineError("config", "disks: there is room for 24");
	if (config.nics.length > MAX_NICS) throw new MachineError("config", `nics: there is room for ${MAX_NICS}`);
}

function allocate(config: MachineConfig): GuestMemory {
	try {
		return new GuestMemory(config.memory);
	} catch (error) {
		if (error instanceof RangeError)
			throw new MachineError("unavailable", `memory: this host cannot give ${formatSize(config.memory)}`, { cause: error });
		throw error;
	}
}

/** 32 bits at a time out of a pool: a call to the host for each would cost more than the rest of RDRAND. */
function randomSource(host: Host): () => number {
	const bytes = new Uint8Array(4096);
	const pool = new Uint32Array(bytes.buffer);
	let used = pool.length;
	return () => {
		if (used === pool.length) {
			host.random(bytes);
			used = 0;
		}
		return pool[used++] as number;
	};
}
