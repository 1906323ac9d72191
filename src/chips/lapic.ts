/**
 * Local APIC (Intel SDM Vol. 3A chapter 11, "Advanced Programmable Interrupt Controller (APIC)"): the xAPIC page and the
 * x2APIC registers of one processor.
 */
import type { Ns, PhysAddr } from "../base/units.ts";
import type { IoHandler } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import { type Device, unimplemented } from "../machine/device.ts";
import type { CpuPins } from "../machine/processor.ts";
import type { Wire } from "../machine/wire.ts";
import {
	type ApicBus,
	type ApicTarget,
	BROADCAST,
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
	APR,
	BASE_BSP,
	BASE_EN,
	BASE_EXTD,
	BASE_RESERVED,
	BASE_RESET,
	DFR,
	EOI,
	ERROR,
	ESR,
	ESR_ILLEGAL_REGISTER,
	ESR_RECEIVE_ILLEGAL_VECTOR,
	ESR_SEND_ILLEGAL_VECTOR,
	IA32_APIC_BASE,
	IA32_TSC_DEADLINE,
	ICR_ASSERT,
	ICR_HIGH,
	ICR_LEVEL,
	ICR_LOGICAL,
	ICR_LOW,
	ICR_WRITABLE,
	ID,
	IRR,
	ISR,
	LDR,
	LINT0,
	LINT1,
	LVT_ERROR,
	LVT_LEVEL,
	LVT_MASK,
	LVT_READ_ONLY,
	LVT_REMOTE_IRR,
	LVT_TIMER,
	LVT_WRITABLE,
	PPR,
	RRD,
	SELF_IPI,
	SVR,
	SVR_ENABLE,
	SVR_WRITABLE,
	TIMER_CURRENT_COUNT,
	TIMER_DIVIDE,
	TIMER_INITIAL_COUNT,
	TMR,
	TPR,
	VERSION,
	VERSION_VALUE,
	X2APIC_FIRST,
	X2APIC_LAST,
} from "./lapic-registers.ts";
import { LapicTimer, type LapicTimerState } from "./lapic-timer.ts";
import { VectorQueue, type VectorQueueState } from "./lapic-vectors.ts";

export { IA32_APIC_BASE, IA32_TSC_DEADLINE } from "./lapic-registers.ts";

export type LapicState = VectorQueueState & {
	readonly base: bigint;
	readonly ldr: number;
	readonly dfr: number;
	readonly svr: number;
	readonly esr: number;
	readonly esrPending: number;
	readonly icrLow: number;
	readonly icrHigh: number;
	readonly lvt: readonly number[];
	readonly timer: LapicTimerState;
	readonly isLint0High: boolean;
	readonly isLint1High: boolean;
	/** An ExtINT message waits for its INTA cycle. */
	readonly isExtIntPending: boolean;
};

export interface LapicOptions {
	readonly name: string;
	readonly clock: Clock;
	readonly bus: ApicBus;
	readonly apicId: number;
	readonly isBootProcessor: boolean;
	/** The INTA cycle of an external controller (an 8259A), for ExtINT. */
	readonly externalAcknowledge?: () => number;
	/** When the processor's time-stamp counter reaches `tsc`; by default it counts guest nanoseconds. */
	readonly nsOfTsc?: (tsc: bigint) => Ns;
	/** IA32_APIC_BASE has moved the register page or switched it off. */
	readonly onBaseChanged?: (base: PhysAddr, hasPage: boolean) => void;
}

export class LocalApic implements Device<LapicState>, ApicTarget {
	readonly name: string;
	readonly apicId: number;
	/** The register page of xAPIC mode. */
	readonly registers: IoHandler;
	/** Local inputs. On PCs LINT0 comes from the 8259A, LINT1 is NMI. */
	readonly lint0: Wire;
	readonly lint1: Wire;
	readonly #bus: ApicBus;
	readonly #options: LapicOptions;
	readonly #timer: LapicTimer;
	readonly #queue = new VectorQueue();
	readonly #lvt = new Uint32Array(LVT_WRITABLE.length);
	#cpu: CpuPins | undefined;
	#base = 0n;
	/** The flags of `#base`. */
	#isEnabled = true;
	#isExtended = false;
	#ldr = 0;
	#dfr = 0xffff_ffff;
	#svr = 0xff;
	#esr = 0;
	#esrPending = 0;
	#icrLow = 0;
	#icrHigh = 0;
	#isLint0High = false;
	#isLint1High = false;
	#isExtIntPending = false;

