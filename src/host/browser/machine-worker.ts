/** The worker that a machine lives in: it makes the machine that the first call describes, and carries out the others. */
import { assembleMachine } from "../../vm/create.ts";
import { MachineError } from "../../vm/error.ts";
import type { Machine } from "../../vm/machine.ts";
import { sendAnswer } from "../../vm/questions.ts";
import { exitEvent, forwardEvents } from "../../vm/remote-machine.ts";
import { BrowserHost } from "./host.ts";
import type { Call, FromWorker, SentOptions, ToWorker } from "./messages.ts";
import { load, loadDisk } from "./sources.ts";

async function create(options: SentOptions, host: BrowserHost): Promise<Machine> {
	const { kernel, initrd, bios, disks, ...rest } = options;
	const image = async (key: string, source: SentOptions["kernel"]) => (source === undefined ? undefined : await load(key, source));
	const [kernelBytes, initrdBytes, biosBytes] = await Promise.all([image("kernel", kernel), image("initrd", initrd), image("bios", bios)]);
	const attached = await Promise.all(
		(disks ?? []).map(async (disk, index) => ({ disk: await loadDisk(index, disk), isIndependent: disk.isIndependent })),
	);
	return assembleMachine({ ...rest, kernel: kernelBytes, initrd: initrdBytes, bios: biosBytes, disks: attached }, host);
}

/** Carries a machine's events to the page; its end comes last, behind the answers to whatever brought it about. */
function watch(machine: Machine, host: BrowserHost, send: (message: FromWorker) => void): void {
	forwardEvents(machine, send);
	machine.on("state", ({ state }) => {
		if (state !== "stopped") send({ kind: "state", state });
	});
	machine.on("exit", async (exit) => {
		const end = exitEvent(machine, exit);
		await host.yield();
		send(end);
	});
}

function serve(port: MessagePort): void {
	const send = (message: FromWorker): void => port.postMessage(message);
	const host = new BrowserHost(true);
	let machine: Machine | undefined;
	const made = (): Machine => {
		if (machine === undefined) throw new MachineError("state", "there is no machine yet");
		return machine;
	};
	const carryOut = async (call: Call): Promise<unknown> => {
		switch (call.name) {
			case "create":
				machine = await create(call.options, host);
				watch(machine, host, send);
				return { name: machine.name, consoleCount: machine.consoles.length };
			case "stats":
				return made().stats;
			case "snapshot":
				return made().snapshot(call.options);
			case "restore":
				return made().restore(call.reference, call.options);
			case "removeSnapshot":
				return made().removeSnapshot(call.reference, call.withChildren);
			default:
				return made()[call.name]();
		}
	};
	port.onmessage = ({ data }: MessageEvent<ToWorker>) => {
		if (data.kind === "input") machine?.consoles[data.port]?.write(data.bytes);
		else void sendAnswer(data.id, carryOut(data.call), (answer) => send({ kind: "answer", ...answer }));
	};
}

addEventListener("message", ({ ports: [port] }) => serve(port as MessagePort), { once: true });
