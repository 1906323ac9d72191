import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { LabDraft } from "../../../lab/draft.ts";
import { type CaptureSink, Lab } from "../../../lab/lab.ts";
import type { LabModel } from "../../../lab/model.ts";
import { createLabRuntime } from "../../../lab/run/lab-runtime.ts";
import { type LabFile, parseLabText, readLabText } from "../../../labfile/lab-file.ts";
import type { HostNetwork } from "../../../net/nat/host-network.ts";
import type { Clock } from "../../../net/time.ts";
import { NodeHost } from "../host.ts";
import { HostError } from "../host-error.ts";
import { nodeNetwork } from "../net/node-network.ts";
import type { Progress } from "../progress.ts";
import { tuneWebAssembly } from "../wasm-tuning.ts";
import { CaptureFile } from "./capture-file.ts";
import { checkLabMemory, MachineFiles } from "./machine-files.ts";
import { TapDevice } from "./tap.ts";
import { NodeThreads } from "./threads/node-threads.ts";

export interface OpenLabOptions {
	/** What the lab does not say itself; `virtual` by default. */
	readonly clock?: "virtual" | "realtime";
	/** What relative file names start from; by default the lab file's directory, or this process's. */
	readonly directory?: string;
	/** Where NATs lead to; the host's own network by default. A function gets the lab's clock. */
	readonly network?: HostNetwork | ((clock: Clock) => HostNetwork);
	/** Instead of the file that a capture names. */
	readonly capture?: (file: string) => CaptureSink;
	readonly progress?: Progress;
}

function readText(path: string): string {
	try {
		return readFileSync(path, "utf8");
	} catch (error) {
		const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
		throw new HostError(
			isMissing ? "not-found" : "bad-file",
			isMissing ? `${path}: no such lab file` : `${path}: ${(error as Error).message}`,
			{
				cause: error,
			},
		);
	}
}

/** Reads files that a lab file names, from its own directory. */
function neighbour(path: string): (file: string) => string | undefined {
	return (file) => {
		try {
			return readFileSync(resolve(dirname(path), file), "utf8");
		} catch {
			return undefined;
		}
	};
}

/** What stands in a lab file, right or wrong. @throws HostError when it cannot be read at all */
export function readLabFile(path: string): LabFile {
	return readLabText(readText(path), path, { readText: neighbour(path) });
}

/**
 * Puts a lab together: from its file, a draft, or what was read of one. Nothing runs yet.
 * @throws LabError with a line for every mistake; HostError, MachineError, DiskError
 */
export async function openLab(source: string | LabDraft | LabModel, options: OpenLabOptions = {}): Promise<Lab> {
	const directory = options.directory ?? (typeof source === "string" ? dirname(resolve(source)) : process.cwd());
	const model =
		typeof source === "string"
			? parseLabText(readText(source), source, { readText: neighbour(source) })
			: source instanceof LabDraft
				? source.read({ readText: neighbour(resolve(directory, "lab.yaml")) })
				: source;
	tuneWebAssembly();
	const threads = new NodeThreads();
	const host = new NodeHost(threads.bell);
	const time = model.clock ?? options.clock ?? "virtual";
	const files = new MachineFiles({ directory, ...(options.progress === undefined ? {} : { progress: options.progress }) });
	const sizes = new Map<string, number>();
	const taps = new Map<string, TapDevice>();
	try {
		for (const node of model.nodes.values()) if (node.kind === "tap") taps.set(node.name, await openTap(node.device, time));
		const runtime = createLabRuntime({ name: model.name, seed: model.seed, time, host, threads });
		const { network = nodeNetwork } = options;
		return await Lab.create(model, runtime, {
			machineSpec: async (node) => {
				const spec = await files.spec(node, model);
				sizes.set(node.name, Number(spec.memory));
				checkLabMemory(model, sizes);
				return spec;
			},
			network: typeof network === "function" ? network(runtime.clock) : network,
			tap: ({ name }) => (taps.get(name) as TapDevice).jack,
			closed: () => {
				for (const tap of taps.values()) tap.close();
			},
			capture: options.capture ?? ((file) => new CaptureFile(file === "-" ? file : resolve(directory, file))),
			...(time === "realtime" ? { epochNs: BigInt(host.wallMs()) * 1_000_000n } : {}),
		});
	} catch (error) {
		for (const tap of taps.values()) tap.close();
		await files.close();
		throw error;
	}
}

function openTap(device: string | undefined, time: "virtual" | "realtime"): Promise<TapDevice> {
	if (time === "realtime") return TapDevice.open(device);
	throw new HostError("unsupported", `tap ${device ?? ""}: the host's network has no virtual time; clock: realtime`);
}