	constructor(options: LapicOptions) {
		this.name = options.name;
		this.apicId = options.apicId;
		this.#options = options;
		this.#bus = options.bus;
		const nsOfTsc = options.nsOfTsc ?? ((tsc: bigint) => Number(tsc));
		this.#timer = new LapicTimer(`${options.name} timer`, options.clock, nsOfTsc, () => this.#raiseLocal(0));
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
		this.registers = {
			accessBytes: { min: 4, max: 4 },
			read: (offset) => (this.#hasPage ? this.#readPage(offset & ~3) >>> (8 * (offset & 3)) : 0xffff_ffff),
			write: (offset, bytes, value) => {
				if (this.#hasPage && bytes === 4) this.#writePage(offset, value);
			},
		};
		this.#setBase(this.#resetBase);
		this.#resetRegisters();
		options.bus.attach(this);
	}

	/** Gives the APIC its processor. */
	attachCpu(cpu: CpuPins): void {
		this.#cpu = cpu;
		this.#update();
	}

	/**
	 * Leaves the APIC as firmware leaves the boot processor's: virtual wire mode, the 8259A through LINT0 and NMI through
	 * LINT1 (Intel MultiProcessor Specification 1.4 §3.6.2.2, "Virtual Wire Mode").
	 */
	enterVirtualWireMode(): void {
		this.#writeSvr(SVR_ENABLE | 0xff);
		this.#writeLvt(LINT0, DELIVERY_EXTINT << 8);
		this.#writeLvt(LINT1, DELIVERY_NMI << 8);
	}

	/** IA32_APIC_BASE.EN; CPUID's APIC flag follows it. */
	get isGloballyEnabled(): boolean {
		return this.#isEnabled;
	}

	get isX2Apic(): boolean {
		return this.#isExtended;
	}

	get baseAddress(): PhysAddr {
		return Number(this.#base & 0xf_ffff_ffff_f000n);
	}

	// What a processor's board asks (CpuBoard).

	acknowledgeInterrupt(): number {
		const externalAcknowledge = this.#options.externalAcknowledge;
		if (externalAcknowledge !== undefined && (this.#isExtIntAsserted || !this.isGloballyEnabled)) {
			this.#isExtIntPending = false;
			const vector = externalAcknowledge();
			this.#update();
			return vector;
		}
		this.#isExtIntPending = false;
		const vector = this.acceptsInterrupts ? this.#queue.beginService() : -1;
		this.#update();
		// The request may have gone with a raised TPR: a spurious interrupt, which sets no ISR bit and wants no EOI.
		return vector < 0 ? this.#svr & 0xff : vector;
	}

	readTaskPriority(): number {
		return this.#queue.tpr >> 4;
	}

	writeTaskPriority(priority: number): void {
		this.#queue.tpr = (priority & 0xf) << 4;
		this.#update();
	}

	readApicMsr(index: number): bigint | undefined {
		if (index === IA32_APIC_BASE) return this.#base;
		if (index === IA32_TSC_DEADLINE) return this.#timer.tscDeadline;
		if (index < X2APIC_FIRST || index > X2APIC_LAST || !this.isX2Apic) return undefined;
		const offset = (index - X2APIC_FIRST) << 4;
		if (offset === ICR_LOW) return (BigInt(this.#icrHigh) << 32n) | BigInt(this.#icrLow);
		const isAbsent = offset === APR || offset === EOI || offset === RRD || offset === DFR || offset === ICR_HIGH || offset === SELF_IPI;
		const value = isAbsent ? undefined : this.#readRegister(offset);
		return value === undefined ? undefined : BigInt(value >>> 0);
	}

	writeApicMsr(index: number, value: bigint): boolean {
		if (index === IA32_APIC_BASE) return this.#writeBase(value);
		if (index === IA32_TSC_DEADLINE) {
			this.#timer.writeTscDeadline(value);
			return true;
		}
		if (index < X2APIC_FIRST || index > X2APIC_LAST || !this.isX2Apic) return false;
		return this.#writeX2Register((index - X2APIC_FIRST) << 4, Number(value & 0xffff_ffffn), Number(value >> 32n));
	}

	/** The processor's time-stamp counter has been written. */
	tscChanged(): void {
		this.#timer.tscChanged();
	}

	// What the bus asks (ApicTarget).

	matches(isLogical: boolean, destination: number): boolean {
		if (!this.isGloballyEnabled) return false;
		if (destination === BROADCAST) return true;
		if (!isLogical) return destination === this.apicId;
		if (this.isX2Apic) return destination >>> 16 === this.#ldr >>> 16 && (destination & this.#ldr & 0xffff) !== 0;
		const address = destination & 0xff;
		const logicalId = this.#ldr >>> 24;
		// Flat model: a bit each; cluster model: cluster number and a bit each.
		if (this.#dfr >>> 28 === 0xf) return (address & logicalId) !== 0;
		return address === 0xff || (address >> 4 === logicalId >> 4 && (address & logicalId & 0xf) !== 0);
	}

	get acceptsInterrupts(): boolean {
		return this.#isEnabled && (this.#svr & SVR_ENABLE) !== 0;
	}

	get arbitrationPriority(): number {
		return this.#queue.arbitrationPriority;
	}

	accept(deliveryMode: number, vector: number, isLevel: boolean): boolean {
		if (!this.isGloballyEnabled) return false;
		switch (deliveryMode) {
			case DELIVERY_FIXED:
			case DELIVERY_LOWEST_PRIORITY:
				if (!this.acceptsInterrupts) return false;
				if (vector < 16) {
					this.#raiseError(ESR_RECEIVE_ILLEGAL_VECTOR);
					return false;
				}
				this.#queue.request(vector, isLevel);
				this.#update();
				return true;
			case DELIVERY_SMI:
				unimplemented(this.name, "system management interrupt");
				return true;
			case DELIVERY_NMI:
				this.#cpu?.nmi();
				return true;
			case DELIVERY_INIT:
				// INIT keeps IA32_APIC_BASE, and with it x2APIC mode.
				this.#resetRegisters();
				this.#cpu?.init();
				return true;
			case DELIVERY_STARTUP:
				this.#cpu?.startup(vector);
				return true;
			case DELIVERY_EXTINT:
				this.#isExtIntPending = true;
				this.#update();
				return true;
			default:
				return false;
		}
	}

	reset(): void {
		this.#setBase(this.#resetBase);
		this.#resetRegisters();
		this.#baseChanged();
	}

	save(): LapicState {
		return {
			base: this.#base,
			...this.#queue.save(),
			ldr: this.#ldr,
			dfr: this.#dfr,
			svr: this.#svr,
			esr: this.#esr,
			esrPending: this.#esrPending,
			icrLow: this.#icrLow,
			icrHigh: this.#icrHigh,
			lvt: [...this.#lvt],
			timer: this.#timer.save(),
			isLint0High: this.#isLint0High,
			isLint1High: this.#isLint1High,
			isExtIntPending: this.#isExtIntPending,
		};
	}

	load(state: LapicState): void {
		this.#setBase(state.base);
		this.#queue.load(state);
		this.#ldr = state.ldr;
		this.#dfr = state.dfr;
		this.#svr = state.svr;
		this.#esr = state.esr;
		this.#esrPending = state.esrPending;
		this.#icrLow = state.icrLow;
		this.#icrHigh = state.icrHigh;
		this.#lvt.set(state.lvt);
		this.#timer.load(state.timer);
		this.#isLint0High = state.isLint0High;
		this.#isLint1High = state.isLint1High;
		this.#isExtIntPending = state.isExtIntPending;
		this.#baseChanged();
		this.#update();
	}

	// IA32_APIC_BASE

	get #resetBase(): bigint {
		return BigInt(BASE_RESET + BASE_EN + (this.#options.isBootProcessor ? BASE_BSP : 0));
	}

	get #hasPage(): boolean {
		return this.isGloballyEnabled && !this.isX2Apic;
	}

	#setBase(value: bigint): void {
		this.#base = value;
		this.#isEnabled = (value & BigInt(BASE_EN)) !== 0n;
		this.#isExtended = (value & BigInt(BASE_EXTD)) !== 0n;
	}

	#baseChanged(): void {
		this.#options.onBaseChanged?.(this.baseAddress, this.#hasPage);
	}

	/** Only disabled → xAPIC → x2APIC → disabled, and xAPIC → disabled (§11.12.5, "x2APIC State Transitions"). */
	#writeBase(value: bigint): boolean {
		const isEnabled = (value & BigInt(BASE_EN)) !== 0n;
		const isExtended = (value & BigInt(BASE_EXTD)) !== 0n;
		const wasEnabled = this.isGloballyEnabled;
		const wasExtended = this.isX2Apic;
		if ((value & BASE_RESERVED) !== 0n || (isExtended && !isEnabled)) return false;
		if ((wasExtended && isEnabled && !isExtended) || (!wasEnabled && isExtended)) return false;
		this.#setBase(value);
		if (wasEnabled && !isEnabled) this.#resetRegisters();
		if (isExtended) this.#ldr = this.#x2LogicalId;
		this.#baseChanged();
		this.#update();
		return true;
	}

	get #x2LogicalId(): number {
		return (((this.apicId >>> 4) << 16) | (1 << (this.apicId & 0xf))) >>> 0;
	}

	#resetRegisters(): void {
		this.#queue.clear();
		this.#esr = this.#esrPending = this.#icrLow = this.#icrHigh = 0;
		this.#ldr = this.isX2Apic ? this.#x2LogicalId : 0;
		this.#dfr = 0xffff_ffff;
		this.#svr = 0xff;
		this.#lvt.fill(LVT_MASK);
		this.#timer.reset();
		this.#isExtIntPending = false;
		this.#update();
	}

	// Delivery to the processor

	get #isExtIntAsserted(): boolean {
		if (this.#isExtIntPending) return true;
		const lvt = this.#lvt[LINT0] as number;
		return this.#isLint0High && (lvt & LVT_MASK) === 0 && ((lvt >> 8) & 7) === DELIVERY_EXTINT;
	}

	#update(): void {
		// Switched off, the APIC is not there: LINT0 is the processor's INTR pin.
		const isAsserted = this.isGloballyEnabled
			? this.#isExtIntAsserted || (this.acceptsInterrupts && this.#queue.hasDeliverable)
			: this.#isLint0High;
		this.#cpu?.intr.set(isAsserted);
	}

	#lintChanged(entry: number, high: boolean): void {
		if (!this.isGloballyEnabled) {
			if (entry === LINT1 && high) this.#cpu?.nmi();
		} else if (high) this.#raiseLocal(entry);
		this.#update();
	}

	#raiseLocal(entry: number): void {
		const lvt = this.#lvt[entry] as number;
		if ((lvt & LVT_MASK) !== 0) return;
		const isLint = entry === LINT0 || entry === LINT1;
		const deliveryMode = isLint ? (lvt >> 8) & 7 : DELIVERY_FIXED;
		// ExtINT is a level that `#update` looks at.
		if (deliveryMode === DELIVERY_EXTINT) return;
		const isLevel = isLint && deliveryMode === DELIVERY_FIXED && (lvt & LVT_LEVEL) !== 0;
		if (isLevel) {
			if ((lvt & LVT_REMOTE_IRR) !== 0) return;
			this.#lvt[entry] = lvt | LVT_REMOTE_IRR;
		}
		this.accept(deliveryMode, lvt & 0xff, isLevel);
	}

