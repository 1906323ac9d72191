import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { findTool } from "../../src/host/node/command.ts";
import { imageFile } from "../../src/host/node/image/store.ts";
import { createMachine } from "../../src/host/node/machine.ts";
import { fly } from "../sim/link-rig.ts";
import { deviation, lag1, mean, reorderedShare, runLengths } from "../sim/statistics.ts";
import { imageOrReason } from "./images.ts";
import { initrdWith } from "./overlay.ts";

interface Figures {
	readonly sent: number;
	readonly received: number;
	readonly duplicates: number;
	readonly reordered: number;
	readonly bursts: number;
	readonly meanNs: number;
	readonly deviationNs: number;
	readonly lag1: number;
	readonly quantilesNs: readonly number[];
}

interface Case {
	readonly words: string;
	readonly count: number;
	readonly spacingNs: number;
	/** By what correlation within bursts makes shares vary more than independent frames would. */
	readonly inflation?: number;
}

const LOSS: readonly Case[] = [
	{ words: "loss 1%", count: 100_000, spacingNs: 0 },
	{ words: "loss 10% 25%", count: 100_000, spacingNs: 0, inflation: 2 },
	{ words: "loss 25% 50%", count: 100_000, spacingNs: 0, inflation: 4 },
	{ words: "loss gemodel 1% 25%", count: 100_000, spacingNs: 0, inflation: 7 },
	{ words: "loss state 2 30 10 40 0.5", count: 100_000, spacingNs: 0, inflation: 8 },
	{ words: "duplicate 2%", count: 100_000, spacingNs: 0 },
];

const TIME: readonly Case[] = [
	{ words: "delay 10ms", count: 2000, spacingNs: 400_000 },
	{ words: "delay 5ms 10ms", count: 20_000, spacingNs: 21_000_000 },
	{ words: "delay 50ms 10ms distribution normal", count: 20_000, spacingNs: 82_000_000 },
	{ words: "delay 50ms 10ms distribution pareto", count: 20_000, spacingNs: 82_000_000 },
	{ words: "delay 50ms 10ms 90%", count: 20_000, spacingNs: 22_000_000 },
	{ words: "delay 50ms 5ms", count: 20_000, spacingNs: 1_000_000 },
	{ words: "delay 20ms reorder 25% 50%", count: 20_000, spacingNs: 1_000_000 },
	{ words: "rate 10mbit limit 42", count: 5000, spacingNs: 300_000 },
];

const SIZE_BYTES = 500;
/** Where Debian's iproute2 has its tables, here and in the guest. */
const TABLES = "/usr/lib/x86_64-linux-gnu/tc";

/** The same frames through our profile. */
function simulated({ words, count, spacingNs }: Case): Omit<Figures, "quantilesNs"> & { readonly sortedNs: Float64Array } {
	const { arrivals, sentNs } = fly({ netem: words }, count, Math.max(spacingNs, 20_000), { sizeBytes: SIZE_BYTES });
	const first = new Map<number, number>();
	for (const { id, timeNs } of arrivals) if (!first.has(id)) first.set(id, timeNs);
	const delays = [...first].sort(([a], [b]) => a - b).map(([id, timeNs]) => timeNs - (sentNs[id] as number));
	const lost = Array.from({ length: count }, (_, id) => !first.has(id));
	return {
		sent: count,
		received: first.size,
		duplicates: arrivals.length - first.size,
		reordered: Math.round(reorderedShare([...first.keys()]) * first.size),
		bursts: runLengths(lost).length,
		meanNs: mean(delays),
		deviationNs: deviation(delays),
		lag1: lag1(delays),
		sortedNs: Float64Array.from(delays).sort(),
	};
}

const script = (cases: readonly Case[]) =>
	[
		"sh /load-modules",
		"/usr/bin/ip link add name near type veth peer name far",
		"ip link set near up; ip link set far up; sleep 1",
		...cases.map(
			({ words, count, spacingNs }) =>
				`/usr/bin/tc qdisc replace dev near root netem ${words} && echo "figures: ${words}: $(/probe near far ${count} ${spacingNs} ${SIZE_BYTES})"; /usr/bin/tc qdisc del dev near root`,
		),
		"echo probes-done",
	].join("\n");

/** As many deviations as two samples' shares are apart. */
function shareDistance(ours: number, theirs: number, count: number, inflation: number): number {
	const pooled = (ours + theirs) / (2 * count);
	const error = Math.sqrt((2 * inflation * pooled * (1 - pooled)) / count);
	return error === 0 ? Math.abs(ours - theirs) : Math.abs(ours - theirs) / count / error;
}

const missing = ["gcc", "ip", "tc", "ldd", "apt-get"].find((tool) => findTool(tool) === undefined);

