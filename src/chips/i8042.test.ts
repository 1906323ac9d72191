import { beforeEach, describe, expect, it } from "vitest";
import { SteppedClock } from "../machine/clock.ts";
import { CallbackWire, OpenWire } from "../machine/wire.ts";
import { I8042 } from "./i8042.ts";
import { Ps2Keyboard } from "./ps2-keyboard.ts";
import { SET2_BY_KEY, set1OfSet2, set2OfSet1 } from "./ps2-keys.ts";
import { Ps2Mouse } from "./ps2-mouse.ts";

let clock: SteppedClock;
let kbc: I8042;
let keyboard: Ps2Keyboard;
let mouse: Ps2Mouse;
let irq1: OpenWire;
let irq12: OpenWire;
let a20: OpenWire;
let resets: number;
let leds: number;

const command = (value: number) => kbc.command.write(0, 1, value);
const data = (value: number) => kbc.data.write(0, 1, value);
const status = () => kbc.command.read(0, 1);
/** Reads as a driver does, until nothing comes any more. */
function drain(): string {
	const bytes: string[] = [];
	for (let idle = 0; idle < 3; idle++) {
		clock.advance(200_000);
		if ((status() & 1) === 0) continue;
		const isAux = (status() & 0x20) !== 0;
		bytes.push((isAux ? "m" : "") + kbc.data.read(0, 1).toString(16).padStart(2, "0"));
		idle = -1;
	}
	return bytes.join(" ");
}
function toMouse(...bytes: number[]): string {
	const replies: string[] = [];
	for (const byte of bytes) {
		command(0xd4);
		data(byte);
		replies.push(drain());
	}
	return replies.join(" ");
}

function create(): I8042 {
	const created = new I8042({
		name: "kbc",
		clock,
		keyboardIrq: irq1,
		auxIrq: irq12,
		a20,
		resetPulse: new CallbackWire((high) => {
			if (high) resets++;
		}),
	});
	return created;
}

beforeEach(() => {
	clock = new SteppedClock();
	irq1 = new OpenWire();
	irq12 = new OpenWire();
	a20 = new OpenWire();
	resets = leds = 0;
	kbc = create();
	keyboard = new Ps2Keyboard("keyboard", (value) => {
		leds = value;
	});
	mouse = new Ps2Mouse("mouse");
	kbc.attachKeyboard(keyboard);
	kbc.attachAux(mouse);
});

describe("8042", () => {
	it("passes a driver's controller tests", () => {
		command(0x20);
		expect(drain()).toBe("47");
		command(0xaa);
		expect(drain()).toBe("55");
		command(0x60);
		data(0x74);
		command(0x20);
		expect(drain()).toBe("74");
		for (const byte of [0x5a, 0xf0, 0x56, 0xa4]) {
			command(0xd3);
			data(byte);
			expect(status() & 0x21).toBe(0x21);
			expect(drain()).toBe(`m${byte.toString(16)}`);
		}
		command(0xa8);
		command(0x20);
		expect(drain()).toBe("54");
		command(0xa7);
		command(0x20);
		expect(drain()).toBe("74");
		command(0xa9);
		command(0xab);
		expect(drain()).toBe("00 00");
	});

	it("interrupts as the command byte allows", () => {
		command(0xd3);
		data(0xa5);
		expect([irq1.isHigh, irq12.isHigh]).toEqual([false, true]);
		kbc.data.read(0, 1);
		expect(irq12.isHigh).toBe(false);
		clock.advance(1e6);
		keyboard.keyDown("KeyA");
		expect(irq1.isHigh).toBe(true);
		command(0x60);
		data(0x44);
		expect(irq1.isHigh).toBe(false);
	});

	it("drives A20 and reset", () => {
		expect(a20.isHigh).toBe(true);
		command(0xd1);
		data(0xdd);
		expect(a20.isHigh).toBe(false);
		command(0xd0);
		expect(drain()).toBe("cd");
		command(0xff);
		expect(resets).toBe(0);
		command(0xfe);
		expect(resets).toBe(1);
	});

	it("reports a timeout for a port with nothing on it", () => {
		kbc = create();
		command(0xd4);
		data(0xf2);
		expect(status() & 0x61).toBe(0x61);
		expect(kbc.data.read(0, 1)).toBe(0xfe);
	});

	it("round-trips its state, devices and all", () => {
		keyboard.keyDown("Pause");
		mouse.write(0xf4);
		mouse.move(3, 4);
		command(0xd4);
		const state = structuredClone([kbc.save(), keyboard.save(), mouse.save()]) as [
			ReturnType<I8042["save"]>,
			ReturnType<Ps2Keyboard["save"]>,
			ReturnType<Ps2Mouse["save"]>,
		];
		const expected = drain();
		kbc = create();
		const otherKeyboard = new Ps2Keyboard("keyboard");
		const otherMouse = new Ps2Mouse("mouse");
		kbc.attachKeyboard(otherKeyboard);
		kbc.attachAux(otherMouse);
		otherKeyboard.load(state[1]);
		otherMouse.load(state[2]);
		kbc.load(state[0]);
		expect([kbc.save(), otherKeyboard.save(), otherMouse.save()]).toEqual(state);
		expect(drain()).toBe(expected);
	});
});

