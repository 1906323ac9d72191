import { describe, expect, it } from "vitest";
import type { StateValue } from "../base/json.ts";
import type { IoHandler } from "../machine/bus.ts";
import { SteppedClock } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { CpuPins } from "../machine/processor.ts";
import { OpenWire, type Wire } from "../machine/wire.ts";
import { AcpiPm } from "./acpi-pm.ts";
import { ApicBus } from "./apic-bus.ts";
import { Hpet } from "./hpet.ts";
import { I8042 } from "./i8042.ts";
import { I8237 } from "./i8237.ts";
import { I8254 } from "./i8254.ts";
import { I8259 } from "./i8259.ts";
import { IoApic } from "./ioapic.ts";
import { LocalApic } from "./lapic.ts";
import { Mc146818 } from "./mc146818.ts";
import { Ns16550 } from "./ns16550.ts";
import { Ps2Keyboard } from "./ps2-keyboard.ts";
import { Ps2Mouse } from "./ps2-mouse.ts";

/** A linear congruential sequence (Knuth's MMIX constants), so that a failure repeats. */
function generator(seed: number): (below: number) => number {
	let state = BigInt(seed);
	return (below) => {
		state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
		return Number((state >> 33n) % BigInt(below));
	};
}

interface Bench {
	readonly device: Device<StateValue>;
	readonly handlers: readonly { readonly handler: IoHandler; readonly sizeBytes: number }[];
	readonly inputs?: readonly Wire[];
	readonly poke?: () => void;
}

const pins = (): CpuPins => ({ intr: new OpenWire(), nmi() {}, init() {}, startup() {}, reset() {} });

const benches: Record<string, (clock: SteppedClock) => Bench> = {
	"8259A": () => {
		const device = new I8259({ name: "pic", int: new OpenWire(), isMaster: true });
		return {
			device,
			handlers: [
				{ handler: device.registers, sizeBytes: 2 },
				{ handler: device.edgeLevelControl, sizeBytes: 1 },
			],
			inputs: Array.from({ length: 8 }, (_, n) => device.irq(n)),
			poke: () => expect(device.acknowledge()).toBeLessThan(256),
		};
	},
	"8254": (clock) => {
		const device = new I8254({ name: "pit", clock, out: [new OpenWire(), new OpenWire(), undefined] });
		return { device, handlers: [{ handler: device.registers, sizeBytes: 4 }], inputs: [0, 1, 2].map((n) => device.gate(n)) };
	},
	MC146818: (clock) => {
		const device = new Mc146818({ name: "rtc", clock, irq: new OpenWire(), initialWallTimeS: 1e9, centuryIndex: 0x32 });
		return { device, handlers: [{ handler: device.registers, sizeBytes: 2 }] };
	},
	"16550A": (clock) => {
		const device = new Ns16550({ name: "uart", clock, irq: new OpenWire(), onTransmit() {} });
		return {
			device,
			handlers: [{ handler: device.registers, sizeBytes: 8 }],
			inputs: [device.cts, device.dsr, device.ri, device.dcd],
			poke: () => device.receive(Uint8Array.of(1, 2, 3)),
		};
	},
	"local APIC": (clock) => {
		const bus = new ApicBus();
		const device = new LocalApic({ name: "lapic", clock, bus, apicId: 0, isBootProcessor: true, externalAcknowledge: () => 0x30 });
		device.attachCpu(pins());
		return {
			device,
			handlers: [{ handler: device.registers, sizeBytes: 0x400 }],
			inputs: [device.lint0, device.lint1],
			poke: () => expect(device.acknowledgeInterrupt()).toBeLessThan(256),
		};
	},
	"local APIC in x2APIC mode": (clock) => {
		const device = new LocalApic({ name: "lapic", clock, bus: new ApicBus(), apicId: 3, isBootProcessor: false });
		device.attachCpu(pins());
		device.writeApicMsr(0x1b, 0xfee0_0c00n);
		const handler: IoHandler = {
			accessBytes: { min: 4, max: 4 },
			read: (offset) => Number(BigInt.asUintN(32, device.readApicMsr(0x800 + offset) ?? 0n)),
			write: (offset, _bytes, value) => device.writeApicMsr(0x800 + offset, BigInt(value)),
		};
		return { device, handlers: [{ handler, sizeBytes: 0x40 }], poke: () => device.acknowledgeInterrupt() };
	},
	"I/O APIC": () => {
		const device = new IoApic({ name: "ioapic", bus: new ApicBus(), id: 1 });
		return {
			device,
			handlers: [{ handler: device.registers, sizeBytes: 0x44 }],
			inputs: Array.from({ length: 24 }, (_, n) => device.pin(n)),
		};
	},
	HPET: (clock) => {
		const wire = new OpenWire();
		const device = new Hpet({
			name: "hpet",
			clock,
			route: () => new OpenWire(),
			routeMask: 0xf0_0000,
			legacyOut: [wire, wire],
			legacyReplacement: new OpenWire(),
		});
		return { device, handlers: [{ handler: device.registers, sizeBytes: 0x180 }] };
	},
	"8042": (clock) => {
		const wire = () => new OpenWire();
		const device = new I8042({ name: "kbc", clock, keyboardIrq: wire(), auxIrq: wire(), a20: wire(), resetPulse: wire() });
		const keyboard = new Ps2Keyboard("keyboard");
		const mouse = new Ps2Mouse("mouse");
		device.attachKeyboard(keyboard);
		device.attachAux(mouse);
		return {
			device,
			handlers: [
				{ handler: device.data, sizeBytes: 1 },
				{ handler: device.command, sizeBytes: 1 },
			],
			poke: () => {
				keyboard.keyDown("Pause");
				mouse.move(1000, -3);
			},
		};
	},
	ACPI: (clock) => {
		const device = new AcpiPm({ name: "pm", clock, sci: new OpenWire(), onSleep() {}, enableCommand: 1, disableCommand: 2 });
		return {
			device,
			handlers: [
				{ handler: device.pm1Event, sizeBytes: 4 },
				{ handler: device.pm1Control, sizeBytes: 2 },
				{ handler: device.pmTimer, sizeBytes: 4 },
				{ handler: device.gpe0, sizeBytes: 4 },
				{ handler: device.smiPort, sizeBytes: 2 },
			],
			inputs: [device.gpe(0), device.gpe(15)],
			poke: () => device.pressPowerButton(),
		};
	},
	"8237A": () => {
		const device = new I8237({ name: "dma", memory: { read() {}, write() {} }, unitBytes: 2 });
		return {
			device,
			handlers: [{ handler: device.registers, sizeBytes: 16 }],
			poke: () => {
				device.readMemory(1, new Uint8Array(300));
				device.writeMemory(2, new Uint8Array(300));
			},
		};
	},
};

