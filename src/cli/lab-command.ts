import { join } from "node:path";
import { CaptureFile } from "../host/node/lab/capture-file.ts";
import { openLab, readLabFile } from "../host/node/lab/open.ts";
import { progressOn } from "../host/node/progress.ts";
import { labGraph, linkDetails } from "../lab/graph.ts";
import type { LabModel } from "../lab/model.ts";
import { labSchema } from "../lab/read-lab.ts";
import { type CheckResult, runChecks } from "../lab/run-checks.ts";
import { describeFileIssue } from "../labfile/lab-file.ts";
import { printJson } from "./output.ts";

/** A lab file that is wrong, or a lab that does not show what it is to. */
export const EXIT_UNMET = 1;

interface FileOptions {
	readonly file: string;
	readonly json?: boolean;
}

export function printSchema(): void {
	printJson(labSchema());
}

/** Every mistake on a line of its own. */
export function validate({ file, json }: FileOptions): number {
	const { model, issues } = readLabFile(file);
	if (json === true) printJson({ file, isValid: model !== undefined, issues });
	else {
		for (const issue of issues) process.stderr.write(`${describeFileIssue(file, issue)}\n`);
		if (model !== undefined) process.stdout.write(`${file}: ${summary(model)}\n`);
	}
	return model === undefined ? EXIT_UNMET : 0;
}

function summary(model: LabModel): string {
	const machines = [...model.nodes.values()].filter(({ kind }) => kind === "machine").length;
	const parts = [`${model.nodes.size} nodes (${machines} machines)`, `${model.links.length} links`];
	if (model.timeline.length > 0) parts.push(`${model.timeline.length} actions`);
	if (model.expectations.length > 0) parts.push(`${model.expectations.length} expectations`);
	return `${model.name}: ${parts.join(", ")}`;
}

/** The model of a right file; of a wrong one its mistakes, each on a line. */
export function readModel(file: string): LabModel | undefined {
	const { model, issues } = readLabFile(file);
	for (const issue of issues)
		if (model === undefined && issue.severity === "error") process.stderr.write(`basenji: ${describeFileIssue(file, issue)}\n`);
	return model;
}

export function graph({ file, json }: FileOptions): number {
	const model = readModel(file);
	if (model === undefined) return EXIT_UNMET;
	if (json === true)
		printJson({
			lab: model.name,
			nodes: [...model.nodes.values()].map(({ name, kind }) => ({ name, kind, ...model.layout.get(name) })),
			links: model.links.map((link) => ({ name: link.name, a: link.a, b: link.b, quality: linkDetails(link) })),
		});
	else process.stdout.write(labGraph(model));
	return 0;
}

/** Runs the lab and prints a line for each expectation as it is answered. */
export async function test(options: FileOptions & { clock: "virtual" | "realtime"; captures?: string }): Promise<number> {
	const model = readModel(options.file);
	if (model === undefined) return EXIT_UNMET;
	const beganMs = performance.now();
	await using lab = await openLab(options.file, { clock: options.clock, progress: progressOn(process.stderr) });
	if (options.captures !== undefined)
		for (const name of lab.links.keys())
			lab.capture(name, new CaptureFile(join(options.captures, `${name.replaceAll(/[^\w.-]/g, "_")}.pcapng`)));
	const results = await runChecks(lab, {
		onResult: (result) => {
			if (options.json !== true) process.stdout.write(`${line(result)}\n`);
		},
	});
	const unmet = results.filter(({ isMet }) => !isMet).length;
	const isPassed = unmet === 0 && lab.failures.length === 0;
	const labSeconds = lab.nowNs / 1e9;
	for (const { what, error } of lab.failures)
		process.stderr.write(`basenji: ${what}: ${error instanceof Error ? error.message : String(error)}\n`);
	if (options.json === true) printJson({ lab: model.name, isPassed, labSeconds, results });
	else
		process.stdout.write(
			`${model.name}: ${results.length - unmet} of ${results.length} met, ${labSeconds.toFixed(3)} s of the lab's time in ${((performance.now() - beganMs) / 1000).toFixed(1)} s\n`,
		);
	return isPassed ? 0 : EXIT_UNMET;
}

function line({ text, isMet, found, atNs }: CheckResult): string {
	return `${isMet ? "ok  " : "FAIL"} ${(atNs / 1e9).toFixed(3)}s ${text} (${found})`;
}
