import type { StateValue } from "../base/json.ts";

/** What stands for values that JSON lacks: an object of exactly one of these keys. */
const BYTES = "$bytes";
const BIGINT = "$bigint";

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** A device's state as JSON text can hold it: byte blocks in hexadecimal, big integers in decimal. */
export function stateToJson(value: StateValue): unknown {
	if (value instanceof Uint8Array) return { [BYTES]: toHex(value) };
	if (typeof value === "bigint") return { [BIGINT]: String(value) };
	if (Array.isArray(value)) return value.map(stateToJson);
	if (typeof value === "object" && value !== null) {
		const json: Record<string, unknown> = {};
		for (const [key, entry] of Object.entries(value as Record<string, StateValue | undefined>))
			if (entry !== undefined) json[key] = stateToJson(entry);
		return json;
	}
	// JSON has no infinities; a timer that is off has one.
	if (typeof value === "number" && !Number.isFinite(value)) return { $number: String(value) };
	return value;
}

export function stateFromJson(json: unknown): StateValue {
	if (Array.isArray(json)) return json.map(stateFromJson);
	if (typeof json !== "object" || json === null) return json as StateValue;
	const entries = Object.entries(json);
	const [first] = entries;
	if (entries.length === 1 && first !== undefined && typeof first[1] === "string") {
		if (first[0] === BYTES) return fromHex(first[1]);
		if (first[0] === BIGINT) return BigInt(first[1]);
		if (first[0] === "$number") return Number(first[1]);
	}
	return Object.fromEntries(entries.map(([key, value]) => [key, stateFromJson(value)]));
}

export function toHex(bytes: Uint8Array): string {
	let text = "";
	for (const byte of bytes) text += HEX[byte] as string;
	return text;
}

function fromHex(text: string): Uint8Array {
	const bytes = new Uint8Array(text.length >> 1);
	for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
	return bytes;
}
