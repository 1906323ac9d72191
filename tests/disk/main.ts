/**
 * The disk trials in full: `npm run test:disk`, or
 *
 *     node tests/disk/main.ts [operations] [kills] [fuzz] [guest-kills] [--seed N] [--operations 10000] [--kills 200] [--fuzz 10000] [--only TEXT]
 *
 * guest-kills needs an image to boot, and runs only when asked for. Prints a line for each, and ends with 1 if anything was not as it should be.
 */
import { parseArgs } from "node:util";
import { runFuzz } from "./fuzz.ts";
import { runGuestKills } from "./guest-kill.ts";
import { runKills } from "./kill.ts";
import { runOperations } from "./operations.ts";
import { makeSamples } from "./samples.ts";
import { VARIANTS } from "./variants.ts";

const { values: options, positionals } = parseArgs({
	allowPositionals: true,
	options: {
		seed: { type: "string", default: "1" },
		operations: { type: "string", default: "10000" },
		kills: { type: "string", default: "200" },
		fuzz: { type: "string", default: "10000" },
		only: { type: "string", default: "" },
	},
});
const trials = positionals.length === 0 ? ["operations", "kills", "fuzz"] : positionals;
const seed = Number(options.seed);
let failures = 0;

const variants = VARIANTS.filter(({ name }) => name.includes(options.only));

/** One line for each; a failure does not keep the next ones from being tried. */
async function each<Item extends { readonly name: string }>(chosen: readonly Item[], run: (item: Item) => Promise<string>): Promise<void> {
	for (const item of chosen) {
		const startMs = performance.now();
		try {
			const text = await run(item);
			console.log(`ok      ${item.name}: ${text}, ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
		} catch (error) {
			failures++;
			console.log(`FAILED  ${error instanceof Error ? error.message : String(error)}`);
		}
	}
}

function operations(): Promise<void> {
	return each(variants, async (variant) => {
		const report = await runOperations(variant, Number(options.operations), seed);
		const counts = Object.entries(report.operations).map(([kind, count]) => `${count} ${kind}`);
		return `${counts.join(", ")}; ${report.atOnce} at once, ${report.judgements} judgements`;
	});
}

/** The kills are dealt out among all variants. */
async function kills(run: typeof runKills): Promise<void> {
	const share = Math.ceil(Number(options.kills) / variants.length);
	await each(variants, async (variant) => {
		const report = await run(variant, share, seed);
		const leaks = report.leaks.length === 0 ? "no leaks" : `leaks after ${report.leaks.length}: ${report.leaks.join(", ")} clusters`;
		return `${report.kills} kills, ${report.flushedWrites} flushed writes all there, ${leaks}`;
	});
}

/** Each sample is damaged so many times. */
async function fuzz(): Promise<void> {
	await each(
		makeSamples().filter(({ name }) => name.includes(options.only)),
		async (sample) => {
			const { cases, unharmed, errors, slowestMs } = await runFuzz(sample, Number(options.fuzz), seed);
			const kinds = Object.entries(errors).map(([kind, count]) => `${count} ${kind}`);
			return `${cases} damaged images, ${unharmed} of them usable all the same; errors: ${kinds.join(", ")}; slowest ${slowestMs.toFixed(0)} ms`;
		},
	);
}

for (const trial of trials) {
	if (trial === "operations") await operations();
	else if (trial === "kills") await kills(runKills);
	else if (trial === "guest-kills") await kills(runGuestKills);
	else if (trial === "fuzz") await fuzz();
	else throw new RangeError(`no trial called ${trial}: operations, kills, fuzz, guest-kills`);
}
process.exitCode = failures === 0 ? 0 : 1;
