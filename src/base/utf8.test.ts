import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeUtf8, Utf8Decoder } from "./utf8.ts";

test("agrees with the host's encoder and decoder on any text and any bytes, however they are cut", () => {
	fc.assert(
		fc.property(fc.string({ unit: "binary" }), (text) => {
			expect(encodeUtf8(text)).toEqual(new Uint8Array(new TextEncoder().encode(text)));
		}),
	);
	fc.assert(
		fc.property(fc.string({ unit: "binary" }), fc.nat(), (text, cut) => {
			const bytes = encodeUtf8(text);
			const at = cut % (bytes.length + 1);
			const decoder = new Utf8Decoder();
			expect(decoder.decode(bytes.subarray(0, at)) + decoder.decode(bytes.subarray(at))).toBe(
				new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes),
			);
		}),
	);
});

test("what is no UTF-8 becomes U+FFFD and does not swallow what follows", () => {
	expect(new Utf8Decoder().decode(Uint8Array.of(0xff, 0x41, 0xc3, 0x41, 0xc0, 0x80))).toBe("\ufffdA\ufffdA\ufffd\ufffd");
});
