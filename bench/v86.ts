import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { V86 } from "v86";

/** A Linux guest for v86. */
export interface V86Guest {
	readonly bios: string;
	readonly vgaBios: string;
	readonly kernel: string;
	readonly initrd: string;
	readonly append: string;
	readonly memoryMib: number;
}

const load = (path: string): { buffer: ArrayBuffer } => {
	const bytes = readFileSync(path);
	return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer };
};

/** Starts v86 with a guest that talks on its first serial port. */
export function startV86(guest: V86Guest): V86 {
	return new V86({
		wasm_path: join(dirname(createRequire(import.meta.url).resolve("v86")), "v86.wasm"),
		memory_size: guest.memoryMib * 1024 * 1024,
		vga_memory_size: 2 * 1024 * 1024,
		bios: load(guest.bios),
		vga_bios: load(guest.vgaBios),
		bzimage: load(guest.kernel),
		initrd: load(guest.initrd),
		cmdline: guest.append,
		acpi: true,
		autostart: true,
		disable_keyboard: true,
		disable_mouse: true,
		disable_speaker: true,
		net_device: { type: "none" },
	} as unknown as ConstructorParameters<typeof V86>[0]);
}
