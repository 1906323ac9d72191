/**
 * Local APIC (Intel SDM Vol. 3A chapter 11, "Advanced Programmable Interrupt Controller (APIC)"): the xAPIC page and the
 * x2APIC registers of one processor.
 */
import type { PhysAddr } from "../base/units.ts";
import type { IoHandler } from "../machine/bus.ts";
import type { Device } from "../machine/device.ts";
import type { CpuPins } from "../machine/processor.ts";
import type { Wire } from "../machine/wire.ts";
import {
	type ApicBus,
	type ApicTarget,
	BROADCAST,
	DELIVERY_EXTINT,
	DELIVERY_INIT,
	DELIVERY_LOWEST_PRIORITY,
	DELIVERY_NMI,
} from "./apic-bus.ts";
import { LapicCore, type LapicCoreOptions, type LapicCoreState } from "./lapic-core.ts";
import {
	APR,
	BASE_BSP,
	BASE_EN,
	BASE_EXTD,
	BASE_RESERVED,
	BASE_RESET,
	DFR,
	EOI,
	ESR,
	ESR_ILLEGAL_REGISTER,
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
	LVT_READ_ONLY,
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

export { IA32_APIC_BASE, IA32_TSC_DEADLINE } from "./lapic-registers.ts";

export type LapicState = LapicCoreState & {
	readonly base: bigint;
	readonly ldr: number;
	readonly dfr: number;
	readonly icrLow: number;
	readonly icrHigh: number;
};

export interface LapicOptions extends Omit<LapicCoreOptions, "onLevelEoi" | "onInit"> {
	readonly bus: ApicBus;
	readonly apicId: number;
	readonly isBootProcessor: boolean;
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
	readonly #core: LapicCore;
	#base = 0n;
	/** The flag of `#base`. */
	#isExtended = false;
	#ldr = 0;
	#dfr = 0xffff_ffff;
	#icrLow = 0;
	#icrHigh = 0;

	constructor(options: LapicOptions) {
		this.name = options.name;
		this.apicId = options.apicId;
		this.#options = options;
		this.#bus = options.bus;
		this.#core = new LapicCore({
			...options,
			onLevelEoi: (vector) => options.bus.broadcastEoi(vector),
			// INIT keeps IA32_APIC_BASE, and with it x2APIC mode.
			onInit: () => this.#resetRegisters(),
		});
		this.lint0 = this.#core.lint0;
		this.lint1 = this.#core.lint1;
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
		this.#core.attachCpu(cpu);
	}

	/**
	 * Leaves the APIC as firmware leaves the boot processor's: virtual wire mode, the 8259A through LINT0 and NMI through
	 * LINT1 (Intel MultiProcessor Specification 1.4 §3.6.2.2, "Virtual Wire Mode").
	 */
	enterVirtualWireMode(): void {
		this.#core.writeSvr(SVR_ENABLE | 0xff);
		this.#core.writeLvt(LINT0, DELIVERY_EXTINT << 8);
		this.#core.writeLvt(LINT1, DELIVERY_NMI << 8);
	}

	/** IA32_APIC_BASE.EN; CPUID's APIC flag follows it. */
	get isGloballyEnabled(): boolean {
		return this.#core.isPresent;
	}

	get isX2Apic(): boolean {
		return this.#isExtended;
	}

	get baseAddress(): PhysAddr {
		return Number(this.#base & 0xf_ffff_ffff_f000n);
	}

	// What a processor's board asks (CpuBoard).

	acknowledgeInterrupt(): number {
		return this.#core.acknowledgeInterrupt();
	}

	readTaskPriority(): number {
		return this.#core.queue.tpr >> 4;
	}

	writeTaskPriority(priority: number): void {
		this.#core.writeTpr((priority & 0xf) << 4);
	}

	readApicMsr(index: number): bigint | undefined {
		if (index === IA32_APIC_BASE) return this.#base;
		if (index === IA32_TSC_DEADLINE) return this.#core.timer.tscDeadline;
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
			this.#core.timer.writeTscDeadline(value);
			return true;
		}
		if (index < X2APIC_FIRST || index > X2APIC_LAST || !this.isX2Apic) return false;
		return this.#writeX2Register((index - X2APIC_FIRST) << 4, Number(value & 0xffff_ffffn), Number(value >> 32n));
	}

	/** The processor's time-stamp counter has been written. */
	tscChanged(): void {
		this.#core.timer.tscChanged();
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
		return this.#core.acceptsInterrupts;
	}

	get arbitrationPriority(): number {
		return this.#core.queue.arbitrationPriority;
	}

	accept(deliveryMode: number, vector: number, isLevel: boolean): boolean {
		return this.#core.accept(deliveryMode, vector, isLevel);
	}

	reset(): void {
		this.#setBase(this.#resetBase);
		this.#resetRegisters();
		this.#baseChanged();
	}

	save(): LapicState {
		return {
			...this.#core.save(),
			base: this.#base,
			ldr: this.#ldr,
			dfr: this.#dfr,
			icrLow: this.#icrLow,
			icrHigh: this.#icrHigh,
		};
	}

	load(state: LapicState): void {
		this.#setBase(state.base);
		this.#core.load(state);
		this.#ldr = state.ldr;
		this.#dfr = state.dfr;
		this.#icrLow = state.icrLow;
		this.#icrHigh = state.icrHigh;
		this.#baseChanged();
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
		this.#isExtended = (value & BigInt(BASE_EXTD)) !== 0n;
		this.#core.setPresent((value & BigInt(BASE_EN)) !== 0n);
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
		return true;
	}

	get #x2LogicalId(): number {
		return (((this.apicId >>> 4) << 16) | (1 << (this.apicId & 0xf))) >>> 0;
	}

	#resetRegisters(): void {
		this.#icrLow = this.#icrHigh = 0;
		this.#ldr = this.isX2Apic ? this.#x2LogicalId : 0;
		this.#dfr = 0xffff_ffff;
		this.#core.reset();
	}

	// Registers

	#readPage(offset: number): number {
		if ((offset & 0xf) !== 0) return 0;
		const value = this.#readRegister(offset);
		if (value !== undefined) return value;
		this.#core.raiseError(ESR_ILLEGAL_REGISTER);
		return 0;
	}

	#readRegister(offset: number): number | undefined {
		if (offset >= ISR && offset < ESR) {
			const set = offset < TMR ? this.#core.queue.isr : offset < IRR ? this.#core.queue.tmr : this.#core.queue.irr;
			return set.word((offset >> 4) & 7);
		}
		if (offset >= LVT_TIMER && offset <= LVT_ERROR) return this.#core.lvt((offset - LVT_TIMER) >> 4);
		switch (offset) {
			case ID:
				return this.isX2Apic ? this.apicId : (this.apicId << 24) >>> 0;
			case VERSION:
				return VERSION_VALUE;
			case TPR:
				return this.#core.queue.tpr;
			case APR:
				return this.arbitrationPriority;
			case PPR:
				return this.#core.queue.ppr;
			case EOI:
			case RRD:
				return 0;
			case LDR:
				return this.#ldr;
			case DFR:
				return this.#dfr;
			case SVR:
				return this.#core.svr;
			case ESR:
				return this.#core.esr;
			case ICR_LOW:
				return this.#icrLow;
			case ICR_HIGH:
				return this.#icrHigh;
			case TIMER_INITIAL_COUNT:
				return this.#core.timer.initialCount;
			case TIMER_CURRENT_COUNT:
				return this.#core.timer.currentCount;
			case TIMER_DIVIDE:
				return this.#core.timer.divideConfiguration;
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
		if (!this.#writeCommon(offset, value)) this.#core.raiseError(ESR_ILLEGAL_REGISTER);
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
				this.#core.writeTpr(value & 0xff);
				return true;
			case EOI:
				this.#core.endOfInterrupt();
				return true;
			case SVR:
				this.#core.writeSvr(value);
				return true;
			case ESR:
				this.#core.writeEsr();
				return true;
			case TIMER_INITIAL_COUNT:
				this.#core.timer.writeInitialCount(value);
				return true;
			case TIMER_DIVIDE:
				this.#core.timer.writeDivideConfiguration(value);
				return true;
			default:
				if (offset < LVT_TIMER || offset > LVT_ERROR) return false;
				this.#core.writeLvt((offset - LVT_TIMER) >> 4, value);
				return true;
		}
	}

	#sendIpi(command: number, destination: number): void {
		const deliveryMode = (command >> 8) & 7;
		const vector = command & 0xff;
		// INIT level de-assert only synchronised the arbitration of older buses.
		if (deliveryMode === DELIVERY_INIT && (command & (ICR_LEVEL | ICR_ASSERT)) === ICR_LEVEL) return;
		if (deliveryMode <= DELIVERY_LOWEST_PRIORITY && vector < 16) {
			this.#core.raiseError(ESR_SEND_ILLEGAL_VECTOR);
			return;
		}
		const shorthand = (command >> 18) & 3;
		if (shorthand === 1) this.accept(deliveryMode, vector, false);
		else if (shorthand >= 2) this.#bus.deliverToAll(this, shorthand === 2, deliveryMode, vector);
		else this.#bus.deliver({ deliveryMode, vector, isLevel: false, isLogical: (command & ICR_LOGICAL) !== 0, destination });
	}
}
