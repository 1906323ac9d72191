import { expect, test } from "vitest";
import { encodeUtf8 } from "../base/utf8.ts";
import { Console } from "./console.ts";
import type { Sleep } from "./host.ts";
import { type MachineEvents, type MachineExit, MachineFace, type MachineState } from "./machine-face.ts";

/** A face with nothing behind it: the test is the machine. */
class TestFace extends MachineFace {
	readonly name = "m";
	readonly consoles: readonly Console[];
	closing = false;

	constructor(consoleCount = 1) {
		super();
		this.consoles = Array.from({ length: consoleCount }, (_, port) => new Console(port, () => {}));
	}

	protected override get isClosing(): boolean {
		return this.closing;
	}

	protected sleep(): Sleep {
		return { done: new Promise(() => {}), wake: () => {} };
	}

	go(state: MachineState): void {
		this.enter(state);
	}

	call(name: string, ...states: readonly MachineState[]): void {
		this.need(name, ...states);
	}

	print(port: number, text: string): void {
		this.printed(port, encodeUtf8(text));
	}

	settle(exit: MachineExit): void {
		this.ending = exit;
	}

	end(exit: MachineExit): void {
		this.conclude(exit);
	}
}

const OFF: MachineExit = { reason: "power-off", code: 0 };

/** What happens to a face, in order, as its listeners see it. */
function log(face: TestFace): unknown[] {
	const seen: unknown[] = [];
	for (const name of ["state", "console", "exit"] as const)
		face.on(name, (event: MachineEvents[typeof name]) => seen.push(name, event, face.state, face.exit));
	return seen;
}

test("the end: exit and state are known before anybody hears, consoles are closed before `exit`, and all of it comes once", async () => {
	const face = new TestFace();
	face.go("running");
	const seen = log(face);
	let isReading = true;
	const reading = face.console[Symbol.asyncIterator]()
		.next()
		.then(({ done }) => {
			isReading = done !== true;
		});
	const finished = face.finished();
	face.end(OFF);
	expect(seen).toEqual(["state", { machine: "m", state: "stopped" }, "stopped", OFF, "exit", OFF, "stopped", OFF]);
	await reading;
	expect([isReading, await finished, await face.finished()]).toEqual([false, OFF, OFF]);
	face.end({ reason: "failed", code: 125 });
	expect([seen.length, face.exit]).toEqual([8, OFF]);
});

test("an end that is settled but not reached: `exit` tells it, `finished` waits for it", async () => {
	const face = new TestFace();
	face.go("running");
	face.settle(OFF);
	let hasFinished = false;
	const finished = face.finished().then((exit) => {
		hasFinished = true;
		return exit;
	});
	await Promise.resolve();
	expect([face.exit, face.state, hasFinished]).toEqual([OFF, "running", false]);
	const failed: MachineExit = { reason: "failed", code: 125, error: new Error("the disk is full") };
	face.end(failed);
	expect(await finished).toBe(failed);
});

test("a call is refused in other states than it needs, and when the end has begun", () => {
	const face = new TestFace();
	face.call("start", "created");
	expect(() => face.call("snapshot", "running", "paused")).toThrow(
		"m: snapshot needs a machine that is running or paused, this one is created",
	);
	face.go("running");
	face.call("snapshot", "running", "paused");
	face.closing = true;
	expect(() => face.call("snapshot", "running", "paused")).toThrow(expect.objectContaining({ name: "MachineError", kind: "state" }));
});

test("output is an event and the console's text; a console that is not there is an error that says so", async () => {
	const face = new TestFace(2);
	const seen = log(face);
	face.print(1, "login: ");
	expect([seen[0], seen[1]]).toEqual(["console", { machine: "m", port: 1, bytes: encodeUtf8("login: ") }]);
	expect(face.consoles.map(({ text }) => text)).toEqual(["", "login: "]);
	expect(await face.waitFor({ console: "login:", port: 1 })).toBe("login:");
	expect(() => new TestFace(0).console).toThrow("m: serialPorts is 0");
});

test("waiting ends with the machine, and is refused behind its end", async () => {
	const face = new TestFace();
	face.go("running");
	face.print(0, "panic\n");
	const waiting = face.waitFor({ console: "login:" });
	face.end(OFF);
	const refusal = { kind: "exited", message: 'm: ended (power-off) before login: appeared; last line: "panic"' };
	await expect(waiting).rejects.toMatchObject(refusal);
	await expect(face.waitFor({ console: "login:" })).rejects.toMatchObject(refusal);
	expect(await face.waitFor({ console: "panic" })).toBe("panic");
});
