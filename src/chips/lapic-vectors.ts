/** Which vector a local APIC gives its processor next (Intel SDM Vol. 3A §11.8, "Handling Interrupts"). */

/** 256 bits, one per vector. */
export class VectorSet {
	readonly #words = new Uint32Array(8);

	add(vector: number): void {
		this.#words[vector >> 5] = (this.#words[vector >> 5] as number) | (1 << (vector & 31));
	}

	delete(vector: number): void {
		this.#words[vector >> 5] = (this.#words[vector >> 5] as number) & ~(1 << (vector & 31));
	}

	has(vector: number): boolean {
		return ((this.#words[vector >> 5] as number) & (1 << (vector & 31))) !== 0;
	}

	/** The vector of the highest priority, −1 if the set is empty. */
	get highest(): number {
		for (let n = 7; n >= 0; n--) {
			const word = this.#words[n] as number;
			if (word !== 0) return n * 32 + 31 - Math.clz32(word);
		}
		return -1;
	}

	/** The 32 vectors from `n` × 32 on, as a register shows them. */
	word(n: number): number {
		return this.#words[n] as number;
	}

	clear(): void {
		this.#words.fill(0);
	}

	save(): readonly number[] {
		return [...this.#words];
	}

	load(words: readonly number[]): void {
		this.#words.set(words);
	}
}

export type VectorQueueState = {
	readonly tpr: number;
	readonly isr: readonly number[];
	readonly tmr: readonly number[];
	readonly irr: readonly number[];
};

/** IRR, ISR, TMR and the priorities among them. A vector's priority class is its upper four bits. */
export class VectorQueue {
	readonly irr = new VectorSet();
	readonly isr = new VectorSet();
	readonly tmr = new VectorSet();
	tpr = 0;

	get ppr(): number {
		const inService = Math.max(0, this.isr.highest);
		return this.tpr >> 4 >= inService >> 4 ? this.tpr : inService & 0xf0;
	}

	get arbitrationPriority(): number {
		return Math.max(this.tpr, this.isr.highest, this.irr.highest) & 0xf0;
	}

	get hasDeliverable(): boolean {
		const requested = this.irr.highest;
		return requested >= 0 && requested >> 4 > this.ppr >> 4;
	}

	request(vector: number, isLevel: boolean): void {
		this.irr.add(vector);
		if (isLevel) this.tmr.add(vector);
		else this.tmr.delete(vector);
	}

	isLevel(vector: number): boolean {
		return this.tmr.has(vector);
	}

	/** Moves the highest request to in-service and returns it; −1 if none outranks the processor's priority. */
	beginService(): number {
		if (!this.hasDeliverable) return -1;
		const vector = this.irr.highest;
		this.irr.delete(vector);
		this.isr.add(vector);
		return vector;
	}

	/** Ends the highest vector in service and returns it, −1 if there is none. */
	endService(): number {
		const vector = this.isr.highest;
		if (vector >= 0) this.isr.delete(vector);
		return vector;
	}

	clear(): void {
		this.tpr = 0;
		this.irr.clear();
		this.isr.clear();
		this.tmr.clear();
	}

	save(): VectorQueueState {
		return { tpr: this.tpr, isr: this.isr.save(), tmr: this.tmr.save(), irr: this.irr.save() };
	}

	load(state: VectorQueueState): void {
		this.tpr = state.tpr;
		this.isr.load(state.isr);
		this.tmr.load(state.tmr);
		this.irr.load(state.irr);
	}
}
