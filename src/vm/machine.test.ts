import { describe, expect, test } from "vitest";
import type { StateValue } from "../base/json.ts";
import type { Ns } from "../base/units.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import { GuestMemory } from "../machine/memory.ts";
import { OpenWire } from "../machine/wire.ts";
import type { Board, BoardEvent } from "./board.ts";
import { type MachineOptions, readConfig } from "./config.ts";
import type { CpuEngine, CpuExit } from "./engine.ts";
import type { Host } from "./host.ts";
import { Machine } from "./machine.ts";
import { HostPacedTime, type TimeKeeper } from "./time.ts";

/** Host time that only sleeping and running move on, as fast as the test goes. */
class TestHost implements Host {
	ns = 0;
	sleeps = 0;
	nowNs = () => this.ns;
	wallMs = () => 0;
	random(into: Uint8Array): void {
		into.fill(4);
	}
	async yield(): Promise<void> {
		await new Promise((resolve) => setImmediate(resolve));
	}
	sleep(delayNs: number) {
		this.sleeps++;
		let wake = (): void => {};
		const done = new Promise<void>((resolve) => {
			wake = resolve;
		});
		const timer = Number.isFinite(delayNs)
			? setTimeout(() => {
					this.ns += delayNs;
					wake();
				}, 1)
			: undefined;
		return {
			done,
			wake: () => {
				clearTimeout(timer);
				wake();
			},
		};
	}
}

/** A CPU whose program is a function called once per run. */
class TestCpu implements CpuEngine {
	readonly name = "interpret";
	readonly pins;
	isHalted = false;
	onWake = (): void => {};
	instructionCount = 0;
	resets = 0;
	isDisposed = false;
	readonly #host: TestHost;
	readonly #time: TimeKeeper;
	readonly #program: (cpu: TestCpu) => void;
	#isStopped = false;

	constructor(host: TestHost, time: TimeKeeper, program: (cpu: TestCpu) => void) {
		this.#host = host;
		this.#time = time;
		this.#program = program;
		this.pins = {
			intr: new OpenWire(),
			nmi: () => this.wake(),
			init: () => {},
			startup: () => {},
			reset: () => {
				this.resets++;
				this.isHalted = false;
			},
		};
	}

	wake(): void {
		this.isHalted = false;
		this.onWake();
	}