	#endOfInterrupt(): void {
		const vector = this.#queue.endService();
		this.#update();
		if (vector < 0 || !this.#queue.isLevel(vector)) return;
		for (const entry of [LINT0, LINT1]) {
			const lvt = this.#lvt[entry] as number;
			if ((lvt & LVT_REMOTE_IRR) === 0 || (lvt & 0xff) !== vector) continue;
			this.#lvt[entry] = lvt & ~LVT_REMOTE_IRR;
			if (entry === LINT0 ? this.#isLint0High : this.#isLint1High) this.#raiseLocal(entry);
		}
		this.#bus.broadcastEoi(vector);
	}

	#raiseError(bit: number): void {
		const isNew = (this.#esrPending & bit) === 0;
		this.#esrPending |= bit;
		// An illegal vector in the error entry itself must not raise errors for ever.
		if (isNew && ((this.#lvt[ERROR] as number) & 0xff) >= 16) this.#raiseLocal(ERROR);
	}

	// Registers

	#readPage(offset: number): number {
		if ((offset & 0xf) !== 0) return 0;
		const value = this.#readRegister(offset);
		if (value !== undefined) return value;
		this.#raiseError(ESR_ILLEGAL_REGISTER);
		return 0;
	}

	#readRegister(offset: number): number | undefined {
		if (offset >= ISR && offset < ESR) {
			const set = offset < TMR ? this.#queue.isr : offset < IRR ? this.#queue.tmr : this.#queue.irr;
			return set.word((offset >> 4) & 7);
		}
		if (offset >= LVT_TIMER && offset <= LVT_ERROR) return this.#lvt[(offset - LVT_TIMER) >> 4];
		switch (offset) {
			case ID:
				return this.isX2Apic ? this.apicId : (this.apicId << 24) >>> 0;
			case VERSION:
				return VERSION_VALUE;
			case TPR:
				return this.#queue.tpr;
			case APR:
				return this.arbitrationPriority;
			case PPR:
				return this.#queue.ppr;
			case EOI:
			case RRD:
				return 0;
			case LDR:
				return this.#ldr;
			case DFR:
				return this.#dfr;
			case SVR:
				return this.#svr;
			case ESR:
				return this.#esr;
			case ICR_LOW:
				return this.#icrLow;
			case ICR_HIGH:
				return this.#icrHigh;
			case TIMER_INITIAL_COUNT:
				return this.#timer.initialCount;
			case TIMER_CURRENT_COUNT:
				return this.#timer.currentCount;
			case TIMER_DIVIDE:
				return this.#timer.divideConfiguration;
			default:
				return undefined;
		}
	}

	#writePage(offset: number, value: number): void {
		if ((offset & 0xf) !== 0) return;
		switch (offset) {
			case ID:
			case VERSION:
			case APR:
			case PPR:
			case RRD:
			case TIMER_CURRENT_COUNT:
				return;
			case LDR:
				this.#ldr = (value & 0xff00_0000) >>> 0;
				return;
			case DFR:
				this.#dfr = (value | 0x0fff_ffff) >>> 0;
				return;
			case ICR_LOW: {
				this.#icrLow = value & ICR_WRITABLE;
				const destination = this.#icrHigh >>> 24;
				const isLogical = (value & ICR_LOGICAL) !== 0;
				this.#sendIpi(value, !isLogical && destination === 0xff ? BROADCAST : destination);
				return;
			}
			case ICR_HIGH:
				this.#icrHigh = (value & 0xff00_0000) >>> 0;
				return;
		}
		if (offset >= ISR && offset < ESR) return;
		if (!this.#writeCommon(offset, value)) this.#raiseError(ESR_ILLEGAL_REGISTER);
	}

	/** x2APIC: reserved bits and read-only registers refuse the write. */
	#writeX2Register(offset: number, value: number, high: number): boolean {
		if (offset === ICR_LOW) {
			if ((value & ~(ICR_WRITABLE | (1 << 12))) !== 0) return false;
			this.#icrLow = value & ICR_WRITABLE;
			this.#icrHigh = high;
			this.#sendIpi(value, high);
			return true;
		}
		if (high !== 0) return false;
		if (offset === SELF_IPI) {
			if (value > 0xff) return false;
			this.#sendIpi(value | (1 << 18), 0);
			return true;
		}
		if ((offset === EOI || offset === ESR) && value !== 0) return false;
		if (offset === TPR && value > 0xff) return false;
		if (offset === SVR && (value & ~SVR_WRITABLE) !== 0) return false;
		if (offset === TIMER_DIVIDE && (value & ~0xb) !== 0) return false;
		if (offset >= LVT_TIMER && offset <= LVT_ERROR) {
			const writable = LVT_WRITABLE[(offset - LVT_TIMER) >> 4] ?? 0;
			if ((value & ~(writable | LVT_READ_ONLY)) !== 0) return false;
		}
		return this.#writeCommon(offset, value);
	}

	/** What both modes can write; false if there is no such register. */
	#writeCommon(offset: number, value: number): boolean {
		switch (offset) {
			case TPR:
				this.#queue.tpr = value & 0xff;
				this.#update();
				return true;
			case EOI:
				this.#endOfInterrupt();
				return true;
			case SVR:
				this.#writeSvr(value);
				return true;
			case ESR:
				// The write shows the errors gathered since the last one.
				this.#esr = this.#esrPending;
				this.#esrPending = 0;
				return true;
			case TIMER_INITIAL_COUNT:
				this.#timer.writeInitialCount(value);
				return true;
			case TIMER_DIVIDE:
				this.#timer.writeDivideConfiguration(value);
				return true;
			default:
				if (offset < LVT_TIMER || offset > LVT_ERROR) return false;
				this.#writeLvt((offset - LVT_TIMER) >> 4, value);
				return true;
		}
	}

