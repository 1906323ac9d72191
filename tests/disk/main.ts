/**
 * The disk trials in full: `npm run test:disk`, or
 *
 *     node tests/disk/main.ts [operations] [kills] [fuzz] [--seed N] [--operations 10000] [--only TEXT]
 *
 * Prints a line for each, and ends with 1 if anything was not as it should be.
 */
import { parseArgs } from "node:util";
import { runOperations } from "./operations.ts";
import { VARIANTS } from "./variants.ts";

const { values: options, positionals } = parseArgs({
	allowPositionals: true,
	options: {
		seed: { type: "string", default: "1" },
		operations: { type: "string", default: "10000" },
		only: { type: "string", default: "" },
	},
});
const trials = positionals.length === 0 ? ["operations"] : positionals;
const seed = Number(options.seed);
let failures = 0;

async function operations(): Promise<void> {
	for (const variant of VARIANTS.filter(({ name }) => name.includes(options.only))) {
		const startMs = performance.now();
		try {
			const report = await runOperations(variant, Number(options.operations), seed);
			const counts = Object.entries(report.operations).map(([kind, count]) => `${count} ${kind}`);
			const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
			console.log(`ok      ${variant.name}: ${counts.join(", ")}; ${report.atOnce} at once, ${report.judgements} judgements, ${seconds} s`);
		} catch (error) {
			failures++;
			console.log(`FAILED  ${error instanceof Error ? error.message : String(error)}`);
		}
	}
}

for (const trial of trials) {
	if (trial === "operations") await operations();
	else throw new RangeError(`no trial called ${trial}: operations`);
}
process.exitCode = failures === 0 ? 0 : 1;