	run(deadlineNs: Ns): CpuExit {
		this.#isStopped = false;
		this.instructionCount += 1000;
		this.#program(this);
		if (this.isHalted) return "halted";
		if (this.#isStopped) return "stopped";
		this.#host.ns += Math.max(0, deadlineNs - this.#time.clock.nowNs);
		return "deadline";
	}

	stop(): void {
		this.#isStopped = true;
	}

	hasten(): void {}
	stats = () => ({ exits: 2 });
	enter(): void {}
	setFirmwareMsrs(): void {}
	save = (): StateValue => null;
	load(): void {}
	dispose(): void {
		this.isDisposed = true;
	}
}

class TestBoard implements Board {
	onEvent: (event: BoardEvent) => void = () => {};
	onSerialRoom: (port: number) => void = () => {};
	readonly typed: number[] = [];
	room = Number.POSITIVE_INFINITY;
	isClosed = false;
	hasPower = true;
	reset(cpus: Parameters<Board["reset"]>[0]): void {
		for (const cpu of cpus) cpu.reset();
	}
	clear(): void {}
	replugNic(): void {}
	setClock(): void {}
	announceGeneration(): void {}
	serialInput(_port: number, bytes: Uint8Array): number {
		const taken = Math.min(this.room, bytes.length);
		this.room -= taken;
		this.typed.push(...bytes.subarray(0, taken));
		return taken;
	}
	pressPowerButton(): void {
		this.onEvent({ kind: "power-off" });
	}
	cpuTurn(): void {}
	sliceEnded(): void {}
	async quiesce(): Promise<void> {}
	save = (): StateValue => null;
	load(): void {}
	async close(): Promise<void> {
		this.isClosed = true;
	}
	print(text: string): void {
		this.onEvent({ kind: "serial", port: 0, bytes: encodeUtf8(text) });
	}
}

function build(program: (cpu: TestCpu, board: TestBoard, time: TimeKeeper) => void, options: MachineOptions = {}) {
	const host = new TestHost();
	const board = new TestBoard();
	const time = new HostPacedTime(host);
	const cpu = new TestCpu(host, time, (self) => program(self, board, time));
	const config = readConfig({ kernel: new Uint8Array(1), ...options });
	return {
		host,
		board,
		time,
		cpu,
		machine: new Machine({ config, host, time, cpus: [cpu], board, memory: new GuestMemory(config.memory) }),
	};
}

describe("a machine's life", () => {
	test("power-off by the guest ends it with code 0, once, and closes the board", async () => {
		const { machine, board, cpu } = build((_, b) => b.onEvent({ kind: "power-off" }));
		const states: string[] = [];
		machine.on("state", (event) => states.push(event.state));
		await machine.start();
		expect(await machine.finished()).toEqual({ reason: "power-off", code: 0 });
		expect(states).toEqual(["running", "stopped"]);
		expect(board.isClosed && cpu.isDisposed).toBe(true);
		expect(await machine.finished()).toEqual({ reason: "power-off", code: 0 });
		await machine.stop();
		expect(machine.exit).toEqual({ reason: "power-off", code: 0 });
	});

	test("a byte at the debug-exit port is the exit code", async () => {
		const { machine } = build((_, b) => b.onEvent({ kind: "debug-exit", code: 42 }));
		await machine.start();
		expect(await machine.finished()).toEqual({ reason: "debug-exit", code: 42 });
	});

	test("a reset starts over, or stops where the configuration says so", async () => {
		let runs = 0;
		const program = (_: TestCpu, b: TestBoard) =>
			b.onEvent(++runs === 1 ? { kind: "reset", cause: "triple-fault" } : { kind: "power-off" });
		const again = build(program);
		await again.machine.start();
		expect((await again.machine.finished()).reason).toBe("power-off");
		expect(again.cpu.resets).toBe(2);
		expect(again.machine.stats.resets).toBe(1);
		runs = 0;
		const once = build(program, { onReset: "stop" });
		await once.machine.start();
		expect(await once.machine.finished()).toEqual({ reason: "triple-fault", code: 1 });
	});

	test("pause stops guest time, resume goes on from there", async () => {
		const { machine, host, time } = build(() => {});
		await machine.start();
		await host.yield();
		await machine.pause();
		expect(machine.state).toBe("paused");
		const before = time.clock.nowNs;
		host.ns += 5e9;
		expect(time.clock.nowNs).toBe(before);
		await machine.resume();
		await host.yield();
		await machine.pause();
		expect(time.clock.nowNs - before).toBeLessThan(1e9);
		await machine.stop();
		expect(machine.exit?.reason).toBe("stopped");
	});

	test("a call in the wrong state is refused and names the state", async () => {
		const { machine } = build(() => {});
		await expect(machine.pause()).rejects.toThrow(/pause needs a machine that is running, this one is created/);
		await machine.stop();
		await expect(machine.start()).rejects.toMatchObject({ kind: "state" });
	});

	test("an engine that throws ends the machine as failed, with the cause", async () => {
		const { machine } = build(() => {
			throw new Error("engine bug");
		});
		await machine.start();
		expect(await machine.finished()).toMatchObject({ reason: "failed", code: 125, error: new Error("engine bug") });
	});

	test("a device that the host fails is told of, and the machine runs on", async () => {
		const { machine, board } = build(() => {});
		const seen: unknown[] = [];
		machine.on("deviceError", (event) => seen.push(event));
		await machine.start();
		const error = new Error("no space left");
		board.onEvent({ kind: "device-failed", device: "disk0", error });
		expect(seen).toEqual([{ machine: machine.name, device: "disk0", error }]);
		expect(machine.state).toBe("running");
		await machine.stop();
	});

	test("leaving a scope with await using stops it", async () => {
		const { machine, board } = build(() => {});
		{
			await using scoped = machine;
			await scoped.start();
		}
		expect(machine.state).toBe("stopped");
		expect(board.isClosed).toBe(true);
	});

	test("a halted CPU sleeps until its timer; a pin wakes it at once", async () => {
		const { machine, host, time, cpu } = build((self, b, t) => {
			if (t.clock.nowNs >= 7e6) b.onEvent({ kind: "power-off" });
			else self.isHalted = true;
		});
		time.clock.timer("wake", () => cpu.wake()).arm(7e6);
		await machine.start();
		await machine.finished();
		expect(host.sleeps).toBeGreaterThan(0);
		expect(host.ns).toBe(7e6);
	});

	test("a message posted to a sleeping machine is carried out", async () => {
		const { machine } = build((self) => {
			self.isHalted = true;
		});
		await machine.start();
		await new Promise((resolve) => setTimeout(resolve, 5));
		machine.pressPowerButton();
		expect((await machine.finished()).reason).toBe("power-off");
	});
});

describe("consoles", () => {
	test("waitFor looks behind the previous match and sees what was printed before the call", async () => {
		const lines = ["login: ", "pass", "word: ", "login: "];
		const { machine } = build((self, b) => {
			const line = lines.shift();
			if (line === undefined) self.isHalted = true;
			else b.print(line);
		});
		await machine.start();
		expect(await machine.waitFor({ console: "login:" })).toBe("login:");
		expect(await machine.waitFor({ console: /pass(word)/ })).toBe("password");
		expect(await machine.waitFor({ console: "login:" })).toBe("login:");
		await machine.stop();
	});

	test("waitFor fails at the timeout, and when the machine ends, with the last line", async () => {
		const { machine } = build((self, b) => {
			b.print("hello\r\n");
			self.isHalted = true;
		});
		await machine.start();
		await expect(machine.waitFor({ console: "never", timeout: "5ms" })).rejects.toMatchObject({
			kind: "timeout",
			message: expect.stringContaining('"hello"'),
		});
		const waiting = machine.waitFor({ console: "never" });
		await Promise.all([expect(waiting).rejects.toMatchObject({ kind: "exited" }), machine.stop()]);
	});

	test("the output is an async iterable that ends with the machine", async () => {
		const { machine } = build((_, b) => {
			b.print("ab");
			b.onEvent({ kind: "power-off" });
		});
		const seen: number[] = [];
		const reading = (async () => {
			for await (const bytes of machine.console) seen.push(...bytes);
		})();
		await machine.start();
		await reading;
		expect(seen).toEqual([97, 98]);
	});

	test("typing waits for room in the port and loses nothing", async () => {
		const { machine, board } = build((self) => {
			self.isHalted = true;
		});
		board.room = 2;
		await machine.start();
		machine.console.write("abc");
		machine.console.write("dé");
		await new Promise((resolve) => setTimeout(resolve, 5));
		expect(board.typed).toEqual([97, 98]);
		board.room = 16;
		board.onSerialRoom(0);
		expect(board.typed).toEqual([97, 98, 99, 100, 0xc3, 0xa9]);
		await machine.stop();
	});
});

describe("configuration", () => {
	const kernel = new Uint8Array(1);
	test("an unknown key is an error that names it", () => {
		expect(() => readConfig({ kernel, memroy: "1G" })).toThrow(/^memroy: unknown key; known are .*memory/);
		expect(() => readConfig({ kernel, disks: [{ dsk: 1 }] })).toThrow(/^disks\[0\]\.dsk: unknown key/);
	});
	test("memory has a minimum and a maximum", () => {
		expect(() => readConfig({ kernel, memory: "8M" })).toThrow("memory: 8M is below the minimum of 16M");
		expect(() => readConfig({ kernel, memory: "64G" })).toThrow(/^memory: 64G is above the maximum/);
		expect(readConfig({ kernel, memory: "512M" }).memory).toBe(512 * 1024 * 1024);
	});
	test("what does not go together is refused", () => {
		expect(() => readConfig({})).toThrow(/nothing to boot/);
		expect(() => readConfig({ bios: kernel, append: "x" })).toThrow(/^append/);
		expect(() => readConfig({ bios: kernel, kernel })).toThrow(/^bios/);
	});
});
