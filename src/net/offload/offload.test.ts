import { describe, expect, it } from "vitest";
import {
	buildEthernet,
	buildIpv4,
	buildTcp,
	parseEthernet,
	parseIpv4,
	parseTcp,
	pseudoHeaderSum,
	readU16,
	sumWords,
	writeU16,
} from "../frames/index.ts";
import {
	completeChecksum,
	isTransportChecksumGood,
	joinTcp,
	type SuperFrame,
	segmentCount,
	segmentedBytes,
	segmentsOf,
	segmentTcp,
	superFrame as superFrameOf,
	uncut,
} from "./index.ts";

const [SOURCE, DESTINATION] = [0x0a00_0001, 0x0a00_0002];

/** A super-frame as a driver leaves it: lengths and checksums to the card. */
function superFrame(payloadBytes: number, flags = 0x18): Uint8Array {
	const payload = Uint8Array.from({ length: payloadBytes }, (_, index) => index * 7);
	const timestamp = { value: 5, echo: 6 };
	const tcp = buildTcp(
		{ sourcePort: 1, destinationPort: 2, sequence: 0xffff_ff00, acknowledgment: 9, flags, window: 100, options: { timestamp }, payload },
		SOURCE,
		DESTINATION,
	);
	const ip = buildIpv4({ protocol: 6, source: SOURCE, destination: DESTINATION, payload: tcp, identification: 0xfffe });
	const frame = buildEthernet({ destination: 1, source: 2, etherType: 0x800, payload: ip });
	writeU16(frame, 34 + 16, sumWords(new Uint8Array(0), 0, 0, pseudoHeaderSum(SOURCE, DESTINATION, 6, tcp.length)));
	return frame;
}

function segmentOf(frame: Uint8Array) {
	const ip = parseIpv4(parseEthernet(frame)!.payload)!;
	return { ip, tcp: parseTcp(ip.payload, ip.source, ip.destination)! };
}

const ALL = { joinsIpv4: true, joinsIpv6: true, maxBytes: 65_549 };

describe("segmentTcp", () => {
	it("cuts into segments that a host of its own would have sent", () => {
		const frame = superFrame(3000, 0x19);
		const frames = segmentTcp(frame, 1448)!;
		const segments = frames.map(segmentOf);
		expect(frames.map((each) => each.length)).toEqual([1514, 1514, 66 + 104]);
		expect(segments.map(({ tcp }) => tcp.sequence)).toEqual([0xffff_ff00, 0xffff_ff00 + 1448 - 2 ** 32, 0xffff_ff00 + 2896 - 2 ** 32]);
		expect(segments.map(({ tcp }) => tcp.flags)).toEqual([0x10, 0x10, 0x19]);
		expect(segments.map(({ ip }) => ip.identification)).toEqual([0xfffe, 0xffff, 0]);
		expect(segments.flatMap(({ tcp }) => [...tcp.payload])).toEqual([...frame.subarray(66)]);
		expect(frames.every((each) => isTransportChecksumGood(each))).toBe(true);
	});

	it("pads a short last one", () => {
		const last = segmentTcp(superFrame(1449).subarray(0, 66 + 1449), 1448)![1]!;
		expect([last.length, segmentOf(last).tcp.payload.length, isTransportChecksumGood(last)]).toEqual([67, 1, true]);
		const tiny = segmentTcp(superFrame(0).subarray(0, 66), 1448)![0]!;
		expect(segmentOf(tiny).tcp.payload.length).toBe(0);
	});

	it("refuses what is no TCP", () => {
		const frame = superFrame(3000);
		frame[23] = 17;
		expect(segmentTcp(frame, 1448)).toBeUndefined();
		expect(segmentTcp(superFrame(3000).subarray(0, 50), 1448)).toBeUndefined();
		expect(segmentTcp(superFrame(3000), 0)).toBeUndefined();
	});
});

