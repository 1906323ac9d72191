import type { StateValue } from "../base/json.ts";
import { AcpiPm } from "../chips/acpi-pm.ts";
import { FloatError } from "../chips/float-error.ts";
import { Hpet } from "../chips/hpet.ts";
import { I8042 } from "../chips/i8042.ts";
import { I8254 } from "../chips/i8254.ts";
import { Mc146818 } from "../chips/mc146818.ts";
import { Ns16550 } from "../chips/ns16550.ts";
import { Ps2Keyboard } from "../chips/ps2-keyboard.ts";
import { Ps2Mouse } from "../chips/ps2-mouse.ts";
import { NmiStatusControl, PostCode, ResetControl, SystemControlA } from "../chips/system-control.ts";
import type { IoBus } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import { type Device, unimplemented } from "../machine/device.ts";
import type { GuestMemory } from "../machine/memory.ts";
import { CallbackWire, OpenWire, SharedLine, type Wire } from "../machine/wire.ts";
import { CutWire } from "./cut-wire.ts";
import { PcDma } from "./dma.ts";
import type { PcInterrupts } from "./interrupts.ts";
import * as at from "./layout.ts";
import { NmiMask } from "./nmi-mask.ts";

/** The host's end of a serial port. */
export interface SerialLine {
	/** A byte from the guest. */
	readonly onTransmit: (byte: number) => void;
	/** `Ns16550.receive` takes bytes again, after it took fewer than it was given. */
	readonly onSpace?: () => void;
}

export interface IsaDeviceOptions {
	readonly clock: Clock;
	readonly memory: GuestMemory;
	readonly interrupts: PcInterrupts;
	readonly wallTimeMs: number;
	readonly serialLines: readonly SerialLine[];
	readonly onPowerOff: () => void;
	readonly requestReset: (how: string) => void;
}

type SerialPlace = (typeof at.SERIAL_PORTS)[number];

/** What stands at fixed ports and addresses: timers, clock, keyboard, serial ports, power management, odds and ends. */
export class IsaDevices {
	readonly pit: I8254;
	readonly rtc: Mc146818;
	readonly hpet: Hpet;
	readonly pm: AcpiPm;
	readonly keyboardController: I8042;
	readonly keyboard = new Ps2Keyboard("keyboard");
	readonly mouse = new Ps2Mouse("mouse");
	readonly serialPorts: readonly Ns16550[];
	readonly portB: NmiStatusControl;
	readonly port92: SystemControlA;
	readonly resetControl: ResetControl;
	readonly postCode = new PostCode("post-code");
	readonly nmiMask = new NmiMask();
	readonly floatError: FloatError;
	readonly dma: PcDma;
	/** The HPET has taken over the lines of timer and clock. */
	readonly #timerLine: CutWire;
	readonly #clockLine: CutWire;
	/** Address bit 20 passes while either gate lets it. */
	readonly #a20Line: SharedLine;

