/** Saves and restores a guest's state on v86, and prints milliseconds as JSON: node bench/snapshot-v86.ts '{"kernel": …}'. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { V86 } from "v86";

interface Configuration {
	readonly bios: string;
	readonly vgaBios: string;
	readonly kernel: string;
	readonly initrd: string;
	readonly append: string;
	readonly memoryMib: number;
	/** A command that changes memory; typed once the shell is there, and once more before the second save. */
	readonly command: string;
}

const configuration = JSON.parse(process.argv[2] ?? "{}") as Configuration;
const load = (path: string): { buffer: ArrayBuffer } => {
	const bytes = readFileSync(path);
	return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer };
};

const emulator = new V86({
	wasm_path: join(dirname(createRequire(import.meta.url).resolve("v86")), "v86.wasm"),
	memory_size: configuration.memoryMib * 1024 * 1024,
	vga_memory_size: 2 * 1024 * 1024,
	bios: load(configuration.bios),
	vga_bios: load(configuration.vgaBios),
	bzimage: load(configuration.kernel),
	initrd: load(configuration.initrd),
	cmdline: configuration.append,
	acpi: true,
	autostart: true,
	disable_keyboard: true,
	disable_mouse: true,
	disable_speaker: true,
	net_device: { type: "none" },
} as unknown as ConstructorParameters<typeof V86>[0]);

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