describe("PS/2 keyboard", () => {
	it("answers a driver's probing", () => {
		data(0xf2);
		expect(drain()).toBe("fa ab 41");
		data(0xed);
		expect(drain()).toBe("fa");
		data(0x06);
		expect(drain()).toBe("fa");
		expect(leds).toBe(6);
		data(0xff);
		expect(drain()).toBe("fa aa");
		expect(leds).toBe(0);
		data(0xf3);
		data(0x00);
		expect(drain()).toBe("fa fa");
		data(0xee);
		expect(drain()).toBe("ee");
		data(0x12);
		expect(drain()).toBe("fe");
	});

	it("sends translated and plain codes", () => {
		keyboard.keyDown("KeyA");
		keyboard.keyUp("KeyA");
		keyboard.keyDown("ArrowUp");
		keyboard.keyUp(0xe048);
		expect(drain()).toBe("1e 9e e0 48 e0 c8");
		keyboard.keyDown("PrintScreen");
		keyboard.keyUp("PrintScreen");
		expect(drain()).toBe("e0 2a e0 37 e0 b7 e0 aa");
		keyboard.keyDown("Pause");
		expect(drain()).toBe("e1 1d 45 e1 9d c5");
		command(0x60);
		data(0x07);
		keyboard.keyDown("F7");
		keyboard.keyUp("F7");
		expect(drain()).toBe("83 f0 83");
		data(0xf0);
		data(0x01);
		expect(drain()).toBe("fa fa");
		keyboard.keyDown("F7");
		keyboard.keyUp("F7");
		expect(drain()).toBe("41 c1");
	});

	it("keeps quiet while scanning is off", () => {
		data(0xf5);
		expect(drain()).toBe("fa");
		keyboard.keyDown("KeyA");
		expect(drain()).toBe("");
		data(0xf4);
		expect(drain()).toBe("fa");
		keyboard.keyUp("KeyA");
		expect(drain()).toBe("9e");
	});

	it("knows every key by its set-1 code, too", () => {
		for (const code of Object.values(SET2_BY_KEY)) {
			const set1 = (code & 0xff00) | set1OfSet2(code & 0xff);
			expect(set2OfSet1(set1)).toBe(code);
		}
		expect(set2OfSet1(0x200)).toBeUndefined();
	});
});

describe("PS/2 mouse", () => {
	it("becomes an IntelliMouse when asked", () => {
		expect(toMouse(0xff)).toBe("mfa maa m00");
		expect(toMouse(0xf2)).toBe("mfa m00");
		toMouse(0xf3, 200, 0xf3, 100, 0xf3, 80);
		expect(toMouse(0xf2)).toBe("mfa m03");
		toMouse(0xf3, 200, 0xf3, 200, 0xf3, 80);
		expect(toMouse(0xf2)).toBe("mfa m04");
		expect(toMouse(0xe9)).toBe("mfa m00 m02 m50");
	});

	it("reports motion in packets, gathering what comes meanwhile", () => {
		mouse.move(9, 9);
		expect(toMouse(0xf4)).toBe("mfa");
		mouse.move(5, 3);
		mouse.move(1, 1);
		mouse.setButtons(1);
		expect(drain()).toBe("m28 m05 mfd m29 m01 mff");
		mouse.move(-300, 0);
		expect(drain()).toBe("m19 m01 m00 m19 md3 m00");
		toMouse(0xf3, 200, 0xf3, 100, 0xf3, 80);
		mouse.setButtons(0);
		expect(drain()).toBe("m08 m00 m00 m00");
		mouse.wheel(-1);
		expect(drain()).toBe("m08 m00 m00 mff");
	});

	it("answers on demand in remote mode, and echoes in wrap mode", () => {
		toMouse(0xf0);
		mouse.move(2, 0);
		expect(drain()).toBe("");
		expect(toMouse(0xeb)).toBe("mfa m08 m02 m00");
		expect(toMouse(0xee, 0x12, 0xec)).toBe("mfa m12 mfa");
	});
});