	constructor(options: IsaDeviceOptions) {
		const { clock } = options;
		const { isa } = options.interrupts;
		// With the gate, physical addresses mean something else.
		this.#a20Line = new SharedLine(new CallbackWire(() => options.memory.onMapChanged()));
		this.#timerLine = new CutWire(isa.driver(at.IRQ_TIMER));
		this.#clockLine = new CutWire(isa.driver(at.IRQ_RTC));
		this.pit = new I8254({ name: "pit", clock, out: [this.#timerLine, undefined, undefined] });
		this.rtc = new Mc146818({
			name: "rtc",
			clock,
			irq: this.#clockLine,
			initialWallTimeS: options.wallTimeMs / 1000,
			centuryIndex: at.CMOS_CENTURY,
		});
		this.hpet = this.#makeHpet(options);
		this.pm = new AcpiPm({
			name: "acpi-pm",
			clock,
			sci: isa.driver(at.SCI_IRQ),
			onSleep: (type) => (type === at.S5_TYPE ? options.onPowerOff() : unimplemented("acpi-pm", `sleep type ${type}`)),
			enableCommand: at.ACPI_ENABLE,
			disableCommand: at.ACPI_DISABLE,
			timerBits: 32,
		});
		this.keyboardController = new I8042({
			name: "i8042",
			clock,
			keyboardIrq: isa.driver(at.IRQ_KEYBOARD),
			auxIrq: isa.driver(at.IRQ_MOUSE),
			a20: this.#a20Line.driver(),
			resetPulse: pulse(() => options.requestReset("keyboard controller")),
		});
		this.keyboardController.attachKeyboard(this.keyboard);
		this.keyboardController.attachAux(this.mouse);
		this.serialPorts = options.serialLines.map((line, index) => makeSerialPort(line, index, clock, isa.driver(serialPlace(index).irq)));
		this.portB = new NmiStatusControl({
			name: "port-b",
			clock,
			timerGate: this.pit.gate(2),
			isTimerOutHigh: () => this.pit.isOutHigh(2),
			speaker: new OpenWire(),
		});
		this.port92 = new SystemControlA(
			"port-92",
			this.#a20Line.driver(),
			pulse(() => options.requestReset("port 92")),
		);
		this.resetControl = new ResetControl("reset-control", (isHard) => options.requestReset(`port CF9, ${isHard ? "hard" : "soft"}`));
		this.floatError = new FloatError("float-error", isa.driver(at.IRQ_FLOAT_ERROR));
		this.dma = new PcDma(options.memory);
	}

	/** In the order of reset and load: what drives lines first. */
	get devices(): readonly Device<StateValue>[] {
		return [
			...this.serialPorts,
			this.keyboard,
			this.mouse,
			this.keyboardController,
			this.pit,
			this.rtc,
			this.hpet,
			this.pm,
			this.portB,
			this.port92,
			this.resetControl,
			this.postCode,
			this.nmiMask,
			this.floatError,
			this.dma.dma1,
			this.dma.dma2,
		];
	}

	get isA20Enabled(): boolean {
		return this.#a20Line.isHigh;
	}

	claim(io: IoBus, memory: GuestMemory): void {
		const { pm } = this;
		io.claim("pit", 0x40, 4, this.pit.registers);
		io.claim("i8042-data", 0x60, 1, this.keyboardController.data);
		io.claim("port-b", 0x61, 1, this.portB.register);
		io.claim("i8042-command", 0x64, 1, this.keyboardController.command);
		io.claim("rtc", 0x70, 2, this.nmiMask.before(this.rtc.registers));
		io.claim("post", 0x80, 1, this.postCode.register);
		io.claim("port-92", 0x92, 1, this.port92.register);
		io.claim("float-error", at.FLOAT_ERROR_PORT, 1, this.floatError.register);
		io.claim("smi-command", at.SMI_PORT, 2, pm.smiPort);
		io.claim("pm1-event", at.PM_EVENT_PORT, 4, pm.pm1Event);
		io.claim("pm1-control", at.PM_CONTROL_PORT, 2, pm.pm1Control);
		io.claim("pm-timer", at.PM_TIMER_PORT, 4, pm.pmTimer);
		io.claim("gpe0", at.PM_GPE0_PORT, pm.gpe0Bytes, pm.gpe0);
		this.serialPorts.forEach((uart, index) => {
			io.claim(uart.name, serialPlace(index).port, 8, uart.registers);
		});
		this.dma.claim(io);
		memory.claim("hpet", at.HPET_ADDR, at.PAGE, this.hpet.registers);
	}

	#makeHpet({ clock, interrupts }: IsaDeviceOptions): Hpet {
		return new Hpet({
			name: "hpet",
			clock,
			route: (_timer, input) => interrupts.hpetInput(input),
			routeMask: at.HPET_ROUTES,
			legacyOut: [interrupts.isa.driver(at.IRQ_TIMER), interrupts.isa.driver(at.IRQ_RTC)],
			legacyReplacement: new CallbackWire((high) => {
				this.#timerLine.cut(high);
				this.#clockLine.cut(high);
			}),
			onMessage: (address, data) => void interrupts.apicBus.deliverMsi(address, data),
		});
	}
}

function pulse(onRise: () => void): Wire {
	return new CallbackWire((high) => {
		if (high) onRise();
	});
}

function serialPlace(index: number): SerialPlace {
	return at.SERIAL_PORTS[index] as SerialPlace;
}

function makeSerialPort(line: SerialLine, index: number, clock: Clock, irq: Wire): Ns16550 {
	const { onTransmit, onSpace } = line;
	return new Ns16550({ name: `com${index + 1}`, clock, irq, onTransmit, ...(onSpace === undefined ? {} : { onSpace }) });
}
