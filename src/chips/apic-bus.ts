/** What joins local and I/O APICs: interrupt messages, and the EOIs that level-triggered ones wait for. */
import type { PhysAddr } from "../base/units.ts";

/** Delivery modes as ICR, LVT, redirection entries and MSI data encode them (Intel SDM Vol. 3A §11.6.1, "Interrupt Command Register (ICR)"). */
export const DELIVERY_FIXED = 0;
export const DELIVERY_LOWEST_PRIORITY = 1;
export const DELIVERY_SMI = 2;
export const DELIVERY_NMI = 4;
export const DELIVERY_INIT = 5;
export const DELIVERY_STARTUP = 6;
export const DELIVERY_EXTINT = 7;

/** Physical destination of everyone, whatever width the sender's own field has. */
export const BROADCAST = 0xffff_ffff;

export interface ApicMessage {
	readonly deliveryMode: number;
	readonly vector: number;
	readonly isLevel: boolean;
	readonly isLogical: boolean;
	/** An APIC ID, a logical mask, or `BROADCAST`. */
	readonly destination: number;
}

/** A local APIC as the bus sees it. */
export interface ApicTarget {
	readonly apicId: number;
	matches(isLogical: boolean, destination: number): boolean;
	/** True if the APIC takes part in lowest-priority arbitration. */
	readonly acceptsInterrupts: boolean;
	/** The lower, the likelier it gets a lowest-priority message. */
	readonly arbitrationPriority: number;
	/** False if the message falls on deaf ears. */
	accept(deliveryMode: number, vector: number, isLevel: boolean): boolean;
}

export interface EoiListener {
	endOfInterrupt(vector: number): void;
}

export class ApicBus {
	readonly #targets: ApicTarget[] = [];
	readonly #eoiListeners: EoiListener[] = [];

	attach(target: ApicTarget): void {
		this.#targets.push(target);
	}

	attachEoiListener(listener: EoiListener): void {
		this.#eoiListeners.push(listener);
	}

	/** Delivers to every APIC addressed, or to the one that lowest-priority arbitration picks; true if any took it. */
	deliver(message: ApicMessage): boolean {
		const { deliveryMode, vector, isLevel } = message;
		const addressed = this.#targets.filter((target) => target.matches(message.isLogical, message.destination));
		if (deliveryMode === DELIVERY_LOWEST_PRIORITY) {
			let chosen: ApicTarget | undefined;
			for (const target of addressed)
				if (target.acceptsInterrupts && (chosen === undefined || target.arbitrationPriority < chosen.arbitrationPriority)) chosen = target;
			return chosen?.accept(DELIVERY_FIXED, vector, isLevel) ?? false;
		}
		let isTaken = false;
		for (const target of addressed) isTaken = target.accept(deliveryMode, vector, isLevel) || isTaken;
		return isTaken;
	}

	/** For the shorthands of an inter-processor interrupt. */
	deliverToAll(from: ApicTarget, includesSelf: boolean, deliveryMode: number, vector: number): void {
		for (const target of this.#targets) if (includesSelf || target !== from) target.accept(deliveryMode, vector, false);
	}

	/**
	 * A device's write of `data` into the page of an MSI address (Intel SDM Vol. 3A §11.11, "Message Signalled
	 * Interrupts").
	 */
	deliverMsi(address: PhysAddr, data: number): boolean {
		const destination = Math.floor(address / 0x1000) & 0xff;
		const isLogical = (address & 0x4) !== 0;
		// The redirection hint asks for one processor of those named.
		const hasRedirectionHint = (address & 0x8) !== 0;
		const deliveryMode = (data >>> 8) & 7;
		const mode = hasRedirectionHint && isLogical && deliveryMode === DELIVERY_FIXED ? DELIVERY_LOWEST_PRIORITY : deliveryMode;
		return this.deliver({
			deliveryMode: mode,
			vector: data & 0xff,
			isLevel: (data & 0x8000) !== 0,
			isLogical,
			destination: !isLogical && destination === 0xff ? BROADCAST : destination,
		});
	}

	/** A local APIC has ended a level-triggered vector. */
	broadcastEoi(vector: number): void {
		for (const listener of this.#eoiListeners) listener.endOfInterrupt(vector);
	}
}
