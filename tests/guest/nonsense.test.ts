import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { MIB } from "../../src/base/units.ts";
import { createMachine } from "../../src/host/node/machine.ts";
import { Jack } from "../../src/net/port.ts";
import { buildBench, MEMORY_BYTES } from "../board/bench.ts";
import { blankDisk } from "../board/blank-disk.ts";
import { type Access, ARENA, fillArena, nonsense, type Random, randomFrom, type Survey } from "../board/nonsense.ts";
import { nonsenseKernel } from "../board/nonsense-kernel.ts";
import { surveyPorts } from "../board/survey.ts";

const SECONDS = Number(process.env.BASENJI_FUZZ_SECONDS ?? 60);
/** Some nonsense ends in a processor that runs garbage for ever: then it is the next machine's turn. */
const SECONDS_EACH = 3;
const ACCESSES = 100_000;
/** What the engine may take beside the guest's memory. */
const OVERHEAD_BYTES = 400 * MIB;

/** Ports that reset the machine, or turn it off, when the right bits are written: that happens often enough as it is. */
const RESET_PORTS = [0x64, 0x92, 0x605, 0xcf9];
const RESETS_KEPT = 1 / 50;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function gather(random: Random, survey: Survey): Access[] {
	const accesses: Access[] = [];
	for (const access of nonsense(random, survey)) {
		const { space, isWrite, address, bytes } = access;
		const isConfigAddress = address === 0xcf8 && bytes === 4;
		const mayReset =
			space === "port" && isWrite && !isConfigAddress && RESET_PORTS.some((port) => port >= address && port < address + bytes);
		if (!mayReset || random(1 / RESETS_KEPT) === 0) accesses.push(access);
		if (accesses.length === ACCESSES) break;
	}
	return accesses;
}

describe("a guest that writes nonsense to every port and register", () => {
	test(
		`harms nothing in ${SECONDS} s`,
		async () => {
			const survey = surveyPorts((await buildBench(1)).pc.io);
			const ends: Record<string, number> = {};
			let [instructions, diskReads, resets, deviceErrors, consoleBytes, hvcBytes] = [0, 0, 0, 0, 0, 0];
			let mostBytes = 0;
			const endMs = Date.now() + SECONDS * 1000;
			for (let seed = 1; Date.now() < endMs; seed++) {
				const random = randomFrom(seed);
				const arena = new Uint8Array(ARENA.sizeBytes);
				fillArena(random, arena);
				const accesses = gather(random, survey);
				const disk = await blankDisk(4 * MIB);
				const read = disk.read.bind(disk);
				disk.read = (...args) => {
					diskReads++;
					return read(...args);
				};
				// Machines that have ended lie about until they are collected: what counts is what one takes.
				collectGarbage();
				const beforeBytes = process.memoryUsage.rss();
				await using machine = await createMachine({
					kernel: nonsenseKernel(accesses, arena),
					memory: MEMORY_BYTES,
					cpus: 2,
					serialPorts: 2,
					nics: [{ port: new Jack("jack") }],
					disks: [{ disk }],
					virtioConsole: true,
				});
				machine.on("deviceError", () => deviceErrors++);
				machine.on("console", ({ port, bytes }) => {
					if (port < 2) consoleBytes += bytes.length;
					else hvcBytes += bytes.length;
				});
				await machine.start();
				const timer = setTimeout(() => void machine.stop(), SECONDS_EACH * 1000);
				const { reason, error } = await machine.finished();
				clearTimeout(timer);
				if (reason === "failed") throw new Error(`seed ${seed}`, { cause: error });
				ends[reason] = (ends[reason] ?? 0) + 1;
				resets += machine.stats.resets;
				instructions += machine.stats.guestInstructions;
				mostBytes = Math.max(mostBytes, process.memoryUsage.rss() - beforeBytes);
			}
			const figures = { ends, instructions, diskReads, resets, deviceErrors, consoleBytes, hvcBytes, mostMib: Math.round(mostBytes / MIB) };
			process.stdout.write(`nonsense: ${JSON.stringify(figures)}\n`);
			expect(Object.keys(ends).filter((reason) => reason !== "power-off" && reason !== "stopped")).toEqual([]);
			expect(resets).toBeGreaterThan(0);
			expect(diskReads).toBeGreaterThan(0);
			expect(mostBytes).toBeLessThan(MEMORY_BYTES + OVERHEAD_BYTES);
		},
		SECONDS * 3000 + 60_000,
	);
});
