import { HPET_ADDR, IOAPIC_ADDR, LAPIC_ADDR } from "../../src/pc/layout.ts";

/** One access of a program that talks nonsense to its PC. */
export interface Access {
	readonly space: "port" | "memory";
	readonly isWrite: boolean;
	readonly bytes: 1 | 2 | 4;
	readonly address: number;
	readonly value: number;
}

/** Where a board's devices stand, as its configuration space tells. */
export interface Survey {
	/** Slots with something in them. */
	readonly slots: readonly number[];
	/** Memory windows of the PCI devices: slot, the register that places it, and where that is. */
	readonly windows: readonly { readonly slot: number; readonly register: number; readonly first: number; readonly sizeBytes: number }[];
}

/** Guest memory for rings of descriptors and what they point at. Garbage may not touch the rest on purpose. */
export const ARENA = { first: 0x20_0000, sizeBytes: 0x60_0000 } as const;

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const CONFIG_ENABLE = 0x8000_0000;
const BAR0 = 0x10;
const COMMAND = 4;
const FIXED_WINDOWS = [
	{ first: LAPIC_ADDR, sizeBytes: 0x400 },
	{ first: IOAPIC_ADDR, sizeBytes: 0x50 },
	{ first: HPET_ADDR, sizeBytes: 0x200 },
] as const;
/** Ports that something answers at, so that most accesses meet a device; any other port has its turn too. */
const PORTS = [
	...[0x00, 0x08, 0x0c, 0x20, 0x21, 0x40, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x81, 0x92, 0xa0, 0xa1, 0xb2, 0xb3],
	...[0xc0, 0xd0, 0x2f8, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x4d0, 0x4d1, 0x510, 0x514, 0x518],
	...[0x600, 0x602, 0x604, 0x608, 0x620, 0x622, 0xcf8, 0xcf9, 0xcfc, 0xcfe],
] as const;
// Virtio 1.2 §4.1.4.3, "Common configuration structure layout": the structure opens the first page of its window.
const DEVICE_STATUS = 0x14;
const QUEUE_SELECT = 0x16;
const QUEUE_SIZE = 0x18;
const QUEUE_ENABLE = 0x1c;
/** Descriptors, available ring, used ring: 64 bits each. */
const QUEUE_DESC = 0x20;
const DRIVER_FEATURE_SELECT = 0x08;
const DRIVER_FEATURE = 0x0c;
/** Bit 32 of the features, without which no modern device works. */
const VERSION_1 = 1;
/** Where our devices have their doorbells; a driver would look that up. */
const NOTIFY_AT = 0x3000;

export type Random = (below: number) => number;

/** A xorshift generator (Marsaglia, "Xorshift RNGs", 2003): the same numbers for the same seed everywhere. */
export function randomFrom(seed: number): Random {
	let state = (seed ^ 0x9e37_79b9) | 0 || 1;
	return (below) => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		return (state >>> 0) % below;
	};
}

/** Accesses without end: plain noise at every address that counts, and now and then a driver's bring-up with garbage in it. */
export function* nonsense(random: Random, survey: Survey): Generator<Access> {
	for (;;) {
		const kind = random(16);
		if (kind < 6) yield access(random, "port", random(8) === 0 ? random(0x1_0000) : pick(random, PORTS));
		else if (kind < 8) yield* configAccess(random, survey);
		else if (kind < 11) yield windowAccess(random, pick(random, FIXED_WINDOWS));
		else if (kind < 14 && survey.windows.length > 0) yield windowAccess(random, pick(random, survey.windows));
		else if (kind === 14) yield write("memory", 4, ARENA.first + (random(ARENA.sizeBytes) & ~3), value(random));
		else if (random(8) === 0 && survey.windows.length > 0) yield* bringUp(random, survey);
	}
}

/** Descriptors that now and then make sense (Virtio 1.2 §2.7.5, "The Virtqueue Descriptor Table"): what the arena begins with. */
export function fillArena(random: Random, bytes: Uint8Array): void {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
	for (let at = 0; at + 16 <= bytes.length; at += 16) {
		view.setUint32(at, random(8) === 0 ? value(random) : ARENA.first + random(ARENA.sizeBytes), true);
		view.setUint32(at + 4, random(64) === 0 ? value(random) : 0, true);
		view.setUint32(at + 8, random(4) === 0 ? value(random) : random(5000), true);
		view.setUint16(at + 12, random(8), true);
		view.setUint16(at + 14, random(random(2) === 0 ? 8 : 0x1_0000), true);
	}
}

function access(random: Random, space: Access["space"], address: number): Access {
	const bytes = pick(random, [1, 1, 2, 4, 4] as const);
	return { space, isWrite: random(3) > 0, bytes, address: address - (address % bytes), value: value(random) };
}

function write(space: Access["space"], bytes: Access["bytes"], address: number, written: number): Access {
	return { space, isWrite: true, bytes, address, value: written };
}

function windowAccess(random: Random, window: { readonly first: number; readonly sizeBytes: number }): Access {
	// Registers crowd at the beginning of their pages.
	const page = random(Math.ceil(window.sizeBytes / 0x1000)) * 0x1000;
	const offset = page + random(random(2) === 0 ? 0x40 : Math.min(0x1000, window.sizeBytes - page));
	return access(random, "memory", window.first + Math.min(offset, window.sizeBytes - 4));
}

