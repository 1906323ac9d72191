/**
 * Runs every test and says at the very end, on one line: N passed, N failed, N skipped.
 * Arguments go on to vitest: files, -t NAME, --project unit.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

interface Assertion {
	readonly status: "passed" | "failed" | "skipped" | "pending" | "todo" | "disabled";
	readonly fullName: string;
	readonly failureMessages: readonly string[];
}

/** As much of vitest's JSON report as counts. */
interface Report {
	readonly testResults: readonly {
		readonly name: string;
		readonly status: string;
		readonly message: string;
		readonly assertionResults: readonly Assertion[];
	}[];
}

interface Counts {
	readonly passed: number;
	readonly failed: number;
	readonly skipped: number;
}

const root = fileURLToPath(new URL("..", import.meta.url));

function count(report: Report): Counts {
	let [passed, failed, skipped] = [0, 0, 0];
	for (const file of report.testResults) {
		const statuses = file.assertionResults.map(({ status }) => status);
		passed += statuses.filter((status) => status === "passed").length;
		skipped += statuses.filter((status) => status !== "passed" && status !== "failed").length;
		const failures = statuses.filter((status) => status === "failed").length;
		// A file that does not even load has no tests that could have failed.
		failed += failures === 0 && file.status === "failed" ? 1 : failures;
	}
	return { passed, failed, skipped };
}

async function main(args: readonly string[]): Promise<number> {
	const directory = await mkdtemp(join(tmpdir(), "basenji-tests-"));
	const reportFile = join(directory, "report.json");
	try {
		const vitest = join(root, "node_modules/vitest/vitest.mjs");
		const child = spawn(
			process.execPath,
			[vitest, "run", "--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`, ...args],
			{
				cwd: root,
				stdio: "inherit",
			},
		);
		const code = await new Promise<number>((resolve, reject) => {
			child.on("error", reject);
			child.on("close", (exitCode) => resolve(exitCode ?? 1));
		});
		const report = await readFile(reportFile, "utf8").catch(() => undefined);
		const { passed, failed, skipped } = report === undefined ? { passed: 0, failed: 1, skipped: 0 } : count(JSON.parse(report) as Report);
		// vitest also fails for errors outside of any test.
		const broken = code !== 0 && failed === 0 ? 1 : failed;
		process.stdout.write(`${passed} passed, ${broken} failed, ${skipped} skipped\n`);
		return broken === 0 ? 0 : 1;
	} finally {
		await rm(directory, { recursive: true, force: true });
	}
}

process.exitCode = await main(process.argv.slice(2));
