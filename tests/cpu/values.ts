import { CODE_BYTES, CODE_FILL, DATA_BYTES, IMAGE_BYTES } from "./format.ts";
import { Random } from "./random.ts";

/** Operand values worth more than chance gives them: borders of integers, and every class of floating-point number. */
const INTEGER_EDGES: readonly bigint[] = [
	0n,
	1n,
	2n,
	7n,
	8n,
	0xfn,
	0x10n,
	0x1fn,
	0x20n,
	0x3fn,
	0x40n,
	0x7fn,
	0x80n,
	0x81n,
	0xffn,
	0x100n,
	0x7fffn,
	0x8000n,
	0xffffn,
	0x1_0000n,
	0x7fff_ffffn,
	0x8000_0000n,
	0x8000_0001n,
	0xffff_ffffn,
	0x1_0000_0000n,
	0x7fff_ffff_ffff_ffffn,
	0x8000_0000_0000_0000n,
	0xffff_ffff_8000_0000n,
	0xffff_ffff_ffff_fffen,
	0xffff_ffff_ffff_ffffn,
	0x0000_7fff_ffff_fff8n,
	0x5555_5555_5555_5555n,
	0xaaaa_aaaa_aaaa_aaaan,
	0x9999_9999_9999_9999n,
];

export function integerValue(random: Random): bigint {
	const kind = random.below(8);
	if (kind < 3) return random.pick(INTEGER_EDGES);
	if (kind < 4) return BigInt(random.below(256));
	if (kind < 5) return BigInt.asUintN(64, -BigInt(random.below(256)));
	const low = BigInt(random.u32());
	return kind < 6 ? low : (BigInt(random.u32()) << 32n) | low;
}

const SINGLE_EDGES: readonly number[] = [
	0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 0x0000_0001, 0x807f_ffff, 0x0080_0000, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000,
	0xffc0_1234, 0x7f80_0001, 0xffa0_5678, 0x3f00_0000, 0x4b00_0001, 0x4f00_0000, 0xcf00_0000, 0x5f00_0000, 0x3f7f_ffff, 0x4049_0fdb,
];

const DOUBLE_EDGES: readonly bigint[] = [
	0n,
	0x8000_0000_0000_0000n,
	0x3ff0_0000_0000_0000n,
	0xbff0_0000_0000_0000n,
	1n,
	0x800f_ffff_ffff_ffffn,
	0x0010_0000_0000_0000n,
	0x7fef_ffff_ffff_ffffn,
	0x7ff0_0000_0000_0000n,
	0xfff0_0000_0000_0000n,
	0x7ff8_0000_0000_0000n,
	0xfff8_0000_0000_1234n,
	0x7ff0_0000_0000_0001n,
	0xfff4_0000_0000_5678n,
	0x3fe0_0000_0000_0000n,
	0x41df_ffff_ffc0_0000n,
	0xc1e0_0000_0000_0000n,
	0x43e0_0000_0000_0000n,
	0xc3e0_0000_0000_0000n,
	0x4330_0000_0000_0001n,
	0x3fef_ffff_ffff_ffffn,
	0x4009_21fb_5444_2d18n,
	// Just beside what a single-precision number can hold.
	0x47ef_ffff_f000_0000n,
	0x3690_0000_0000_0000n,
	0x380f_ffff_ffff_ffffn,
];

/** Sign and exponent, significand: the 80-bit classes of Intel SDM Vol. 1 §8.2.2, unsupported ones included. */
const EXTENDED_EDGES: readonly (readonly [number, bigint])[] = [
	[0x0000, 0n],
	[0x8000, 0n],
	[0x3fff, 0x8000_0000_0000_0000n],
	[0xbfff, 0x8000_0000_0000_0000n],
	[0x0000, 1n], // denormals
	[0x8000, 0x7fff_ffff_ffff_ffffn],
	[0x0000, 0x8000_0000_0000_0000n], // pseudo-denormals
	[0x8000, 0xffff_ffff_ffff_ffffn],
	[0x0001, 0x8000_0000_0000_0000n],
	[0x7ffe, 0xffff_ffff_ffff_ffffn],
	[0x7fff, 0x8000_0000_0000_0000n], // infinities
	[0xffff, 0x8000_0000_0000_0000n],
	[0x7fff, 0xc000_0000_0000_0000n], // quiet, signalling
	[0xffff, 0xc000_0000_0000_1234n],
	[0x7fff, 0x8000_0000_0000_0001n],
	[0xffff, 0xa000_0000_0000_5678n],
	[0x7fff, 0n], // pseudo-infinity, pseudo-NaN
	[0x7fff, 0x4000_0000_0000_0000n],
	[0x3fff, 0x4000_0000_0000_0000n], // unnormals
	[0x4010, 0n],
	[0x3ffe, 0x8000_0000_0000_0000n],
	[0x400e, 0x8000_0000_0000_0000n], // the borders of the integers
	[0xc01e, 0x8000_0000_0000_0000n],
	[0x401d, 0xffff_fffe_0000_0000n],
	[0x403d, 0xffff_ffff_ffff_fffen],
	[0xc03e, 0x8000_0000_0000_0000n],
	[0x403e, 0x8000_0000_0000_0000n],
	[0x4000, 0xc90f_daa2_2168_c235n], // π
	[0x3ffe, 0xb172_17f7_d1cf_79acn], // ln 2
	[0x3ffd, 0xffff_ffff_ffff_ffffn],
	[0x4005, 0x9249_2492_4924_9249n],
	[0x407e, 0xffff_ff80_0000_0000n], // the borders of single and double precision
	[0x3f80, 0xffff_ff00_0000_0000n],
	[0x43fe, 0xffff_ffff_ffff_fc00n],
	[0x3c00, 0xffff_ffff_ffff_f800n],
];

