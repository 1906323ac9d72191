import type { ByteStore } from "../../disk.ts";
import { FIELD } from "./header.ts";

/** Writes single header fields in place, so that what else stands in a header survives, known or not. */
export async function writeField64(store: ByteStore, offset: number, value: number): Promise<void> {
	const bytes = new Uint8Array(8);
	new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
	await store.write(offset, bytes);
}

/** Both numbers stand side by side in the header, so one write moves the refcount table. */
export async function writeRefcountTable(store: ByteStore, offset: number, clusters: number): Promise<void> {
	const bytes = new Uint8Array(12);
	const view = new DataView(bytes.buffer);
	view.setBigUint64(0, BigInt(offset));
	view.setUint32(8, clusters);
	await store.write(FIELD.REFCOUNT_TABLE_OFFSET, bytes);
}

/** Features whose data a writer that does not keep them up to date has to disown (bitmaps, say). */
export function writeAutoclear(store: ByteStore, value: number): Promise<void> {
	return writeField64(store, FIELD.AUTOCLEAR_FEATURES, value);
}

export function writeIncompatible(store: ByteStore, value: number): Promise<void> {
	return writeField64(store, FIELD.INCOMPATIBLE_FEATURES, value);
}

/** The same for the L1 table: its size and its place are neighbours. */
export async function writeL1Table(store: ByteStore, offset: number, entries: number): Promise<void> {
	const bytes = new Uint8Array(12);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, entries);
	view.setBigUint64(4, BigInt(offset));
	await store.write(FIELD.L1_SIZE, bytes);
}
