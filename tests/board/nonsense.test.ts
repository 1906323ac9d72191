import { describe, expect, test } from "vitest";
import { ENGINE_BYTES } from "../../src/machine/memory.ts";
import { type Bench, buildBench } from "./bench.ts";
import { type Access, ARENA, fillArena, nonsense, randomFrom } from "./nonsense.ts";
import { surveyPorts } from "./survey.ts";

const ACCESSES = 60_000;
/** More seeds for a long run: BASENJI_FUZZ_SEEDS=1000 npx vitest run --project unit tests/board/nonsense.test.ts */
const SEEDS = Number(process.env.BASENJI_FUZZ_SEEDS ?? 6);
const FIRST_SEED = Number(process.env.BASENJI_FUZZ_FIRST_SEED ?? 1);

function perform({ pc, memory }: Bench, { space, isWrite, bytes, address, value }: Access): void {
	const masked = bytes === 4 ? value >>> 0 : value & (bytes === 1 ? 0xff : 0xffff);
	if (space === "port") {
		if (isWrite) pc.io.write(address, bytes, masked);
		else expectInRange(pc.io.read(address, bytes), bytes, address);
	} else if (isWrite) memory.writePhys(address, bytes, masked);
	else expectInRange(memory.readPhys(address, bytes), bytes, address);
}

function expectInRange(read: number, bytes: number, address: number): void {
	if (!(read >= 0 && read < 2 ** (8 * bytes) && Number.isInteger(read)))
		throw new Error(`a read of ${bytes} at 0x${address.toString(16)} gave ${read}`);
}

describe("a board under nonsense", () => {
	test("answers every access in range, throws at none, and can be saved in between", async () => {
		const seen = new Set<string>();
		for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
			const random = randomFrom(seed);
			const bench = await buildBench(seed);
			const survey = surveyPorts(bench.pc.io);
			expect(survey.windows.length).toBeGreaterThanOrEqual(bench.cards.length);
			fillArena(random, bench.memory.bytes.subarray(ENGINE_BYTES + ARENA.first, ENGINE_BYTES + ARENA.first + ARENA.sizeBytes));
			const accesses = nonsense(random, survey);
			for (let i = 0; i < ACCESSES; i++) {
				try {
					bench.pc.accessingCpu = random(2);
					perform(bench, accesses.next().value as Access);
					if (random(50) === 0) bench.clock.advance(random(100_000));
					if (random(20) === 0) bench.pc.cpuBoard(random(2)).acknowledgeInterrupt();
				} catch (error) {
					throw new Error(`seed ${seed}, access ${i}`, { cause: error });
				}
				// Disks answer when the host's events come in.
				if (i % 2000 === 0) {
					await new Promise((resolve) => setImmediate(resolve));
					bench.drain();
				}
				if (i % 20_000 === 19_999) await saveAndLoad(bench);
			}
			for (const event of bench.events) seen.add(event);
			bench.pc.reset();
			bench.drain();
		}
		// It got that far: the ways out were found as well.
		expect([...seen].sort()).toEqual(["power-off", "reset: request"]);
	});
});

async function saveAndLoad(bench: Bench): Promise<void> {
	let isQuiet = false;
	const quiet = Promise.all(bench.cards.map((card) => card.quiesce())).then(() => {
		isQuiet = true;
	});
	while (!isQuiet) {
		bench.drain();
		await new Promise((resolve) => setImmediate(resolve));
	}
	await quiet;
	const state = structuredClone(bench.pc.save());
	bench.pc.load(state);
	expect(bench.pc.save()).toEqual(state);
}