	#writeSvr(value: number): void {
		this.#svr = value & SVR_WRITABLE;
		if ((value & SVR_ENABLE) === 0) {
			for (let entry = 0; entry < this.#lvt.length; entry++) this.#lvt[entry] = (this.#lvt[entry] as number) | LVT_MASK;
			this.#configureTimer();
		}
		this.#update();
	}

	#writeLvt(entry: number, value: number): void {
		const writable = LVT_WRITABLE[entry] as number;
		let lvt = (value & writable) | ((this.#lvt[entry] as number) & LVT_REMOTE_IRR);
		if ((lvt & LVT_LEVEL) === 0) lvt &= ~LVT_REMOTE_IRR;
		// Software-disabled, the table stays masked.
		if ((this.#svr & SVR_ENABLE) === 0) lvt |= LVT_MASK;
		this.#lvt[entry] = lvt;
		if (entry === 0) this.#configureTimer();
		const isHigh = (entry === LINT0 && this.#isLint0High) || (entry === LINT1 && this.#isLint1High);
		if (isHigh && (lvt & LVT_LEVEL) !== 0 && ((lvt >> 8) & 7) === DELIVERY_FIXED) this.#raiseLocal(entry);
		this.#update();
	}

	#configureTimer(): void {
		const lvt = this.#lvt[0] as number;
		this.#timer.configure((lvt >> 17) & 3, (lvt & LVT_MASK) !== 0);
	}

	#sendIpi(command: number, destination: number): void {
		const deliveryMode = (command >> 8) & 7;
		const vector = command & 0xff;
		// INIT level de-assert only synchronised the arbitration of older buses.
		if (deliveryMode === DELIVERY_INIT && (command & (ICR_LEVEL | ICR_ASSERT)) === ICR_LEVEL) return;
		if (deliveryMode <= DELIVERY_LOWEST_PRIORITY && vector < 16) {
			this.#raiseError(ESR_SEND_ILLEGAL_VECTOR);
			return;
		}
		const shorthand = (command >> 18) & 3;
		if (shorthand === 1) this.accept(deliveryMode, vector, false);
		else if (shorthand >= 2) this.#bus.deliverToAll(this, shorthand === 2, deliveryMode, vector);
		else this.#bus.deliver({ deliveryMode, vector, isLevel: false, isLogical: (command & ICR_LOGICAL) !== 0, destination });
	}
}
