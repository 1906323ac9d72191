/** Runs a guest on v86, its first serial port on standard output: node bench/v86-guest.ts '{"kernel": …}'. */
import { readFileSync, writeSync } from "node:fs";
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

const pending: number[] = [];
emulator.add_listener("serial0-output-byte", (byte: number) => {
	pending.push(byte);
	if (byte !== 10) return;
	writeSync(1, Uint8Array.from(pending));
	pending.length = 0;
});
