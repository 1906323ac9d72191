import { MachineError } from "../../vm/error.ts";
import { receiveError } from "../../vm/sent-error.ts";
import type { Call, FromWorker, ToWorker } from "./messages.ts";

/** A page's end of the line to a machine's worker: calls with their answers, and what comes unasked. */
export class MachineWorker {
	readonly #name: string;
	readonly #worker: Worker;
	readonly #port: MessagePort;
	readonly #open = new Map<number, { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }>();
	#nextId = 0;
	#isEnded = false;
	/** Gets everything that is no answer. */
	onMessage: (message: FromWorker) => void = () => {};
	/** The worker itself has failed: nothing more comes from it. */
	onFailure: (error: Error) => void = () => {};

	constructor(name: string) {
		this.#name = name;
		const { port1, port2 } = new MessageChannel();
		this.#port = port1;
		port1.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
		this.#worker = new Worker(new URL("./machine-worker.ts", import.meta.url), { type: "module", name });
		this.#worker.onerror = (event) => {
			const what = event.message ? `: ${event.message}` : " (its script did not load)";
			const error = new MachineError("engine", `${name}: the machine's worker failed${what}`, { cause: event.error });
			for (const { reject } of this.#open.values()) reject(error);
			this.#open.clear();
			this.onFailure(error);
		};
		this.#worker.postMessage(undefined, [port2]);
	}

	/** @throws what the worker throws; MachineError `exited` when the machine has ended */
	call(call: Call): Promise<unknown> {
		if (this.#isEnded) return Promise.reject(this.#gone(call.name));
		return new Promise((resolve, reject) => {
			const id = this.#nextId++;
			this.#open.set(id, { resolve, reject });
			this.#send({ kind: "call", id, call });
		});
	}

	input(port: number, bytes: Uint8Array): void {
		this.#send({ kind: "input", port, bytes });
	}

	terminate(): void {
		this.#isEnded = true;
		this.#worker.terminate();
		this.#port.close();
		for (const { reject } of this.#open.values()) reject(this.#gone("an answer"));
		this.#open.clear();
	}

	#gone(what: string): MachineError {
		return new MachineError("exited", `${this.#name}: the machine had ended before ${what} could be had`);
	}

	#send(message: ToWorker): void {
		this.#port.postMessage(message);
	}

	#receive(message: FromWorker): void {
		if (message.kind !== "result" && message.kind !== "error") {
			this.onMessage(message);
			return;
		}
		const asked = this.#open.get(message.id);
		this.#open.delete(message.id);
		if (message.kind === "result") asked?.resolve(message.value);
		else asked?.reject(receiveError(message.error));
	}
}
