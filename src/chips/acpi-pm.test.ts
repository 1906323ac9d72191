import { beforeEach, describe, expect, it } from "vitest";
import { writeSplit } from "../machine/bus.ts";
import { SteppedClock } from "../machine/clock.ts";
import { OpenWire } from "../machine/wire.ts";
import { AcpiPm, PM_TIMER_HZ } from "./acpi-pm.ts";

let clock: SteppedClock;
let sci: OpenWire;
let pm: AcpiPm;
let sleeps: number[];
let commands: number[];

const create = (timerBits: 24 | 32 = 24) =>
	new AcpiPm({
		name: "acpi",
		clock,
		sci,
		onSleep: (type) => sleeps.push(type),
		onSmiCommand: (command) => commands.push(command),
		enableCommand: 0xf1,
		disableCommand: 0xf0,
		timerBits,
	});

beforeEach(() => {
	clock = new SteppedClock();
	sci = new OpenWire();
	sleeps = [];
	commands = [];
	pm = create();
});

describe("ACPI fixed hardware", () => {
	it("changes hands by SMI command", () => {
		pm.smiPort.write(0, 1, 0xf1);
		expect(pm.pm1Control.read(0, 1)).toBe(1);
		pm.smiPort.write(0, 1, 0xf0);
		expect(pm.pm1Control.read(0, 1)).toBe(0);
		pm.smiPort.write(0, 1, 0x55);
		expect(commands).toEqual([0x55]);
	});

	it("reports the power button through SCI until its status is cleared", () => {
		expect(pm.pressPowerButton()).toBe(false);
		expect(sci.isHigh).toBe(false);
		writeSplit(pm.pm1Event, 0, 2, 0xffff);
		pm.smiPort.write(0, 1, 0xf1);
		writeSplit(pm.pm1Event, 2, 2, 0x0100);
		expect(pm.pressPowerButton()).toBe(true);
		expect(sci.isHigh).toBe(true);
		expect(pm.pm1Event.read(1, 1)).toBe(1);
		writeSplit(pm.pm1Event, 0, 2, 0x0100);
		expect(sci.isHigh).toBe(false);
	});

	it("sleeps with the type that stands in the control block", () => {
		writeSplit(pm.pm1Control, 0, 2, 0x1401);
		expect(sleeps).toEqual([]);
		writeSplit(pm.pm1Control, 0, 2, 0x3401);
		expect(sleeps).toEqual([5]);
		expect(pm.pm1Control.read(1, 1)).toBe(0x14);
	});

	it("counts at 3.579545 MHz and reports its top bit's changes", () => {
		clock.advance(1e9);
		expect(pm.pmTimer.read(0, 4)).toBe(PM_TIMER_HZ);
		pm.smiPort.write(0, 1, 0xf1);
		writeSplit(pm.pm1Event, 2, 2, 0x0001);
		clock.advance(1.3e9);
		expect(sci.isHigh).toBe(false);
		clock.advance(0.1e9);
		expect(sci.isHigh).toBe(true);
		expect(pm.pm1Event.read(0, 1)).toBe(1);
		pm.pm1Event.write(0, 1, 1);
		expect(sci.isHigh).toBe(false);
		clock.advance(2.4e9);
		expect(sci.isHigh).toBe(true);
		expect(pm.pmTimer.read(0, 4)).toBe(Math.floor((4.8 * PM_TIMER_HZ) % 2 ** 24));
		expect(create(32).pmTimer.read(0, 4)).toBe(Math.floor(4.8 * PM_TIMER_HZ));
	});

	it("latches general-purpose events while their lines are high", () => {
		pm.enable();
		pm.gpe0.write(2, 1, 0x02);
		pm.gpe(1).set(true);
		expect(sci.isHigh).toBe(true);
		pm.gpe0.write(0, 1, 0x02);
		expect(sci.isHigh).toBe(true);
		pm.gpe(1).set(false);
		pm.gpe0.write(0, 1, 0x02);
		expect(sci.isHigh).toBe(false);
		expect(pm.gpe0.read(2, 1)).toBe(0x02);
	});

	it("round-trips its state", () => {
		pm.enable();
		writeSplit(pm.pm1Event, 2, 2, 0x0101);
		pm.pressPowerButton();
		pm.gpe(3).set(true);
		clock.advance(1e9);
		const state = structuredClone(pm.save());
		sci = new OpenWire();
		const other = create();
		other.load(state);
		expect(sci.isHigh).toBe(true);
		expect({ ...other.save(), timerTicks: state.timerTicks }).toEqual(state);
	});
});
