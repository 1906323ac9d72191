import { expect, test } from "vitest";
import { formatSize, parseDuration, parseSize } from "./quantity.ts";

test("sizes are powers of 1024, whole bytes", () => {
	expect(["512M", "2G", "64KiB", "1.5k", "3.9g", 7].map(parseSize)).toEqual([536870912, 2147483648, 65536, 1536, 4187593113, 7]);
	expect(["", "12X", "-1", "1.", "M"].map(parseSize)).toEqual(new Array(5).fill(undefined));
	expect([134217728, 1024, 1000].map(formatSize)).toEqual(["128M", "1K", "1000 bytes"]);
});

test("durations are seconds unless they say otherwise", () => {
	expect(["60s", "1.5m", "200ms", "3", 2].map(parseDuration)).toEqual([60e9, 90e9, 200e6, 3e9, 2e9]);
	expect(["", "5 apples", "-1s"].map(parseDuration)).toEqual([undefined, undefined, undefined]);
});
