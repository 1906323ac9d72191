import { open, writeFile } from "node:fs/promises";
import { HostError } from "../host/node/host-error.ts";
import { unimplementedReports } from "../machine/device.ts";
import type { Machine } from "../vm/machine.ts";
import type { MachineExit } from "../vm/machine-face.ts";

/** Before anything runs: figures that cannot be written are no reason to fail at the end. @throws HostError `bad-file` */
export async function checkWritable(option: string, path: string): Promise<void> {
	try {
		await (await open(path, "w")).close();
	} catch (error) {
		const { code, message } = error as NodeJS.ErrnoException;
		throw new HostError("bad-file", `${option} ${path}: cannot be written: ${code ?? message}`, { cause: error });
	}
}

export async function writeStats(path: string, machine: Machine, exit: MachineExit): Promise<void> {
	const { engineStats, ...stats } = machine.stats;
	const exits = Object.fromEntries(
		Object.entries(engineStats)
			.filter(([name]) => name.startsWith("exits."))
			.map(([name, count]) => [name.slice("exits.".length), count]),
	);
	const rest = Object.fromEntries(Object.entries(engineStats).filter(([name]) => !name.startsWith("exits.")));
	const report = {
		...stats,
		translatedRegions: 0,
		...rest,
		exits,
		unimplemented: unimplementedReports(),
		exit: { reason: exit.reason, code: exit.code },
		// In kilobytes on every system (Node documentation, process.resourceUsage).
		peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
	};
	await writeFile(path, `${JSON.stringify(report, null, "\t")}\n`);
}
