import fc from "fast-check";
import { expect, test } from "vitest";
import { RangeSet } from "./range-set.ts";

test("agrees with a plain set of positions", () => {
	fc.assert(
		fc.property(
			fc.array(fc.tuple(fc.nat(60), fc.nat(12)), { maxLength: 20 }),
			fc.nat(60),
			fc.nat(70),
			fc.nat(20),
			(adds, released, from, length) => {
				const ranges = new RangeSet();
				const plain = new Set<number>();
				for (const [start, size] of adds) {
					ranges.add(start, start + size);
					for (let at = start; at < start + size; at++) plain.add(at);
				}
				ranges.release(released);
				for (const at of plain) if (at < released) plain.delete(at);
				expect(ranges.size).toBe(plain.size);
				expect(ranges.ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, index) => start + index))).toEqual(
					[...plain].sort((a, b) => a - b),
				);
				expect(ranges.ranges.every((range, index) => index === 0 || ranges.ranges[index - 1]!.end < range.start)).toBe(true);
				expect(ranges.highest).toBe(plain.size === 0 ? undefined : Math.max(...plain) + 1);
				expect(ranges.containing(from) !== undefined).toBe(plain.has(from));
				const gap = ranges.gapFrom(from);
				let start = from;
				while (plain.has(start)) start++;
				expect(gap.start).toBe(start);
				const next = [...plain].filter((at) => at >= start).sort((a, b) => a - b)[0];
				expect(gap.end).toBe(next ?? Number.POSITIVE_INFINITY);
				expect(ranges.covered(from, from + length)).toBe([...plain].filter((at) => at >= from && at < from + length).length);
			},
		),
	);
});
