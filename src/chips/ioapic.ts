/**
 * 82093AA I/O APIC (Intel 290566-001), 24 inputs, with the EOI register of version 0x20. An input is high while its
 * interrupt is asserted, whatever INTPOL says: polarity is a matter of the board's traces.
 */
import type { IoHandler } from "../machine/bus.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";
import { type ApicBus, BROADCAST, DELIVERY_LOWEST_PRIORITY, type EoiListener } from "./apic-bus.ts";
import { InputPin } from "./input-pin.ts";

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOI = 0x40;
const IOAPICID = 0;
const IOAPICVER = 1;
const IOAPICARB = 2;
const IOREDTBL = 0x10;

const REDIR_DESTMOD = 1 << 11;
const REDIR_REMOTE_IRR = 1 << 14;
const REDIR_LEVEL = 1 << 15;
const REDIR_MASK = 1 << 16;
/** Delivery status (bit 12) and remote IRR are the chip's own; the rest up to the mask is software's. */
const REDIR_LOW_WRITABLE = 0x1_afff;

const VERSION = 0x20;
const PIN_COUNT = 24;

export type IoApicState = {
	readonly id: number;
	readonly select: number;
	readonly lines: number;
	readonly redirections: readonly { readonly low: number; readonly high: number }[];
};

export interface IoApicOptions {
	readonly name: string;
	readonly bus: ApicBus;
	readonly id: number;
}

export class IoApic implements Device<IoApicState>, EoiListener {
	readonly name: string;
	/** The chip's page. */
	readonly registers: IoHandler;
	readonly pinCount = PIN_COUNT;
	readonly #bus: ApicBus;
	readonly #resetId: number;
	readonly #pins: readonly Wire[];
	readonly #low = new Uint32Array(PIN_COUNT);
	readonly #high = new Uint32Array(PIN_COUNT);
	#id: number;
	#select = 0;
	#lines = 0;

	constructor(options: IoApicOptions) {
		this.name = options.name;
		this.#bus = options.bus;
		this.#resetId = this.#id = options.id;
		this.#pins = Array.from(
			{ length: PIN_COUNT },
			(_, n) =>
				new InputPin(
					() => (this.#lines & (1 << n)) !== 0,
					(high) => this.#lineChanged(n, high),
				),
		);
		this.registers = {
			accessBytes: { min: 4, max: 4 },
			read: (offset) => this.#read(offset & ~3) >>> (8 * (offset & 3)),
			write: (offset, _bytes, value) => this.#write(offset & ~3, value),
		};
		options.bus.attachEoiListener(this);
		this.reset();
	}

	/** Input INTIN`n`, high while asserted. */
	pin(n: number): Wire {
		return this.#pins[n] as Wire;
	}

	endOfInterrupt(vector: number): void {
		for (let n = 0; n < PIN_COUNT; n++) {
			const low = this.#low[n] as number;
			if ((low & REDIR_REMOTE_IRR) === 0 || (low & 0xff) !== vector) continue;
			this.#low[n] = low & ~REDIR_REMOTE_IRR;
			this.#serviceLevel(n);
		}
	}

	reset(): void {
		this.#id = this.#resetId;
		this.#select = 0;
		this.#low.fill(REDIR_MASK);
		this.#high.fill(0);
	}

	save(): IoApicState {
		const redirections = Array.from(this.#low, (low, n) => ({ low, high: this.#high[n] as number }));
		return { id: this.#id, select: this.#select, lines: this.#lines, redirections };
	}

	load(state: IoApicState): void {
		this.#id = state.id;
		this.#select = state.select;
		this.#lines = state.lines;
		for (const [n, { low, high }] of state.redirections.entries()) {
			this.#low[n] = low;
			this.#high[n] = high;
		}
	}

	#lineChanged(n: number, high: boolean): void {
		const bit = 1 << n;
		this.#lines = high ? this.#lines | bit : this.#lines & ~bit;
		const low = this.#low[n] as number;
		if ((low & REDIR_LEVEL) !== 0) this.#serviceLevel(n);
		// An edge on a masked input is ignored, not kept (82093AA §3.2.4, "Interrupt Mask").
		else if (high && (low & REDIR_MASK) === 0) this.#send(n);
	}

	#serviceLevel(n: number): void {
		const low = this.#low[n] as number;
		if ((low & (REDIR_LEVEL | REDIR_MASK | REDIR_REMOTE_IRR)) !== REDIR_LEVEL || (this.#lines & (1 << n)) === 0) return;
		if (this.#send(n)) this.#low[n] = low | REDIR_REMOTE_IRR;
	}

	/** True if a local APIC has taken a message that ends with an EOI. */
	#send(n: number): boolean {
		const low = this.#low[n] as number;
		const isLogical = (low & REDIR_DESTMOD) !== 0;
		const destination = (this.#high[n] as number) >>> 24;
		const deliveryMode = (low >>> 8) & 7;
		// Only fixed and lowest-priority messages may be level-triggered.
		const isLevel = (low & REDIR_LEVEL) !== 0 && deliveryMode <= DELIVERY_LOWEST_PRIORITY;
		const isTaken = this.#bus.deliver({
			deliveryMode,
			vector: low & 0xff,
			isLevel,
			isLogical,
			destination: !isLogical && destination === 0xff ? BROADCAST : destination,
		});
		return isTaken && isLevel;
	}

	#read(offset: number): number {
		if (offset === IOREGSEL) return this.#select;
		if (offset !== IOWIN) return 0;
		if (this.#select === IOAPICID || this.#select === IOAPICARB) return this.#id << 24;
		if (this.#select === IOAPICVER) return ((PIN_COUNT - 1) << 16) | VERSION;
		const n = (this.#select - IOREDTBL) >> 1;
		if (n < 0 || n >= PIN_COUNT) return 0;
		return ((this.#select & 1) === 0 ? this.#low : this.#high)[n] as number;
	}

	#write(offset: number, value: number): void {
		if (offset === IOREGSEL) this.#select = value & 0xff;
		else if (offset === EOI) this.endOfInterrupt(value & 0xff);
		else if (offset === IOWIN) this.#writeSelected(value);
	}

	#writeSelected(value: number): void {
		if (this.#select === IOAPICID) this.#id = (value >>> 24) & 0xf;
		const n = (this.#select - IOREDTBL) >> 1;
		if (n < 0 || n >= PIN_COUNT) return;
		if ((this.#select & 1) !== 0) {
			this.#high[n] = value & 0xff00_0000;
			return;
		}
		const kept = (this.#low[n] as number) & REDIR_REMOTE_IRR;
		const low = (value & REDIR_LOW_WRITABLE) | kept;
		// An edge-triggered entry has no remote IRR: older drivers end an interrupt by switching the mode to and fro.
		this.#low[n] = (low & REDIR_LEVEL) === 0 ? low & ~REDIR_REMOTE_IRR : low;
		this.#serviceLevel(n);
	}
}