test.skipIf(missing !== undefined)(
	`the tc-netem profile agrees with Linux 6.1's netem${missing === undefined ? "" : ` (skipped: no ${missing} here)`}`,
	{ timeout: 900_000 },
	async ({ skip }) => {
		const image = await imageOrReason("cloud");
		if (typeof image === "string") return skip(image);
		const directory = mkdtempSync(join(tmpdir(), "basenji-netem-"));
		try {
			const probe = join(directory, "probe");
			execFileSync("gcc", ["-O2", "-static", "-o", probe, fileURLToPath(new URL("netem-probe.c", import.meta.url)), "-lm"]);
			const cases = [...LOSS, ...TIME];
			const initrd = await initrdWith(image, {
				programs: ["ip", "tc"],
				modules: ["veth", "sch_netem"],
				files: {
					probe: readFileSync(probe),
					...Object.fromEntries(
						["normal", "pareto"].map((name) => [`usr/lib/x86_64-linux-gnu/tc/${name}.dist`, readFileSync(`${TABLES}/${name}.dist`)]),
					),
				},
				script: script(cases),
			});
			await using machine = await createMachine({
				kernel: imageFile(image, image.manifest.kernel),
				initrd,
				append: `${image.manifest.append} quiet panic=-1`,
				memory: "256M",
				time: "instructions",
				onReset: "stop",
			});
			await machine.start();
			await machine.waitFor({ console: "probes-done", timeout: "880s" });
			const text = machine.console.text.replaceAll("\r", "");
			const report: string[] = [];
			for (const each of cases) {
				const line = text.split("\n").find((found) => found.startsWith(`figures: ${each.words}: {`));
				expect(line, `${each.words}: ${text.slice(-2000)}`).toBeDefined();
				const theirs = JSON.parse((line as string).slice(`figures: ${each.words}: `.length)) as Figures;
				report.push(compare(each, simulated(each), theirs));
			}
			process.stdout.write(`${report.join("\n")}\n`);
		} finally {
			rmSync(directory, { recursive: true });
		}
	},
);

/** What the way through two interfaces may add: within it values count as equal. */
const SAME_NS = 20_000;

/** Largest distance between the share of our delays up to each of their percentiles, and that percentile. */
function distance(sortedNs: Float64Array, percentilesNs: readonly number[]): number {
	const shareUpTo = (limitNs: number): number => sortedNs.filter((each) => each <= limitNs).length / sortedNs.length;
	return Math.max(
		...percentilesNs.flatMap((percentileNs, index) => {
			const share = (index + 1) / 100;
			return [share - shareUpTo(percentileNs + SAME_NS), shareUpTo(percentileNs - SAME_NS) - share];
		}),
	);
}

/** A frame's time at the rate: the guest's sender is late by up to one now and then. */
const SAME_QUEUE_NS = (SIZE_BYTES * 8e9) / 10e6;

/** Largest difference between percentiles. */
function farthest(sortedNs: Float64Array, percentilesNs: readonly number[]): number {
	return Math.max(
		...percentilesNs.map((each, index) => Math.abs(each - (sortedNs[Math.floor((sortedNs.length * (index + 1)) / 100)] as number))),
	);
}

/** Holds one case's two outcomes against each other; what is returned says both. */
function compare({ words, count, inflation = 1 }: Case, ours: ReturnType<typeof simulated>, theirs: Figures): string {
	const share = (figure: number) => `${((100 * figure) / count).toFixed(3)} %`;
	const ms = (ns: number) => (ns / 1e6).toFixed(3);
	const lost = [count - ours.received, count - theirs.received] as const;
	const said =
		`netem ${words}: lost ${share(lost[0])} ours, ${share(lost[1])} Linux; doubled ${share(ours.duplicates)}, ${share(theirs.duplicates)}; ` +
		`bursts ${ours.bursts}, ${theirs.bursts}; reordered ${share(ours.reordered)}, ${share(theirs.reordered)}; ` +
		`delay ${ms(ours.meanNs)} ± ${ms(ours.deviationNs)} ms, ${ms(theirs.meanNs)} ± ${ms(theirs.deviationNs)} ms; lag-1 ${ours.lag1.toFixed(3)}, ${theirs.lag1.toFixed(3)}`;
	expect(shareDistance(lost[0], lost[1], count, inflation), said).toBeLessThan(4);
	expect(shareDistance(ours.duplicates, theirs.duplicates, count, 1), said).toBeLessThan(4);
	if (lost[0] > 100) expect(Math.abs(ours.bursts / theirs.bursts - 1), said).toBeLessThan(5 * Math.sqrt((2 * inflation) / ours.bursts));
	// One frame that goes first makes twenty late ones: the share rests on a twentieth of the frames.
	expect(Math.abs(ours.reordered - theirs.reordered) / count, said).toBeLessThan(0.04);
	// The way through the pair of interfaces takes some microseconds of its own.
	expect(Math.abs(ours.meanNs - theirs.meanNs), said).toBeLessThan(50_000 + (4 * ours.deviationNs * Math.SQRT2) / Math.sqrt(count));
	if (ours.deviationNs > 100_000) {
		expect(Math.abs(ours.deviationNs / theirs.deviationNs - 1), said).toBeLessThan(0.04);
		expect(Math.abs(ours.lag1 - theirs.lag1), said).toBeLessThan(0.05);
		// A queue that is full is as long as it is: there it is values that are alike, elsewhere (Kolmogorov and Smirnov) shares.
		if (words.includes("rate")) expect(farthest(ours.sortedNs, theirs.quantilesNs), said).toBeLessThan(SAME_QUEUE_NS);
		else expect(distance(ours.sortedNs, theirs.quantilesNs), said).toBeLessThan(1.95 * Math.sqrt(2 / count) + 0.01);
	}
	return said;
}
