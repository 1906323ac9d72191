import { expect, test } from "vitest";
import { MemoryStore } from "../../../../disk/memory-store.ts";
import { RawDisk } from "../../../../disk/raw.ts";
import { createLabRuntime } from "../../../../lab/run/lab-runtime.ts";
import { NodeHost } from "../../host.ts";
import { NodeThreads } from "./node-threads.ts";

function runtime() {
	const threads = new NodeThreads();
	return createLabRuntime({ name: "threads", seed: 1, time: "realtime", host: new NodeHost(threads.bell), threads });
}

/** 16 bits at the reset vector: prints "hi" on COM1, then halts for ever. */
function firmware(): Uint8Array {
	const image = new Uint8Array(65_536).fill(0xf4);
	const eightBits = [0xba, 0xfb, 0x03, 0xb0, 0x03, 0xee];
	const code = [...eightBits, 0xba, 0xf8, 0x03, 0xb0, 0x68, 0xee, 0xb0, 0x69, 0xee, 0xf4, 0xeb, 0xfd];
	image.set(code, 0);
	// jmp f000:0000
	image.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
	return image;
}

test("a machine on a thread of its own starts, speaks, pauses, goes on and stops", async () => {
	await using lab = runtime();
	const { machine, ready, name } = lab.addMachine({ name: "m", bios: firmware(), memory: "16M", nics: [{ name: "eth0" }] });
	const states: string[] = [];
	machine.on("state", ({ state }) => states.push(state));
	await ready;
	expect([name, machine.state, machine.stats.memoryBytes]).toEqual(["m", "created", 16 * 1024 ** 2]);
	lab.run();
	await machine.start();
	expect(await machine.waitFor({ console: "hi", timeout: "20s" })).toBe("hi");
	await lab.pause();
	expect(machine.state).toBe("paused");
	lab.run();
	expect(machine.state).toBe("running");
	await machine.stop();
	expect([machine.exit, machine.console.text]).toEqual([{ reason: "stopped", code: 0 }, "hi"]);
	expect(states).toEqual(["running", "paused", "running", "stopped"]);
	await expect(machine.start()).rejects.toThrow("m: start needs a machine that is created, this one is stopped");
});

test("what is wrong with a machine comes by its promise, or at once", async () => {
	await using lab = runtime();
	expect(() => lab.addMachine({ name: "none", memory: "16M" })).toThrow("kernel: nothing to boot");
	const disk = await RawDisk.open(new MemoryStore("m", new Uint8Array(512)));
	let isClosed = false;
	disk.close = async () => {
		isClosed = true;
	};
	const { machine, ready } = lab.addMachine({ name: "bad", kernel: new Uint8Array(4096), memory: "16M", disks: [{ disk }] });
	await expect(ready).rejects.toMatchObject({ name: "PcError", kind: "not-a-kernel" });
	expect([machine.state, machine.exit?.reason, isClosed]).toEqual(["stopped", "failed", true]);
});
