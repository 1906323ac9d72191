/** The thread that a machine of a lab lives on. */
import { parentPort, workerData } from "node:worker_threads";
import { assembleMachine } from "../../../../vm/create.ts";
import type { Machine } from "../../../../vm/machine.ts";
import { sendAnswer } from "../../../../vm/questions.ts";
import { exitEvent, forwardEvents } from "../../../../vm/remote-machine.ts";
import { sendError } from "../../../../vm/sent-error.ts";
import { tuneWebAssembly } from "../../wasm-tuning.ts";
import type { FromThread, GuestVerb, ThreadData, ToThread } from "./messages.ts";
import { DiskLine, RemoteDisk } from "./remote-disk.ts";
import { ThreadCards } from "./thread-cards.ts";
import { ThreadHost } from "./thread-host.ts";

/** How old the statistics are that the lab shows, at most. */
const STATS_MS = 250;

const port = parentPort;
if (port === null) throw new Error("this file is a worker's");
const data = workerData as ThreadData;
const send = (message: FromThread): void => port.postMessage(message);
const host = new ThreadHost(new Int32Array(data.cells));
const line = new DiskLine((id, request) => send({ kind: "disk", id, request }));
const cards = new ThreadCards(data, () => send({ kind: "frames" }));

function make(): Machine {
	const { startWallMs } = data;
	const disks = data.disks.map((facts, index) => ({
		disk: new RemoteDisk(line, index, facts),
		bus: facts.bus,
		isIndependent: facts.isIndependent,
	}));
	const nics = data.cards.map((card, index) => ({ ...card, port: cards.ports[index] as (typeof cards.ports)[number] }));
	if (startWallMs !== undefined) {
		const beganMs = host.wallMs();
		host.wallMs = () => startWallMs + Date.now() - beganMs;
	}
	return assembleMachine({ ...data.machine, nics, disks }, host);
}

function watch(machine: Machine): void {
	host.onBell = () => {
		if (machine.state === "running") machine.post(() => cards.take());
	};
	forwardEvents(machine, send);
	const timer = setInterval(() => send({ kind: "stats", stats: machine.stats }), STATS_MS).unref();
	machine.on("exit", (exit) => {
		clearInterval(timer);
		send(exitEvent(machine, exit));
	});
}

async function carryOut(machine: Machine, verb: GuestVerb): Promise<void> {
	// What has come while it stood still.
	if (verb === "start" || verb === "resume") cards.take();
	// It may have ended, and the lab not have heard of it.
	if (machine.state === "stopped" || (verb === "pause" && machine.exit !== undefined)) return;
	await machine[verb]();
}

function serve(machine: Machine): void {
	port?.on("message", (message: ToThread) => {
		if (message.kind === "input") machine.consoles[message.port]?.write(message.bytes);
		else if (message.kind === "disk") line.answer(message);
		else void sendAnswer(message.id, carryOut(machine, message.verb), (answer) => send({ kind: "answer", ...answer }));
	});
}

tuneWebAssembly();
try {
	const machine = make();
	watch(machine);
	serve(machine);
	send({ kind: "ready" });
} catch (error) {
	send({ kind: "broken", error: sendError(error) });
}
