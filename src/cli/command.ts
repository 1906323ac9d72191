import { CommanderError } from "commander";
import { boundYoungGeneration } from "../host/node/young-generation.ts";
import { describeFailure, EXIT_OURS } from "./failure.ts";
import { makeProgram } from "./program.ts";

/** Output still on its way to a pipe would be lost with `process.exit`. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
	return new Promise((resolve) => stream.write("", () => resolve()));
}

async function main(argv: readonly string[]): Promise<number> {
	const split = argv.indexOf("--");
	const own = split < 0 ? argv : argv.slice(0, split);
	let code = 0;
	try {
		await makeProgram(split < 0 ? [] : argv.slice(split + 1), (exitCode) => {
			code = exitCode;
		}).parseAsync(own, { from: "user" });
	} catch (error) {
		if (error instanceof CommanderError) return reportUsage(error);
		process.stderr.write(`${describeFailure(error)}\n`);
		return EXIT_OURS;
	}
	return code;
}

/** Help is no error; everything else that commander throws is one line. */
function reportUsage(error: CommanderError): number {
	if (error.exitCode === 0) return 0;
	if (error.code === "commander.help") return EXIT_OURS;
	process.stderr.write(`basenji: ${error.message.replace(/^error: /, "").replaceAll("\n", " ")}\n`);
	return EXIT_OURS;
}

// Whoever reads us may close the pipe early (head, less): that is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
	if (error.code === "EPIPE") process.exit(0);
	throw error;
});
process.on("uncaughtException", (error) => {
	process.stderr.write(`${describeFailure(error)}\n`);
	process.exit(EXIT_OURS);
});

boundYoungGeneration();
const code = await main(process.argv.slice(2));
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
process.exit(code);
