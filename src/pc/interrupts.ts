import type { Ns, PhysAddr } from "../base/units.ts";
import { ApicBus } from "../chips/apic-bus.ts";
import { I8259 } from "../chips/i8259.ts";
import { IoApic } from "../chips/ioapic.ts";
import { LocalApic } from "../chips/lapic.ts";
import type { IoHandler } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import { unimplemented } from "../machine/device.ts";
import { CallbackWire, OpenWire, SharedLine, type Wire } from "../machine/wire.ts";
import { IsaInterrupts } from "./isa-interrupts.ts";
import { HPET_ROUTES, IRQ_CASCADE, IRQ_TIMER, LAPIC_ADDR, PIRQ_FIRST_GSI, TIMER_GSI } from "./layout.ts";
import { PirqRouter } from "./pci/irq-router.ts";

/** Lines that the edge/level registers may make level-triggered: not timer, keyboard, cascade, clock, coprocessor. */
const ELCR1_WRITABLE = 0xf8;
const ELCR2_WRITABLE = 0xde;

export interface InterruptOptions {
	readonly clock: Clock;
	readonly cpuCount: number;
	readonly nsOfTsc?: (cpuIndex: number, tsc: bigint) => Ns;
}

/**
 * Two 8259s in cascade, an I/O APIC and the local APICs, with every line between them: the sixteen ISA interrupts go to
 * both kinds of controller, the first 8259's INT to LINT0 of every processor, PIRQA–D to I/O APIC inputs 16–19.
 */
export class PcInterrupts {
	readonly apicBus = new ApicBus();
	readonly pic1: I8259;
	readonly pic2: I8259;
	readonly ioapic: IoApic;
	readonly lapics: readonly LocalApic[];
	readonly isa: IsaInterrupts;
	readonly pirqs: PirqRouter;
	readonly #hpetLines = new Map<number, SharedLine>();
	/** Which processor the access under way comes from: every one sees its own local APIC at the same address. */
	accessingCpu = 0;

	constructor(options: InterruptOptions) {
		const { clock, cpuCount, nsOfTsc } = options;
		this.lapics = Array.from(
			{ length: cpuCount },
			(_, index) =>
				new LocalApic({
					name: `lapic${index}`,
					clock,
					bus: this.apicBus,
					apicId: index,
					isBootProcessor: index === 0,
					externalAcknowledge: () => this.pic1.acknowledge(),
					onBaseChanged: (base) => noteBase(base),
					...(nsOfTsc === undefined ? {} : { nsOfTsc: (tsc: bigint) => nsOfTsc(index, tsc) }),
				}),
		);
		const lint0 = new CallbackWire((high) => {
			for (const lapic of this.lapics) lapic.lint0.set(high);
		});
		this.pic1 = new I8259({ name: "pic1", int: lint0, isMaster: true, elcrWritableMask: ELCR1_WRITABLE });
		this.pic2 = new I8259({ name: "pic2", int: this.pic1.irq(IRQ_CASCADE), isMaster: false, elcrWritableMask: ELCR2_WRITABLE });
		this.pic1.attachSlave(IRQ_CASCADE, this.pic2);
		this.ioapic = new IoApic({ name: "ioapic", bus: this.apicBus, id: 0 });
		this.isa = new IsaInterrupts({
			pic: (irq) => (irq === IRQ_CASCADE ? undefined : irq < 8 ? this.pic1.irq(irq) : this.pic2.irq(irq - 8)),
			ioapic: (irq) => (irq === IRQ_CASCADE ? undefined : this.ioapic.pin(irq === IRQ_TIMER ? TIMER_GSI : irq)),
		});
		this.pirqs = new PirqRouter({
			ioapic: (index) => this.ioapic.pin(PIRQ_FIRST_GSI + index),
			isa: (irq) => this.isa.driver(irq),
		});
	}

	/** A driver of I/O APIC input `gsi` for an HPET timer, of its own for every call. */
	hpetInput(gsi: number): Wire {
		if ((HPET_ROUTES & (1 << gsi)) === 0) return new OpenWire();
		let line = this.#hpetLines.get(gsi);
		if (line === undefined) this.#hpetLines.set(gsi, (line = new SharedLine(this.ioapic.pin(gsi))));
		return line.driver();
	}

	/** The page at `LAPIC_ADDR`. */
	readonly lapicPage: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => (this.lapics[this.accessingCpu] as LocalApic).registers.read(offset, bytes),
		write: (offset, bytes, value) => (this.lapics[this.accessingCpu] as LocalApic).registers.write(offset, bytes, value),
	};

	/** Pulses NMI at LINT1 of every processor. */
	pulseNmi(): void {
		for (const lapic of this.lapics) {
			lapic.lint1.set(true);
			lapic.lint1.set(false);
		}
	}
}

/** No operating system moves the page; one that did would find it where it was. */
function noteBase(base: PhysAddr): void {
	if (base !== LAPIC_ADDR) unimplemented("lapic", "register page at another address than FEE00000");
}
