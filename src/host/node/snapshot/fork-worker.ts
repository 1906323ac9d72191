import { parentPort, threadId, workerData } from "node:worker_threads";
import { SnapshotTree } from "../../../snapshot/tree.ts";
import type { NodeMachineOptions } from "../machine.ts";
import { NodeSnapshotFolder } from "./folder.ts";
import { ForkSlot } from "./fork-slots.ts";

/** What a pool tells its workers first. */
export interface WorkerData {
	readonly options: NodeMachineOptions;
	readonly folder: string;
	readonly reference: string;
	readonly slots: number;
}

/** One request, and its answer under the same number. */
export interface Request {
	readonly number: number;
	readonly slot: number;
	readonly command: string;
	readonly timeout: string;
}

const port = parentPort;
if (port === null) throw new Error("this file is a worker's");
const { options, folder, reference, slots } = workerData as WorkerData;
const tree = await SnapshotTree.open(await NodeSnapshotFolder.open(folder, { isReadOnly: true }));
const places = Array.from({ length: slots }, (_, slot) => {
	// By their names they get addresses of their own in a network.
	const name = `${options.name ?? "machine"}-fork-${threadId}-${slot}`;
	return new ForkSlot({ ...options, name }, tree, reference);
});
port.on("message", (request: Request | "close") => {
	if (request === "close") {
		void Promise.all(places.map((place) => place.close()))
			.then(() => tree.close())
			.then(() => port.close());
		return;
	}
	const { number, slot, command, timeout } = request;
	(places[slot] as ForkSlot).run(command, timeout).then(
		(result) => port.postMessage({ number, result }),
		(error: unknown) =>
			port.postMessage({ number, error: error instanceof Error ? { name: error.name, message: error.message } : String(error) }),
	);
});
port.postMessage("ready");
