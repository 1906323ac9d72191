/** Runs in a page: everything that a machine in a worker offers, once. Answers what came of each. */
import { reportOn } from "../../bench/page/report.ts";
import { createMachine, MachineError } from "../../src/host/browser/index.ts";

const refusal = (work: Promise<unknown>): Promise<string> =>
	work.then(
		() => "taken",
		(error: unknown) => (error instanceof MachineError ? `${error.kind}: ${error.message}` : String(error)),
	);

await reportOn(import.meta.url, async (guest) => {
	const refused = {
		memory: await refusal(createMachine({ ...guest, memory: "7M" })),
		address: await refusal(createMachine({ ...guest, kernel: "files/nothing" })),
	};
	const disk = new Uint8Array(64 * 1024);
	disk.set(new TextEncoder().encode("from the page\n"));
	await using machine = await createMachine({ ...guest, name: "tab", onReset: "stop", disks: [{ source: disk }] });
	const states: string[] = [];
	machine.on("state", ({ state }) => states.push(state));
	let streamedBytes = 0;
	const streaming = (async () => {
		for await (const bytes of machine.console) streamedBytes += bytes.length;
	})();
	await machine.start();
	// Behind it the shell asks the terminal where its cursor is.
	const prompt = /:\S*# /;
	const type = async (line: string, answer: RegExp): Promise<string> => {
		await machine.waitFor({ console: prompt, timeout: "50s" });
		machine.console.write(`${line}\n`);
		return machine.waitFor({ console: answer, timeout: "20s" });
	};
	const ended = await type("/bench alu", /BENCH alu end \w+/);
	const read = await type("head -n 1 /dev/vda", /\nfrom the page/);
	const { record } = await machine.snapshot({ name: "kept" });
	await type("echo mark > /tmp/mark", /mark/);
	await machine.pause();
	const paused = machine.state;
	await machine.restore("kept");
	await machine.resume();
	machine.console.write("\n");
	const gone = await type("cat /tmp/mark", /No such file/);
	const early = await refusal(machine.waitFor({ console: "never", timeout: "50ms" }));
	const running = await machine.stats;
	await type("poweroff", /Power down/);
	const exit = await machine.finished();
	await streaming;
	const after = await machine.stats;
	const late = await refusal(machine.snapshot());
	return {
		...{ refused, ended, read, snapshot: record.name, paused, gone, early, exit, states, streamedBytes, late },
		stats: {
			engine: running.engine,
			guestInstructions: running.guestInstructions,
			grew: after.guestInstructions > running.guestInstructions,
		},
	};
});
