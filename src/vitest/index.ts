import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type TestAPI, test } from "vitest";
import { CaptureFile } from "../host/node/lab/capture-file.ts";
import { type OpenLabOptions, openLab } from "../host/node/lab/open.ts";
import type { LabDraft } from "../lab/draft.ts";
import { GuestShell } from "../lab/guest-shell.ts";
import type { Lab } from "../lab/lab.ts";
import type { LabModel } from "../lab/model.ts";

export interface LabTestOptions extends OpenLabOptions {
	/** `test` (the default): a lab of its own for each test. `file`: one that all tests of a file share, one after another. */
	readonly scope?: "test" | "file";
	/** Where a failed test's consoles and captures are kept; `.basenji/failures` by default. */
	readonly keep?: string;
}

export interface LabFixtures {
	/** The lab, put together and not started: `lab.run({ until })` and shells start it. */
	readonly lab: Lab;
	/** Types at a guest's console: `const { code, output } = await shell("a")("ping -c 1 10.0.0.2")`. */
	readonly shell: (machine: string) => (command: string) => Promise<{ readonly code: number; readonly output: string }>;
}

interface Bench {
	readonly lab: Lab;
	readonly captures: readonly CaptureFile[];
	readonly shells: Map<string, GuestShell>;
}

/**
 * vitest's `test` with a lab: from its file, or a draft.
 *
 * ```ts
 * const draft = lab("pair");
 * draft.link(draft.add(vm("a", { image: "default", ip: "10.0.0.1/24" })), draft.add(vm("b", { image: "default", ip: "10.0.0.2/24" })), "lte");
 *
 * labTest(draft)("a reaches b", async ({ shell }) => {
 * 	const { output } = await shell("a")("ping -c 3 10.0.0.2");
 * 	expect(output).toContain("3 packets received");
 * });
 * ```
 * Every link is recorded. When a test fails, captures and consoles are kept, and the failure says where.
 */
export function labTest(source: string | LabDraft | LabModel, options: LabTestOptions = {}): TestAPI<LabFixtures> {
	const { scope = "test", keep = join(".basenji", "failures"), ...open } = options;
	return test.extend<LabFixtures & { readonly labBench: Bench }>({
		labBench: [
			// biome-ignore lint/correctness/noEmptyPattern: vitest reads out of this pattern which fixtures are used
			async ({}, use) => {
				const directory = await mkdtemp(join(tmpdir(), "basenji-lab-"));
				try {
					await using lab = await openLab(source, open);
					const captures = [...lab.links.keys()].map((name) => new CaptureFile(join(directory, `${fileName(name)}.pcapng`)));
					for (const [index, name] of [...lab.links.keys()].entries()) lab.capture(name, captures[index] as CaptureFile);
					await use({ lab, captures, shells: new Map() });
				} finally {
					await rm(directory, { recursive: true, force: true });
				}
			},
			{ scope },
		],
		lab: async ({ labBench: bench, task }, use) => {
			await use(bench.lab);
			if (task.result?.state !== "fail") return;
			const kept = await keepFailure(bench, join(keep, fileName(task.name)));
			process.stderr.write(`${task.name}: captures and consoles are in ${kept}\n`);
		},
		shell: async ({ labBench: bench, lab }, use) => {
			await use((machine) => (command) => {
				let shell = bench.shells.get(machine);
				if (shell === undefined) {
					shell = new GuestShell(lab, machine);
					bench.shells.set(machine, shell);
				}
				return shell.run(command);
			});
		},
	}) as unknown as TestAPI<LabFixtures>;
}

function fileName(name: string): string {
	return name.replaceAll(/[^\w.-]+/g, "_");
}

/** Copies what there is by now. */
async function keepFailure({ lab, captures }: Bench, target: string): Promise<string> {
	await mkdir(target, { recursive: true });
	for (const { name, machine } of lab.runtime.machines.values()) await writeFile(join(target, `${name}.console`), machine.console.text);
	for (const capture of captures) {
		capture.flush();
		await copyFile(capture.path, join(target, basename(capture.path)));
	}
	return target;
}
