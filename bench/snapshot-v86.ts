/** Saves and restores a guest's state on v86, and prints milliseconds as JSON: node bench/snapshot-v86.ts '{"kernel": …}'. */
import { startV86, type V86Guest } from "./v86.ts";

interface Configuration extends V86Guest {
	/** A command that changes memory; typed once the shell is there, and once more before the second save. */
	readonly command: string;
}

const configuration = JSON.parse(process.argv[2] ?? "{}") as Configuration;
const emulator = startV86(configuration);

let text = "";
let onText = (): void => {};
emulator.add_listener("serial0-output-byte", (byte: number) => {
	text += String.fromCharCode(byte);
	onText();
});

async function until(pattern: RegExp): Promise<void> {
	while (!pattern.test(text))
		await new Promise<void>((resolve) => {
			onText = resolve;
		});
	text = "";
}

async function type(command: string): Promise<void> {
	emulator.serial0_send(`${command}; echo do''ne\n`);
	await until(/done\r?\n/);
}

await until(/root# /);
await type("true");
const times: Record<string, number> = {};
async function time(name: string, work: () => Promise<unknown>): Promise<void> {
	const beganMs = performance.now();
	await work();
	times[name] = performance.now() - beganMs;
}
let state = new ArrayBuffer(0);
await time("firstMs", async () => {
	state = await emulator.save_state();
});
await type(configuration.command);
await time("secondMs", async () => {
	state = await emulator.save_state();
});
times.stateBytes = state.byteLength;
await time("restoreMs", () => emulator.restore_state(state));
process.stdout.write(`${JSON.stringify(times)}\n`);
process.exit(0);
