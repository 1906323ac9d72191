import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { NodeHost } from "../../src/host/node/host.ts";
import { createMachine } from "../../src/host/node/machine.ts";
import { forkMachine } from "../../src/vm/fork.ts";
import { COMPLAINTS, guestOptions, Rounds, scratchFolder } from "./guest.ts";

const folder = scratchFolder();
afterAll(() => rm(folder, { recursive: true, force: true }));

const STEPS = Number(process.env.BASENJI_SURVIVE_STEPS ?? 200);
const SEED = Number(process.env.BASENJI_SURVIVE_SEED ?? 1);
const CPUS = Number(process.env.BASENJI_SURVIVE_CPUS ?? 1);
/** Snapshots kept at a time: beyond that one is removed for each that is taken. */
const MOST = 12;

/** Numbers in [0, 1), the same for the same seed. */
function random(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state / 2 ** 32;
	};
}

test(`a guest that checks memory, floating point, disk and clocks survives ${STEPS} snapshots, restores and forks`, async ({ skip }) => {
	const options = await guestOptions(folder, "survive");
	if (typeof options === "string") return skip(options);
	const draw = random(SEED);
	await using machine = await createMachine({ ...options, memory: "128M", cpus: CPUS, snapshots: join(folder, "snapshots") });
	const watch = new Rounds(machine);
	await machine.start();
	let round = await watch.next();
	const tree = await machine.snapshots();
	const rounds = new Map<string, number>();
	const counts = { snapshot: 0, restore: 0, fork: 0, remove: 0 };
	for (let step = 0; step < STEPS; step++) {
		const pick = draw();
		const all = tree.records;
		const chosen = all[Math.floor(draw() * all.length)];
		if (chosen === undefined || pick < 0.4) {
			const { record } = await machine.snapshot();
			rounds.set(record.id, round);
			counts.snapshot++;
			if (all.length >= MOST) {
				const victim = all[Math.floor(draw() * all.length)];
				await machine.removeSnapshot(victim?.id as string);
				counts.remove++;
			}
		} else if (pick < 0.8) {
			await machine.restore(chosen.id);
			counts.restore++;
			const after = await watch.next();
			const then = rounds.get(chosen.id) as number;
			expect(after, `step ${step}`).toBeGreaterThanOrEqual(then);
			expect(after, `step ${step}`).toBeLessThan(then + 50);
		} else {
			const [fork] = await forkMachine(machine, new NodeHost(), pick < 0.9 ? {} : { snapshot: chosen.id });
			counts.fork++;
			const forked = new Rounds(fork as NonNullable<typeof fork>);
			await forked.next();
			await forked.next();
			await fork?.stop();
		}
		round = await watch.next();
	}
	expect(machine.console.text).not.toMatch(COMPLAINTS);
	expect(counts.snapshot + counts.restore + counts.fork).toBe(STEPS);
	process.stdout.write(`${JSON.stringify({ seed: SEED, ...counts, ...tree.tables.store.stats })}\n`);
});