function* configAccess(random: Random, survey: Survey): Generator<Access> {
	const slot = random(8) === 0 ? random(32) : pick(random, survey.slots);
	const register = random(random(2) === 0 ? 0x40 : 0x100);
	yield write("port", 4, CONFIG_ADDRESS, CONFIG_ENABLE | (slot << 11) | (register & ~3));
	// A device whose windows are gone is no fun any more: they are moved less often than the rest is written.
	const isHarmful = register >= COMMAND && register < BAR0 + 24 && random(8) > 0;
	const { isWrite, ...rest } = access(random, "port", CONFIG_DATA + (register & 3));
	yield { ...rest, isWrite: isWrite && !isHarmful };
}

/** What a driver does to start a virtio device and to ask something of it, with rings anywhere and garbage in them. */
function* bringUp(random: Random, survey: Survey): Generator<Access> {
	const { slot, register, first } = pick(
		random,
		survey.windows.filter(({ sizeBytes }) => sizeBytes > NOTIFY_AT),
	);
	// Noise may have moved the window away, 64 bits of it.
	for (const [i, half] of [first, 0].entries()) {
		yield write("port", 4, CONFIG_ADDRESS, CONFIG_ENABLE | (slot << 11) | (register + 4 * i));
		yield write("port", 4, CONFIG_DATA, half);
	}
	yield write("port", 4, CONFIG_ADDRESS, CONFIG_ENABLE | (slot << 11) | COMMAND);
	yield write("port", 2, CONFIG_DATA, 7);
	for (const status of [0, 1, 3]) yield write("memory", 1, first + DEVICE_STATUS, status);
	for (const half of [0, 1]) {
		yield write("memory", 4, first + DRIVER_FEATURE_SELECT, half);
		yield write("memory", 4, first + DRIVER_FEATURE, random(8) === 0 ? value(random) : half === 1 ? VERSION_1 : 0);
	}
	yield write("memory", 1, first + DEVICE_STATUS, 0xb);
	const queueCount = 1 + random(4);
	for (let queue = 0; queue < queueCount; queue++) yield* setUpQueue(random, first, queue);
	yield write("memory", 1, first + DEVICE_STATUS, 0xf);
	for (let round = random(8); round >= 0; round--) {
		const queue = random(queueCount + 1);
		yield write("memory", 2, first + NOTIFY_AT + 4 * queue, queue);
	}
}

function* setUpQueue(random: Random, first: number, queue: number): Generator<Access> {
	const size = 1 << (2 + random(7));
	const [descriptors, available, used] = [arenaAddress(random), arenaAddress(random), arenaAddress(random)];
	yield write("memory", 2, first + QUEUE_SELECT, queue);
	yield write("memory", 2, first + QUEUE_SIZE, random(8) === 0 ? value(random) & 0xffff : size);
	for (const [i, address] of [descriptors, available, used].entries()) {
		const isWild = random(16) === 0;
		yield write("memory", 4, first + QUEUE_DESC + 8 * i, isWild ? value(random) : address);
		yield write("memory", 4, first + QUEUE_DESC + 8 * i + 4, isWild && random(4) === 0 ? value(random) : 0);
	}
	if (random(4) > 0) yield* blockRequest(random, descriptors);
	// The available ring (§2.7.6): flags, index, heads of chains.
	const count = random(16) === 0 ? random(0x1_0000) : 1 + random(random(4) === 0 ? size : 1);
	yield write("memory", 4, available, (random(2) | (count << 16)) >>> 0);
	for (let i = 0; i < Math.min(count, 6); i++) yield write("memory", 2, available + 4 + 2 * i, random(8) > 0 ? 0 : random(size + 1));
	yield write("memory", 2, first + QUEUE_ENABLE, 1);
}

/** A chain that a block device finds nothing, or little, wrong with: header, data, status (§5.2.6, "Device Operation"). */
function* blockRequest(random: Random, descriptors: number): Generator<Access> {
	const header = arenaAddress(random);
	yield write("memory", 4, header, pick(random, [0, 0, 1, 4, 8, 11, 13, 99] as const));
	yield write("memory", 4, header + 8, random(4) === 0 ? value(random) : random(8192));
	yield write("memory", 4, header + 12, random(16) === 0 ? value(random) : 0);
	const status = arenaAddress(random);
	const chain = [
		[header, 16, 1, 1],
		[arenaAddress(random), random(8) === 0 ? value(random) : 512 * random(9), 1 | (random(2) << 1), 2],
		[status, 1, 2, 0],
	] as const;
	for (const [i, [address, lengthBytes, flags, next]] of chain.entries()) {
		const at = descriptors + 16 * i;
		yield write("memory", 4, at, address);
		yield write("memory", 4, at + 4, 0);
		yield write("memory", 4, at + 8, lengthBytes);
		yield write("memory", 4, at + 12, (flags | (next << 16)) >>> 0);
	}
}

function arenaAddress(random: Random): number {
	return ARENA.first + (random(ARENA.sizeBytes - 0x2000) & ~15);
}

function value(random: Random): number {
	switch (random(6)) {
		case 0:
			return random(17);
		case 1:
			return 0xffff_ffff;
		case 2:
			return 2 ** random(32);
		case 3:
			return ARENA.first + random(ARENA.sizeBytes);
		default:
			return random(0x1_0000) * 0x1_0000 + random(0x1_0000);
	}
}

function pick<T>(random: Random, from: readonly T[]): T {
	return from[random(from.length)] as T;
}
