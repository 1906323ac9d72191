/**
 * Arithmetic flags are kept as the operation that set them and its inputs, worked out only when somebody asks.
 * `ccOp` = kind | log2(bytes) << 4. X, Y, Z are 64-bit; operands and results are stored SIGN-extended from the operation's
 * width, so that comparing X with Y needs no width.
 */
export const CC = {
	/** X = the six flags as they stand in RFLAGS. */
	image: 0,
	/** X + Y. */
	add: 1,
	/** X − Y (CMP too). */
	sub: 2,
	/** Result X; CF = OF = AF = 0. */
	logic: 3,
	/** Result X = old + 1; CF = Y (0 or 1). */
	inc: 4,
	/** Result X = old − 1; CF = Y (0 or 1). */
	dec: 5,
	/** X + Y + Z with Z the carry in (0 or 1). */
	adc: 6,
	/** X − Y − Z with Z the borrow in (0 or 1). */
	sbb: 7,
	/** SF, ZF, PF from result X; OF, AF, CF as they stand in Y (RFLAGS positions). */
	bits: 8,
	/** Result X of a shift to the left; CF = the sign of Y, which is the operand shifted by one less; OF = CF ≠ SF; AF = 0. */
	shl: 9,
	/** The same to the right, Y with its sign whatever X has: CF = its lowest bit, OF = its sign. */
	shr: 10,
	/** The same as `shr`, OF = 0. */
	sar: 11,
} as const;

export type FlagKind = keyof typeof CC;

export const FLAG = {
	CF: 1 << 0,
	PF: 1 << 2,
	AF: 1 << 4,
	ZF: 1 << 6,
	SF: 1 << 7,
	TF: 1 << 8,
	IF: 1 << 9,
	DF: 1 << 10,
	OF: 1 << 11,
	IOPL: 3 << 12,
	NT: 1 << 14,
	RF: 1 << 16,
	VM: 1 << 17,
	AC: 1 << 18,
	VIF: 1 << 19,
	VIP: 1 << 20,
	ID: 1 << 21,
} as const;

export const ARITHMETIC_FLAGS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF;

export const WIDTH_LOG2: Record<8 | 16 | 32 | 64, number> = { 8: 0, 16: 1, 32: 2, 64: 3 };

export function ccOp(kind: FlagKind, width: 8 | 16 | 32 | 64): number {
	return CC[kind] | (WIDTH_LOG2[width] << 4);
}

function parity(result: bigint): number {
	let byte = Number(result & 0xffn);
	byte ^= byte >> 4;
	return (0x9669 >> (byte & 15)) & 1 ? FLAG.PF : 0;
}

/** The six arithmetic flags in RFLAGS positions: the slow, plain reading of the table above. */
export function materialiseFlags(op: number, x: bigint, y: bigint, z: bigint): number {
	const kind = op & 15;
	if (kind === CC.image) return Number(x) & ARITHMETIC_FLAGS;
	const bits = BigInt(8 << (op >> 4));
	const narrow = (value: bigint) => BigInt.asIntN(Number(bits), value);
	const unsigned = (value: bigint) => BigInt.asUintN(Number(bits), value);
	let result = x;
	let flags = 0;
	if (kind === CC.add || kind === CC.adc) {
		const carryIn = kind === CC.adc ? z & 1n : 0n;
		result = narrow(x + y + carryIn);
		if (unsigned(x) + unsigned(y) + carryIn >= 1n << bits) flags |= FLAG.CF;
		if (narrow(x) + narrow(y) + carryIn !== result) flags |= FLAG.OF;
		if ((x ^ y ^ result) & 0x10n) flags |= FLAG.AF;
	} else if (kind === CC.sub || kind === CC.sbb) {
		const borrowIn = kind === CC.sbb ? z & 1n : 0n;
		result = narrow(x - y - borrowIn);
		if (unsigned(x) < unsigned(y) + borrowIn) flags |= FLAG.CF;
		if (narrow(x) - narrow(y) - borrowIn !== result) flags |= FLAG.OF;
		if ((x ^ y ^ result) & 0x10n) flags |= FLAG.AF;
	} else if (kind === CC.inc || kind === CC.dec) {
		result = narrow(x);
		const edge = kind === CC.inc ? -(1n << (bits - 1n)) : (1n << (bits - 1n)) - 1n;
		if (y & 1n) flags |= FLAG.CF;
		if (result === edge) flags |= FLAG.OF;
		if (kind === CC.inc ? (result & 15n) === 0n : (result & 15n) === 15n) flags |= FLAG.AF;
	} else if (kind === CC.bits) {
		result = narrow(x);
		flags |= Number(y) & (FLAG.CF | FLAG.AF | FLAG.OF);
	} else {
		result = narrow(x);
		if (kind === CC.shl) {
			if (y < 0n) flags |= FLAG.CF;
			if (y < 0n !== result < 0n) flags |= FLAG.OF;
		} else if (kind === CC.shr || kind === CC.sar) {
			if (y & 1n) flags |= FLAG.CF;
			if (kind === CC.shr && y < 0n) flags |= FLAG.OF;
		}
	}
	if (result === 0n) flags |= FLAG.ZF;
	if (result < 0n) flags |= FLAG.SF;
	return flags | parity(result);
}
