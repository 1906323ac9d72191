import { expect, test } from "vitest";
import { OpenWire } from "../machine/wire.ts";
import { FloatError } from "./float-error.ts";

test("FERR# interrupts until port F0h says to ignore it, and FERR# falling ends that", () => {
	const irq = new OpenWire();
	const logic = new FloatError("float-error", irq);
	logic.register.write(0, 1, 0);
	expect([logic.signal(true), irq.isHigh]).toEqual([false, true]);
	logic.register.write(0, 1, 0);
	expect([irq.isHigh, logic.signal(true), irq.isHigh]).toEqual([false, true, false]);
	const other = new FloatError("float-error", new OpenWire());
	other.load(logic.save());
	expect(other.signal(true)).toBe(true);
	expect([logic.signal(false), logic.signal(true), irq.isHigh]).toEqual([false, false, true]);
	logic.reset();
	expect(irq.isHigh).toBe(false);
});
