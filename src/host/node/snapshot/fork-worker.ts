import { parentPort, threadId, workerData } from "node:worker_threads";
import { SnapshotTree } from "../../../snapshot/tree.ts";
import { MachineError } from "../../../vm/error.ts";
import { sendAnswer } from "../../../vm/questions.ts";
import { HostError } from "../host-error.ts";
import type { NodeMachineOptions } from "../machine.ts";
import { NodeSnapshotFolder } from "./folder.ts";
import { type ForkResult, ForkSlot } from "./fork-slots.ts";

/** What a pool tells its workers first. */
export interface WorkerData {
	readonly options: NodeMachineOptions;
	readonly folder: string;
	readonly reference: string;
	readonly slots: number;
}

/** One request, and its answer under the same number. */
export interface Request {
	readonly id: number;
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
async function run(place: ForkSlot, command: string, timeout: string): Promise<ForkResult> {
	try {
		return await place.run(command, timeout);
	} catch (error) {
		// Of this host's own errors the other thread would know no more than the name.
		if (error instanceof HostError) throw new MachineError("unavailable", error.message, { cause: error });
		throw error;
	}
}

port.on("message", (request: Request | "close") => {
	if (request === "close") {
		void Promise.all(places.map((place) => place.close()))
			.then(() => tree.close())
			.then(() => port.close());
		return;
	}
	const { id, slot, command, timeout } = request;
	void sendAnswer(id, run(places[slot] as ForkSlot, command, timeout), (answer) => port.postMessage(answer));
});
port.postMessage("ready");
