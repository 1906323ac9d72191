import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { FrameRing, MAX_RECORD_BYTES, newRing, RECORD, type RingRecord } from "./frame-ring.ts";

/** What record `index` holds: lengths of all kinds, so that records meet the ring's end in every way. */
function recordOf(index: number) {
	const length = index % 13 === 0 ? MAX_RECORD_BYTES : (index * 7919) % 1515;
	return { kind: index % 3, card: index % 4, number: index, bytes: new Uint8Array(length).fill(index) };
}

function expectRecord(record: RingRecord | undefined, index: number): void {
	const { bytes, ...facts } = recordOf(index);
	expect(record).toMatchObject(facts);
	expect(Buffer.compare(record?.bytes ?? Buffer.alloc(0), bytes), `record ${index}`).toBe(0);
}

test("records come out as they went in, in order, and none goes in where there is no room", () => {
	const ring = newRing();
	const [writer, reader] = [new FrameRing(ring), new FrameRing(ring)];
	let [written, read, refused] = [0, 0, 0];
	while (read < 1000) {
		while (written < 1000 && writer.write(recordOf(written))) written++;
		if (written < 1000) refused++;
		for (let count = 0; count < 5 && read < written; count++) expectRecord(reader.read(), read++);
	}
	expect([reader.read(), reader.isEmpty, refused > 0]).toEqual([undefined, true, true]);
});

test("counters run over 2^32", () => {
	const shared = newRing();
	new Int32Array(shared).fill(-64, 0, 16);
	const ring = new FrameRing(shared);
	for (let index = 0; index < 20; index++) {
		expect(ring.write({ kind: RECORD.whole, card: 1, number: index, bytes: new Uint8Array(index) })).toBe(true);
		expect(ring.read()).toEqual({ kind: RECORD.whole, card: 1, number: index, bytes: new Uint8Array(index) });
	}
});

test("another thread reads what this one writes", async () => {
	const [there, back] = [newRing(), newRing()];
	const code = `
		import { workerData } from "node:worker_threads";
		const { FrameRing } = await import(workerData.module);
		const [there, back] = [new FrameRing(workerData.there), new FrameRing(workerData.back)];
		for (let count = 0; count < 1000; ) {
			const record = there.read();
			if (record === undefined) continue;
			while (!back.write(record));
			count++;
		}`;
	const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), {
		workerData: { there, back, module: new URL("./frame-ring.ts", import.meta.url).href },
	});
	const [writer, reader] = [new FrameRing(there), new FrameRing(back)];
	let [written, read] = [0, 0];
	while (read < 1000) {
		while (written < 1000 && writer.write(recordOf(written))) written++;
		const record = reader.read();
		if (record === undefined) await new Promise((resolve) => setImmediate(resolve));
		else expectRecord(record, read++);
	}
	await worker.terminate();
});
