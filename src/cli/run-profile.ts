import { readFile, writeFile } from "node:fs/promises";
import { HostError } from "../host/node/host-error.ts";
import { UsageError } from "./failure.ts";
import type { RunOptions } from "./run-options.ts";
import { checkWritable } from "./run-stats.ts";

/** Begins to watch where the host's time goes, if the options ask for it. @throws HostError, UsageError before anything runs */
export async function beginProfile({ profile, symbols }: RunOptions): Promise<{ end(): Promise<void> } | undefined> {
	if (profile === undefined) {
		if (symbols !== undefined) throw new UsageError("--symbols needs --profile");
		return undefined;
	}
	await checkWritable("--profile", profile);
	const [{ CpuProfiler }, { renderReport, reportOf }, { SymbolTable }] = await Promise.all([
		import("../host/node/profile/cpu-profile.ts"),
		import("../host/node/profile/report.ts"),
		import("../host/node/profile/symbols.ts"),
	]);
	const table = symbols === undefined ? undefined : SymbolTable.parse(await readText(symbols), symbols);
	const profiler = new CpuProfiler();
	await profiler.start();
	return {
		async end() {
			const report = reportOf(await profiler.stop(), table);
			await writeFile(profile, `${JSON.stringify(report, null, "\t")}\n`);
			process.stderr.write(renderReport(report));
		},
	};
}

async function readText(path: string): Promise<string> {
	try {
		return await readFile(path, "latin1");
	} catch (error) {
		const { code, message } = error as NodeJS.ErrnoException;
		throw new HostError("not-found", `--symbols ${path}: cannot be read: ${code ?? message}`, { cause: error });
	}
}
