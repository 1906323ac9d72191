/**
 * What a local APIC does with interrupts once they have reached it: the local vector table, priorities, errors, and the
 * processor's pins (Intel SDM Vol. 3A chapter 11). Addresses, modes and register maps are `LocalApic`'s.
 */
import type { Ns } from "../base/units.ts";
import type { Clock } from "../machine/clock.ts";
import { unimplemented } from "../machine/device.ts";
import type { CpuPins } from "../machine/processor.ts";
import type { Wire } from "../machine/wire.ts";
import {
	DELIVERY_EXTINT,
	DELIVERY_FIXED,
	DELIVERY_INIT,
	DELIVERY_LOWEST_PRIORITY,
	DELIVERY_NMI,
	DELIVERY_SMI,
	DELIVERY_STARTUP,
} from "./apic-bus.ts";
import { InputPin } from "./input-pin.ts";
import {
	ERROR,
	ESR_RECEIVE_ILLEGAL_VECTOR,
	LINT0,
	LINT1,
	LVT_LEVEL,
	LVT_MASK,
	LVT_REMOTE_IRR,
	LVT_WRITABLE,
	SVR_ENABLE,
	SVR_WRITABLE,
} from "./lapic-registers.ts";
import { LapicTimer, type LapicTimerState } from "./lapic-timer.ts";
import { VectorQueue, type VectorQueueState } from "./lapic-vectors.ts";

export type LapicCoreState = VectorQueueState & {
	readonly svr: number;
	readonly esr: number;
	readonly esrPending: number;
	readonly lvt: readonly number[];
	readonly timer: LapicTimerState;
	readonly isLint0High: boolean;
	readonly isLint1High: boolean;
	/** An ExtINT message waits for its INTA cycle. */
	readonly isExtIntPending: boolean;
};

export interface LapicCoreOptions {
	readonly name: string;
	readonly clock: Clock;
	/** The INTA cycle of an external controller (an 8259A), for ExtINT. */
	readonly externalAcknowledge?: () => number;
	/** When the processor's time-stamp counter reaches `tsc`; by default it counts guest nanoseconds. */
	readonly nsOfTsc?: (tsc: bigint) => Ns;
	/** A level-triggered vector has ended. */
	readonly onLevelEoi: (vector: number) => void;
	/** An INIT message: the owner resets its registers, too. */
	readonly onInit: () => void;
}

export class LapicCore {
	readonly lint0: Wire;
	readonly lint1: Wire;
	readonly timer: LapicTimer;
	readonly queue = new VectorQueue();
	readonly #options: LapicCoreOptions;
	readonly #lvt = new Uint32Array(LVT_WRITABLE.length);
	#isPresent = true;
	#cpu: CpuPins | undefined;
	#svr = 0xff;
	#esr = 0;
	#esrPending = 0;
	#isLint0High = false;
	#isLint1High = false;
	#isExtIntPending = false;

