import type { PhysAddr } from "../../base/units.ts";
import { unimplemented } from "../../machine/device.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import type { PamRange } from "./i440fx.ts";

const FOUR_GIB: PhysAddr = 2 ** 32;
const MIB = 0x100000;

/**
 * The window from C0000h to 1 MiB as the PAM registers show it: shadow RAM, or the firmware ROM, whose last part also
 * appears right below 4 GiB.
 */
export class ShadowMap {
	readonly #memory: GuestMemory;
	/** What is mapped now, by first address. */
	readonly #mapped = new Map<PhysAddr, string>();

	constructor(memory: GuestMemory) {
		this.#memory = memory;
	}

	apply(ranges: readonly PamRange[]): void {
		for (const range of ranges) {
			const kind = kindOf(range);
			if (this.#mapped.get(range.first) === kind) continue;
			this.#memory.release(ownerOf(range), range.first);
			this.#mapped.set(range.first, kind);
			if (kind === "rom") this.#memory.addRomAlias(ownerOf(range), range.first, range.sizeBytes, FOUR_GIB - MIB + range.first);
			else this.#memory.addShadowRam(ownerOf(range), range.first, range.sizeBytes, kind === "ram");
		}
	}
}

function ownerOf(range: PamRange): string {
	return `shadow ${range.first.toString(16)}`;
}

function kindOf(range: PamRange): "ram" | "protected" | "rom" {
	if (range.readsRam) return range.writesRam ? "ram" : "protected";
	if (range.writesRam) unimplemented("i440fx", "shadow range that is written while ROM is read");
	return "rom";
}
