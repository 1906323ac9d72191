import { initialBase, type Mode, type Patch, STACK_ADDRESS, STACK_BYTES } from "./format.ts";
import type { Random } from "./random.ts";
import { RSP } from "./registers.ts";
import { integerValue } from "./values.ts";

/**
 * A case being made. Registers start "free"; one that must point somewhere is pinned to a value; one that an instruction
 * has written is dirty: nobody knows it any more.
 */
export class CaseBuilder {
	readonly random: Random;
	readonly mode: Mode;
	readonly codeAddress: number;
	readonly instructions: Uint8Array[] = [];
	/** Where each instruction starts, and where the last one ends. */
	readonly boundaries: number[];
	readonly patches: Patch[] = [];
	readonly ignored: { address: number; length: number }[] = [];
	/** Flags that are open at this point of the sequence. */
	openFlags = 0;
	/** False once there is a branch: what follows may be jumped over, so it closes no flag. */
	isStraight = true;
	readonly #gpr = new BigUint64Array(16);
	readonly #state: ("free" | "pinned" | "dirty")[] = Array.from({ length: 16 }, () => "free");
	/** Things that must point to an instruction not made yet. */
	readonly #labels: ((addressOf: (instructionIndex: number) => number) => void)[] = [];

	constructor(random: Random, mode: Mode, codeAddress: number) {
		this.random = random;
		this.mode = mode;
		this.codeAddress = codeAddress;
		this.boundaries = [codeAddress];
		const edge = random.below(16);
		const offset = edge === 0 ? random.below(32) : edge === 1 ? STACK_BYTES - random.below(48) : 0x100 + random.below(STACK_BYTES - 0x300);
		const aligned = random.chance(0.9) ? offset & ~15 : offset;
		// A 16-bit stack pointer may have anything above it.
		const upper = mode === 16 && random.chance(0.3) ? random.u32() & 0x7fff_0000 : 0;
		this.pin(RSP, BigInt(upper + STACK_ADDRESS + aligned - initialBase(mode, 2)));
	}

	get nextAddress(): number {
		return this.boundaries[this.boundaries.length - 1] as number;
	}

	isFree(register: number): boolean {
		return this.#state[register] === "free";
	}

	isDirty(register: number): boolean {
		return this.#state[register] === "dirty";
	}

	/** The value of a register that is known. */
	valueOf(register: number): bigint {
		return this.#gpr[register] as bigint;
	}

	pin(register: number, value: bigint): void {
		this.#gpr[register] = value;
		this.#state[register] = "pinned";
	}

	soil(register: number): void {
		// A register nobody asked anything of gets its value now, before it is overwritten.
		if (this.#state[register] === "free") this.#gpr[register] = integerValue(this.random);
		this.#state[register] = "dirty";
	}

	patch(address: number, bytes: Uint8Array): void {
		this.patches.push({ address, bytes });
	}

	onLayout(resolve: (addressOf: (instructionIndex: number) => number) => void): void {
		this.#labels.push(resolve);
	}

	append(instruction: Uint8Array): void {
		this.instructions.push(instruction);
		this.boundaries.push(this.nextAddress + instruction.length);
	}

	/** Settles labels and remaining registers. */
	finish(): BigUint64Array {
		for (const resolve of this.#labels) resolve((index) => this.boundaries[Math.min(index, this.instructions.length)] as number);
		for (let register = 0; register < 16; register++) if (this.isFree(register)) this.#gpr[register] = integerValue(this.random);
		if (this.mode !== 64)
			for (let register = 0; register < 16; register++)
				this.#gpr[register] = register < 8 ? (this.#gpr[register] as bigint) & 0xffff_ffffn : 0n;
		return this.#gpr;
	}
}