describe("a super-frame that is not cut", () => {
	const wholeOf = (payloadBytes: number, segmentBytes = 1448): SuperFrame =>
		superFrameOf(superFrame(payloadBytes), segmentBytes) ?? expect.fail("no super-frame");

	it.each([0, 1, 1448, 1449, 9001])("knows how it would be cut: %i bytes", (payloadBytes) => {
		const whole = wholeOf(payloadBytes);
		const frames = segmentsOf(whole);
		expect(segmentCount(whole)).toBe(frames.length);
		expect(segmentedBytes(whole)).toBe(frames.reduce((sum, frame) => sum + frame.length, 0));
	});

	it("comes out as if its frames had been joined", () => {
		const whole = wholeOf(9001);
		const joined = joinTcp(segmentsOf(whole), 0, ALL);
		const kept = uncut(whole);
		expect(kept).toMatchObject({ count: joined.count, byteLength: joined.byteLength, tcp: joined.tcp });
		expect((kept?.parts ?? []).flatMap((part) => [...part])).toEqual(joined.parts.flatMap((part) => [...part]));
	});

	it("is no packet beyond 64 KiB", () => {
		expect(uncut(wholeOf(65_535 - 52))).toBeDefined();
		expect(uncut({ ...wholeOf(10), frame: new Uint8Array(65_550) })).toBeUndefined();
	});
});

describe("joinTcp", () => {
	it("undoes the cut", () => {
		const frame = superFrame(9001);
		const frames = segmentTcp(frame, 1448)!;
		const joined = joinTcp(frames, 0, ALL);
		expect(joined).toMatchObject({ count: 7, byteLength: frame.length, tcp: { transportAt: 34, headerBytes: 66, segmentBytes: 1448 } });
		const whole = Uint8Array.from(joined.parts.flatMap((part) => [...part]));
		expect(segmentTcp(whole, 1448)).toEqual(frames);
		expect(readU16(whole, 50)).toBe(readU16(frame, 50));
	});

	it.each<[string, (frames: Uint8Array[]) => void]>([
		["another order", (frames) => frames.splice(1, 2, frames[2]!, frames[1]!)],
		["a flipped bit", (frames) => (frames[1]![100]! ^= 1)],
		["another flow between", (frames) => frames.splice(1, 0, superFrame(10))],
		["another acknowledgment", (frames) => (frames[1] = acknowledging(frames[1]!, 10))],
	])("leaves alone what does not go on: %s", (_, spoil) => {
		const frames = segmentTcp(superFrame(5000), 1448)!;
		spoil(frames);
		expect(joinTcp(frames, 0, ALL).count).toBe(1);
	});

	it("stops at the limit, and where it may not", () => {
		const frames = segmentTcp(superFrame(9001), 1448)!;
		expect(joinTcp(frames, 0, { ...ALL, maxBytes: 3000 }).count).toBe(2);
		expect(joinTcp(frames, 0, { ...ALL, joinsIpv4: false }).count).toBe(1);
	});
});

function acknowledging(frame: Uint8Array, acknowledgment: number): Uint8Array {
	const { ip, tcp } = segmentOf(frame);
	const payload = buildIpv4({ ...ip, payload: buildTcp({ ...tcp, acknowledgment }, ip.source, ip.destination) });
	return buildEthernet({ destination: 1, source: 2, etherType: 0x800, payload });
}

describe("checksums", () => {
	it("completes what a driver began, odd lengths too", () => {
		for (const payloadBytes of [0, 1, 99, 1448]) {
			const frame = superFrame(payloadBytes);
			const end = 66 + payloadBytes;
			expect(isTransportChecksumGood(frame)).toBe(false);
			expect(completeChecksum(frame, 34, 16, end)).toBe(true);
			expect(isTransportChecksumGood(frame)).toBe(true);
		}
		expect(completeChecksum(new Uint8Array(60), 50, 10)).toBe(false);
	});

	it("says nothing about fragments and what has none", () => {
		const frame = superFrame(10);
		frame[20] = 0x20;
		expect(isTransportChecksumGood(frame)).toBeUndefined();
		expect(isTransportChecksumGood(new Uint8Array(5))).toBeUndefined();
	});
});
