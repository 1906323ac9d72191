import { expect, test } from "vitest";
import { Jack, type Port } from "./port.ts";

function cable(hasCarrier: boolean): Port & { sent: number; hasCarrier: boolean } {
	return {
		hasCarrier,
		sent: 0,
		send() {
			this.sent++;
		},
		onFrame: () => {},
		onCarrier: () => {},
	};
}

test("a jack follows the cable that is in it", () => {
	const jack = new Jack("eth0");
	const log: boolean[] = [];
	let frames = 0;
	jack.onCarrier = (isUp) => log.push(isUp);
	jack.onFrame = () => frames++;
	jack.send(new Uint8Array(60));
	const first = cable(true);
	const second = cable(false);
	jack.plug(first);
	jack.send(new Uint8Array(60));
	first.onFrame(new Uint8Array(60));
	jack.plug(second);
	first.onFrame(new Uint8Array(60));
	first.onCarrier(true);
	second.hasCarrier = true;
	second.onCarrier(true);
	jack.unplug();
	expect({ log, frames, sent: [first.sent, second.sent] }).toEqual({ log: [true, false, true, false], frames: 1, sent: [1, 0] });
	expect(jack.hasCarrier).toBe(false);
});
