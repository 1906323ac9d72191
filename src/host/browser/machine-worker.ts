/** The worker that a machine lives in: it makes the machine that the first call describes, and carries out the others. */
import { assembleMachine } from "../../vm/create.ts";
import { MachineError } from "../../vm/error.ts";
import type { Machine } from "../../vm/machine.ts";
import { sendError } from "../../vm/sent-error.ts";
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
function forwardEvents(machine: Machine, host: BrowserHost, send: (message: FromWorker) => void): void {
	for (const name of ["state", "reset", "console"] as const)
		machine.on(name, (event) => {
			if (machine.state !== "stopped") send({ kind: "event", name, event });
		});
	machine.on("deviceError", ({ device, error }) => send({ kind: "deviceError", device, error: sendError(error) }));
	machine.on("exit", async ({ reason, code, error }) => {
		const { stats } = machine;
		await host.yield();
		send({ kind: "exit", exit: { reason, code, ...(error === undefined ? {} : { error: sendError(error) }) }, stats });
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
				forwardEvents(machine, host, send);
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
	port.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
		if (data.kind === "input") {
			machine?.consoles[data.port]?.write(data.bytes);
			return;
		}
		const { id, call } = data;
		try {
			send({ kind: "result", id, value: await carryOut(call) });
		} catch (error) {
			send({ kind: "error", id, error: sendError(error) });
		}
	};
}

addEventListener("message", ({ ports: [port] }) => serve(port as MessagePort), { once: true });