	constructor(options: LapicCoreOptions) {
		this.#options = options;
		const nsOfTsc = options.nsOfTsc ?? ((tsc: bigint) => Number(tsc));
		this.timer = new LapicTimer(`${options.name} timer`, options.clock, nsOfTsc, () => this.#raiseLocal(0));
		this.lint0 = new InputPin(
			() => this.#isLint0High,
			(high) => {
				this.#isLint0High = high;
				this.#lintChanged(LINT0, high);
			},
		);
		this.lint1 = new InputPin(
			() => this.#isLint1High,
			(high) => {
				this.#isLint1High = high;
				this.#lintChanged(LINT1, high);
			},
		);
		this.#lvt.fill(LVT_MASK);
	}

	attachCpu(cpu: CpuPins): void {
		this.#cpu = cpu;
		this.update();
	}

	/** False while IA32_APIC_BASE.EN is off: LINT0 and LINT1 are then the processor's INTR and NMI pins. */
	get isPresent(): boolean {
		return this.#isPresent;
	}

	setPresent(isPresent: boolean): void {
		this.#isPresent = isPresent;
		this.update();
	}

	get acceptsInterrupts(): boolean {
		return this.#isPresent && (this.#svr & SVR_ENABLE) !== 0;
	}

	/** To the state after power-up or INIT; the pins stay as they are driven. */
	reset(): void {
		this.queue.clear();
		this.#esr = this.#esrPending = 0;
		this.#svr = 0xff;
		this.#lvt.fill(LVT_MASK);
		this.timer.reset();
		this.#isExtIntPending = false;
		this.update();
	}

	save(): LapicCoreState {
		return {
			...this.queue.save(),
			svr: this.#svr,
			esr: this.#esr,
			esrPending: this.#esrPending,
			lvt: [...this.#lvt],
			timer: this.timer.save(),
			isLint0High: this.#isLint0High,
			isLint1High: this.#isLint1High,
			isExtIntPending: this.#isExtIntPending,
		};
	}

	load(state: LapicCoreState): void {
		this.queue.load(state);
		this.#svr = state.svr;
		this.#esr = state.esr;
		this.#esrPending = state.esrPending;
		this.#lvt.set(state.lvt);
		this.timer.load(state.timer);
		this.#isLint0High = state.isLint0High;
		this.#isLint1High = state.isLint1High;
		this.#isExtIntPending = state.isExtIntPending;
		this.update();
	}

	acknowledgeInterrupt(): number {
		const externalAcknowledge = this.#options.externalAcknowledge;
		if (externalAcknowledge !== undefined && (this.#isExtIntAsserted || !this.#isPresent)) {
			this.#isExtIntPending = false;
			const vector = externalAcknowledge();
			this.update();
			return vector;
		}
		this.#isExtIntPending = false;
		const vector = this.acceptsInterrupts ? this.queue.beginService() : -1;
		this.update();
		// The request may have gone with a raised TPR: a spurious interrupt, which sets no ISR bit and wants no EOI.
		return vector < 0 ? this.#svr & 0xff : vector;
	}

	accept(deliveryMode: number, vector: number, isLevel: boolean): boolean {
		if (!this.#isPresent) return false;
		switch (deliveryMode) {
			case DELIVERY_FIXED:
			case DELIVERY_LOWEST_PRIORITY:
				if (!this.acceptsInterrupts) return false;
				if (vector < 16) {
					this.raiseError(ESR_RECEIVE_ILLEGAL_VECTOR);
					return false;
				}
				this.queue.request(vector, isLevel);
				this.update();
				return true;
			case DELIVERY_SMI:
				unimplemented(this.#options.name, "system management interrupt");
				return true;
			case DELIVERY_NMI:
				this.#cpu?.nmi();
				return true;
			case DELIVERY_INIT:
				this.#options.onInit();
				this.#cpu?.init();
				return true;
			case DELIVERY_STARTUP:
				this.#cpu?.startup(vector);
				return true;
			case DELIVERY_EXTINT:
				this.#isExtIntPending = true;
				this.update();
				return true;
			default:
				return false;
		}
	}

	get svr(): number {
		return this.#svr;
	}

	writeSvr(value: number): void {
		this.#svr = value & SVR_WRITABLE;
		if ((value & SVR_ENABLE) === 0) {
			for (let entry = 0; entry < this.#lvt.length; entry++) this.#lvt[entry] = (this.#lvt[entry] as number) | LVT_MASK;
			this.#configureTimer();
		}
		this.update();
	}

	lvt(entry: number): number | undefined {
		return this.#lvt[entry];
	}

	writeLvt(entry: number, value: number): void {
		const writable = LVT_WRITABLE[entry] as number;
		let lvt = (value & writable) | ((this.#lvt[entry] as number) & LVT_REMOTE_IRR);
		if ((lvt & LVT_LEVEL) === 0) lvt &= ~LVT_REMOTE_IRR;
		// Software-disabled, the table stays masked.
		if ((this.#svr & SVR_ENABLE) === 0) lvt |= LVT_MASK;
		this.#lvt[entry] = lvt;
		if (entry === 0) this.#configureTimer();
		const isHigh = (entry === LINT0 && this.#isLint0High) || (entry === LINT1 && this.#isLint1High);
		if (isHigh && (lvt & LVT_LEVEL) !== 0 && ((lvt >> 8) & 7) === DELIVERY_FIXED) this.#raiseLocal(entry);
		this.update();
	}

	#configureTimer(): void {
		const lvt = this.#lvt[0] as number;
		this.timer.configure((lvt >> 17) & 3, (lvt & LVT_MASK) !== 0);
	}

	/** The errors that the last write has shown. */
	get esr(): number {
		return this.#esr;
	}

	/** Shows the errors gathered since the last write. */
	writeEsr(): void {
		this.#esr = this.#esrPending;
		this.#esrPending = 0;
	}

	writeTpr(value: number): void {
		this.queue.tpr = value;
		this.update();
	}

	get #isExtIntAsserted(): boolean {
		if (this.#isExtIntPending) return true;
		const lvt = this.#lvt[LINT0] as number;
		return this.#isLint0High && (lvt & LVT_MASK) === 0 && ((lvt >> 8) & 7) === DELIVERY_EXTINT;
	}

	/** Puts INTR where priorities, mask and pins want it. */
	update(): void {
		// Switched off, the APIC is not there: LINT0 is the processor's INTR pin.
		const isAsserted = this.#isPresent
			? this.#isExtIntAsserted || (this.acceptsInterrupts && this.queue.hasDeliverable)
			: this.#isLint0High;
		this.#cpu?.intr.set(isAsserted);
	}

	#lintChanged(entry: number, high: boolean): void {
		if (!this.#isPresent) {
			if (entry === LINT1 && high) this.#cpu?.nmi();
		} else if (high) this.#raiseLocal(entry);
		this.update();
	}

	#raiseLocal(entry: number): void {
		const lvt = this.#lvt[entry] as number;
		if ((lvt & LVT_MASK) !== 0) return;
		const isLint = entry === LINT0 || entry === LINT1;
		const deliveryMode = isLint ? (lvt >> 8) & 7 : DELIVERY_FIXED;
		// ExtINT is a level that `update` looks at.
		if (deliveryMode === DELIVERY_EXTINT) return;
		const isLevel = isLint && deliveryMode === DELIVERY_FIXED && (lvt & LVT_LEVEL) !== 0;
		if (isLevel) {
			if ((lvt & LVT_REMOTE_IRR) !== 0) return;
			this.#lvt[entry] = lvt | LVT_REMOTE_IRR;
		}
		this.accept(deliveryMode, lvt & 0xff, isLevel);
	}

	endOfInterrupt(): void {
		const vector = this.queue.endService();
		this.update();
		if (vector < 0 || !this.queue.isLevel(vector)) return;
		for (const entry of [LINT0, LINT1]) {
			const lvt = this.#lvt[entry] as number;
			if ((lvt & LVT_REMOTE_IRR) === 0 || (lvt & 0xff) !== vector) continue;
			this.#lvt[entry] = lvt & ~LVT_REMOTE_IRR;
			if (entry === LINT0 ? this.#isLint0High : this.#isLint1High) this.#raiseLocal(entry);
		}
		this.#options.onLevelEoi(vector);
	}

	raiseError(bit: number): void {
		const isNew = (this.#esrPending & bit) === 0;
		this.#esrPending |= bit;
		// An illegal vector in the error entry itself must not raise errors for ever.
		if (isNew && ((this.#lvt[ERROR] as number) & 0xff) >= 16) this.#raiseLocal(ERROR);
	}
}
