import { MachineError } from "../../vm/error.ts";
import { Questions } from "../../vm/questions.ts";
import type { Call, FromWorker, ToWorker } from "./messages.ts";

/** What comes from a worker unasked. */
export type WorkerNews = Exclude<FromWorker, { readonly kind: "answer" }>;

/** A page's end of the line to a machine's worker: calls with their answers, and what comes unasked. */
export class MachineWorker {
	readonly #name: string;
	readonly #worker: Worker;
	readonly #port: MessagePort;
	readonly #questions = new Questions<unknown>();
	#isEnded = false;
	onNews: (news: WorkerNews) => void = () => {};
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
			this.#questions.refuseAll(error);
			this.onFailure(error);
		};
		this.#worker.postMessage(undefined, [port2]);
	}

	/** @throws what the worker throws; MachineError `exited` when the machine has ended */
	call(call: Call): Promise<unknown> {
		if (this.#isEnded) return Promise.reject(this.#gone(call.name));
		return this.#questions.ask((id) => this.#send({ kind: "call", id, call }));
	}

	input(port: number, bytes: Uint8Array): void {
		this.#send({ kind: "input", port, bytes });
	}

	terminate(): void {
		this.#isEnded = true;
		this.#worker.terminate();
		this.#port.close();
		this.#questions.refuseAll(this.#gone("an answer"));
	}

	#gone(what: string): MachineError {
		return new MachineError("exited", `${this.#name}: the machine had ended before ${what} could be had`);
	}

	#send(message: ToWorker): void {
		this.#port.postMessage(message);
	}

	#receive(message: FromWorker): void {
		if (message.kind === "answer") this.#questions.settle(message);
		else this.onNews(message);
	}
}
