import { assert } from "../../base/assert.ts";
import { type Aml, buffer, concat } from "./aml.ts";

/** Resource descriptors (ACPI 6.5 §6.4, "Resource Data Types for ACPI"), joined by `resourceTemplate`. */
export type Resource = Uint8Array;

/** A buffer of descriptors closed by an end tag, whose checksum of zero means "not checked". */
export function resourceTemplate(...resources: readonly Resource[]): Aml {
	return buffer(concat(...resources, 0x79, 0x00));
}

function little(value: number, bytes: number): number[] {
	return Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
}

/** Edge-triggered, active-high, exclusive: what an ISA device has. */
export function isaIrq(irq: number): Resource {
	assert(irq >= 0 && irq < 16, `ISA IRQ ${irq}`);
	return Uint8Array.of(0x22, ...little(1 << irq, 2));
}

export function isaDma(channel: number): Resource {
	return Uint8Array.of(0x2a, 1 << channel, 0x00);
}

/** Ports decoded with 16 bits, at a fixed place. */
export function ports(first: number, count: number): Resource {
	return Uint8Array.of(0x47, 0x01, ...little(first, 2), ...little(first, 2), 0x01, count);
}

export function fixedMemory32(first: number, sizeBytes: number, isWritable: boolean): Resource {
	return Uint8Array.of(0x86, 9, 0, isWritable ? 1 : 0, ...little(first, 4), ...little(sizeBytes, 4));
}

/** Level-triggered, active-low, shared: what a PCI interrupt link offers. */
export function pciInterrupts(...gsis: readonly number[]): Resource {
	const lengthBytes = 2 + 4 * gsis.length;
	return Uint8Array.of(0x89, ...little(lengthBytes, 2), 0b1101, gsis.length, ...gsis.flatMap((gsi) => little(gsi, 4)));
}

const GENERAL_FIXED = 0b1100; // minimum and maximum are fixed; decoded positively; the device is a producer

export function busNumbers(first: number, last: number): Resource {
	return addressSpace(0x88, 2, 2, GENERAL_FIXED, 0, first, last);
}

/** Ports that a bridge passes down. */
export function portWindow(first: number, last: number): Resource {
	return addressSpace(0x88, 2, 1, GENERAL_FIXED, 3, first, last); // type flags: entire range
}

/** Memory below 4 GiB that a bridge passes down: read-write, not cacheable. */
export function memoryWindow32(first: number, last: number): Resource {
	return addressSpace(0x87, 4, 0, GENERAL_FIXED, 1, first, last);
}

function addressSpace(
	tag: number,
	wordBytes: number,
	type: number,
	general: number,
	specific: number,
	first: number,
	last: number,
): Resource {
	const word = (value: number) => little(value, wordBytes);
	const body = [type, general, specific, ...word(0), ...word(first), ...word(last), ...word(0), ...word(last - first + 1)];
	return Uint8Array.of(tag, ...little(body.length, 2), ...body);
}
