import { receiveError, type SentError, sendError } from "./sent-error.ts";

/** What came of a question, as it crosses from one thread to another. */
export interface SentAnswer<Answer> {
	readonly id: number;
	readonly value?: Answer | undefined;
	/** There is no answer, but this. */
	readonly error?: SentError | undefined;
}

interface Asker<Answer> {
	readonly resolve: (value: Answer) => void;
	readonly reject: (error: Error) => void;
}

/** Questions that have been sent to another thread and wait for their answers. */
export class Questions<Answer> {
	readonly #open = new Map<number, Asker<Answer>>();
	#nextId = 0;

	/** @param send sends the question, with the number that its answer is to bear @throws what the other thread throws */
	ask(send: (id: number) => void): Promise<Answer> {
		return new Promise((resolve, reject) => {
			const id = this.#nextId++;
			this.#open.set(id, { resolve, reject });
			send(id);
		});
	}

	settle({ id, value, error }: SentAnswer<Answer>): void {
		const asker = this.#open.get(id);
		this.#open.delete(id);
		if (error === undefined) asker?.resolve(value as Answer);
		else asker?.reject(receiveError(error));
	}

	/** No more answers will come: this stands for all that are missing. */
	answerAll(value: Answer): void {
		for (const { resolve } of this.#takeAll()) resolve(value);
	}

	/** No more answers will come. */
	refuseAll(error: Error): void {
		for (const { reject } of this.#takeAll()) reject(error);
	}

	#takeAll(): readonly Asker<Answer>[] {
		const askers = [...this.#open.values()];
		this.#open.clear();
		return askers;
	}
}

/** Has what comes of a question sent, be it an answer or an error. */
export async function sendAnswer<Answer>(id: number, work: Promise<Answer>, send: (answer: SentAnswer<Answer>) => void): Promise<void> {
	try {
		send({ id, value: await work });
	} catch (error) {
		send({ id, error: sendError(error) });
	}
}
