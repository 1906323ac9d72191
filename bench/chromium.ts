/**
 * The bench's programs in a page of headless Chromium and in Node, in turn: `node bench/chromium.ts`. Both run the same script
 * (page/measure.ts) over the same library; the page's machine lives in a worker.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { TUNING_FLAGS } from "../src/host/node/wasm-tuning.ts";
import { judgePage, renderVerdicts } from "./acceptance.ts";
import { BuildError } from "./build-error.ts";
import type { Observed } from "./engines.ts";
import { BOOT, bootGuest, type Guest, PROGRAMS, programsGuest } from "./guest.ts";
import { chromiumMissing, type PageGuest, runInPage } from "./page/chromium.ts";
import type { GuestReport } from "./page/measure.ts";
import { gather, renderTable } from "./table.ts";

const NODE = "Node";
const PAGE = "Chromium";
/** With the setting of V8's that Node's host makes, and a page cannot. */
const TUNED_PAGE = "Chromium, V8 tuned";

const { values: options } = parseArgs({
	options: {
		runs: { type: "string", default: "5" },
		programs: { type: "string", default: PROGRAMS.join(",") },
		tuned: { type: "boolean", default: false },
		timeout: { type: "string", default: "300" },
		json: { type: "boolean", default: false },
		help: { type: "boolean", default: false },
	},
});

if (options.help) {
	console.log(`node bench/chromium.ts [options]
  --runs N          runs of each; the table shows medians (default 5)
  --programs LIST   of ${PROGRAMS.join(", ")}
  --tuned           a third column: Chromium with the settings for V8 of Node's host
  --timeout S       seconds for one guest (default 300)
  --json            every run's seconds, in JSON on standard output`);
	process.exit(0);
}

function fail(message: string): never {
	console.error(`bench: ${message}`);
	process.exit(125);
}

const programs = options.programs.split(",").filter((name) => name !== "");
for (const name of programs) if (!PROGRAMS.includes(name)) fail(`no program called ${name}: ${PROGRAMS.join(", ")}`);
const timeoutMs = Number(options.timeout) * 1000;

/** A process of its own for each guest, as a page is. */
function runInNode(guest: PageGuest): Promise<GuestReport> {
	const script = fileURLToPath(new URL("page/node-guest.ts", import.meta.url));
	const child = spawn(process.execPath, [script, JSON.stringify(guest)], { stdio: ["ignore", "pipe", "inherit"] });
	const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
	let text = "";
	child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
		text += chunk;
	});
	return new Promise((resolve, reject) => {
		child.on("error", reject);
		child.on("close", (code) => {
			clearTimeout(timer);
			if (code === 0) resolve(JSON.parse(text) as GuestReport);
			else reject(new Error(`${NODE} ended with ${code}`));
		});
	});
}

const RUNNERS: Readonly<Record<string, (guest: PageGuest) => Promise<GuestReport>>> = {
	[NODE]: runInNode,
	[PAGE]: (guest) => runInPage(guest, { timeoutMs }),
	...(options.tuned ? { [TUNED_PAGE]: (guest: PageGuest) => runInPage(guest, { timeoutMs, jsFlags: TUNING_FLAGS.join(" ") }) } : {}),
};

const missing = chromiumMissing();
if (missing !== undefined) {
	console.error(`skipped: ${missing}`);
	process.exit(0);
}

const folder = mkdtempSync(join(tmpdir(), "basenji-bench-"));
try {
	const guests: readonly Guest[] = [await programsGuest(64, programs, folder), await bootGuest(64, folder)];
	const runs = new Map<string, Observed[]>(Object.keys(RUNNERS).map((name) => [name, []]));
	for (let run = 1; run <= Number(options.runs); run++)
		for (const { kernel, initrd, append, memoryMib, whole } of guests)
			for (const [name, runner] of Object.entries(RUNNERS)) {
				const { seconds, exit } = await runner({ kernel, initrd, append, memory: `${memoryMib}M` });
				// A boot that runs programs is none to be compared.
				const kept = Object.entries(seconds).filter(([program]) => program !== BOOT || whole !== undefined);
				runs.get(name)?.push({ timings: new Map(kept), beyondRamBytes: undefined });
				console.error(`run ${run}/${options.runs}: ${name}, ${whole ?? "programs"}, ${(seconds.boot ?? 0).toFixed(1)} s, ${exit.reason}`);
			}
	const measured = [...runs].map(([name, observed]) => gather({ name, bits: 64 }, observed));
	const verdicts = [judgePage(measured, PAGE, NODE, [...programs, BOOT])];
	if (options.json) console.log(JSON.stringify({ runs: Number(options.runs), measured, verdicts }, undefined, "\t"));
	else {
		console.log(renderTable(measured, NODE, programs, [BOOT]));
		console.log(`\n${renderVerdicts(verdicts)}`);
	}
} catch (error) {
	if (error instanceof BuildError) fail(error.message);
	throw error;
} finally {
	rmSync(folder, { recursive: true, force: true });
}