export function writeExtended(random: Random, view: DataView, at: number): void {
	const kind = random.below(8);
	if (kind < 5) {
		const [high, low] = random.pick(EXTENDED_EDGES);
		view.setBigUint64(at, low, true);
		view.setUint16(at + 8, high, true);
		return;
	}
	// A number of everyday size, or with few significant bits so that sums are sometimes exact, or anything at all.
	view.setUint32(at, kind === 6 ? 0 : random.u32(), true);
	view.setUint32(at + 4, (kind === 6 ? 0x8000_0000 | (random.below(256) << 20) : random.u32() | 0x8000_0000) >>> 0, true);
	const exponent = kind === 7 ? random.below(0x8000) : 0x3fff - 40 + random.below(110);
	view.setUint16(at + 8, exponent | (random.below(2) << 15), true);
}

/** 16 bytes as four singles, two doubles, or integers. */
export function writeVector(random: Random, view: DataView, at: number): void {
	const kind = random.below(4);
	if (kind === 0) {
		for (let lane = 0; lane < 4; lane++) view.setUint32(at + lane * 4, singleValue(random), true);
	} else if (kind === 1) {
		for (let lane = 0; lane < 2; lane++) view.setBigUint64(at + lane * 8, doubleValue(random), true);
	} else if (kind === 2) {
		for (let lane = 0; lane < 2; lane++) view.setBigUint64(at + lane * 8, integerValue(random), true);
	} else {
		for (let lane = 0; lane < 4; lane++) view.setUint32(at + lane * 4, random.u32(), true);
	}
}

function singleValue(random: Random): number {
	const kind = random.below(4);
	if (kind < 2) return random.pick(SINGLE_EDGES);
	if (kind === 2) return ((random.below(2) << 31) | ((127 - 30 + random.below(60)) << 23) | (random.u32() & 0x7f_ffff)) >>> 0;
	return random.u32();
}

function doubleValue(random: Random): bigint {
	const kind = random.below(4);
	if (kind < 2) return random.pick(DOUBLE_EDGES);
	const low = BigInt(random.u32());
	if (kind === 3) return (BigInt(random.u32()) << 32n) | low;
	const high = ((random.below(2) << 31) | ((1023 - 60 + random.below(120)) << 20) | (random.u32() & 0xf_ffff)) >>> 0;
	return (BigInt(high) << 32n) | (random.chance(0.5) ? low : 0n);
}

/** What the areas hold before every case: INT3 where code goes; in data and stack a mixture of all kinds of number. */
export function baseMemory(): Uint8Array {
	const random = new Random(0x6d656d);
	const image = new Uint8Array(IMAGE_BYTES);
	const view = new DataView(image.buffer);
	image.fill(CODE_FILL, 0, CODE_BYTES);
	for (let at = CODE_BYTES; at < IMAGE_BYTES; at += 16) {
		const kind = random.below(4);
		if (kind === 0) {
			writeExtended(random, view, at);
			view.setUint32(at + 10, random.u32(), true);
		} else writeVector(random, view, at);
	}
	// On the stack small numbers are likelier than wild ones, as return addresses and flags images are.
	for (let at = CODE_BYTES + DATA_BYTES; at < IMAGE_BYTES; at += 32) view.setBigUint64(at, BigInt(random.below(0x1000)), true);
	return image;
}

/** A processor's floating-point state as FXSAVE writes it (64-bit layout). */
export function defaultFx(): Uint8Array {
	const fx = new Uint8Array(512);
	const view = new DataView(fx.buffer);
	view.setUint16(0, 0x037f, true);
	view.setUint32(24, 0x1f80, true);
	return fx;
}

/** x87 control: every rounding and precision, exceptions mostly masked; status: any top and condition bits. */
export function randomFx(random: Random, xmmCount: number): Uint8Array {
	const fx = new Uint8Array(512);
	const view = new DataView(fx.buffer);
	let control = 0x037f;
	if (random.chance(0.5)) {
		control = 0x40 | (random.below(16) << 8) | 0x3f;
		if (random.chance(0.2)) control = (control & ~0x3f) | random.below(64);
	}
	let status = (random.below(8) << 11) | (random.u32() & 0x4700);
	if (random.chance(0.3)) status |= random.below(128);
	// A pending exception ends the first x87 instruction: keep that rare. ES and B say that one is pending.
	if (!random.chance(0.05)) status &= ~(0x3f & ~control);
	if ((status & 0x3f & ~control) !== 0) status |= 0x8080;
	view.setUint16(0, control, true);
	view.setUint16(2, status, true);
	fx[4] = random.chance(0.6) ? 0xff : random.chance(0.4) ? 0 : random.below(256);
	let mxcsr = 0x1f80;
	if (random.chance(0.5)) {
		mxcsr = random.u32() & 0xe040;
		mxcsr |= random.chance(0.8) ? 0x1f80 : random.u32() & 0x1f80;
		if (random.chance(0.5)) mxcsr |= random.below(64);
	}
	view.setUint32(24, mxcsr, true);
	for (let register = 0; register < 8; register++) writeExtended(random, view, 32 + register * 16);
	for (let register = 0; register < xmmCount; register++) writeVector(random, view, 160 + register * 16);
	return fx;
}