describe.each(Object.entries(benches))("%s under nonsense", (_name, create) => {
	it("answers in range, never throws, and can be saved and loaded at any moment", () => {
		for (let seed = 1; seed <= 20; seed++) {
			const random = generator(seed);
			const clock = new SteppedClock();
			const bench = create(clock);
			for (let step = 0; step < 1500; step++) {
				const { handler, sizeBytes } = bench.handlers[random(bench.handlers.length)] as Bench["handlers"][number];
				const bytes = handler.accessBytes.max === 1 ? 1 : ([1, 2, 4, 4, 4][random(5)] as number);
				const offset = Math.min(random(sizeBytes), sizeBytes - bytes);
				const value = random(4) === 0 ? random(4) : random(0x8000_0000) * 2 + random(2);
				if (random(3) === 0) {
					const read = handler.read(offset, bytes);
					if (bytes === 1 && handler.accessBytes.max === 1) expect(read >= 0 && read <= 0xff, `read ${read} at ${offset}`).toBe(true);
					expect(Number.isInteger(read)).toBe(true);
				} else handler.write(offset, bytes, bytes === 4 ? value : value % 2 ** (8 * bytes));
				const action = random(40);
				if (action === 0) bench.poke?.();
				if (action < 4 && bench.inputs !== undefined) bench.inputs[random(bench.inputs.length)]?.set(random(2) === 0);
				if (action === 5) clock.advance(random(1_000_000));
				if (action === 6 && random(20) === 0) clock.advance(random(1_000_000_000));
				if (action === 7) {
					const state = structuredClone(bench.device.save());
					bench.device.load(state);
					expect(bench.device.save()).toEqual(state);
				}
			}
			bench.device.reset();
		}
	});
});
