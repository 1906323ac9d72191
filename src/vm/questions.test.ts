import { expect, test } from "vitest";
import { MachineError } from "./error.ts";
import { Questions, sendAnswer } from "./questions.ts";

test("answers find their questions by number, in whatever order they come; errors keep their class", async () => {
	const questions = new Questions<string>();
	const sent: number[] = [];
	const asked = [1, 2, 3].map(() => questions.ask((id) => sent.push(id)));
	const cross = (id: number, work: Promise<string>) => sendAnswer(id, work, (answer) => questions.settle(structuredClone(answer)));
	await cross(sent[2] as number, Promise.resolve("third"));
	await cross(sent[0] as number, Promise.resolve("first"));
	await cross(sent[1] as number, Promise.reject(new MachineError("timeout", "60s passed")));
	expect(await Promise.allSettled(asked)).toMatchObject([
		{ value: "first" },
		{ reason: { name: "MachineError", kind: "timeout", message: "60s passed" } },
		{ value: "third" },
	]);
	// An answer to nothing, or a second one, is nobody's.
	questions.settle({ id: 99, value: "late" });
});

test("when no more answers will come, all that are missing are given at once", async () => {
	const questions = new Questions<number>();
	const ended = [questions.ask(() => {}), questions.ask(() => {})];
	questions.answerAll(7);
	expect(await Promise.all(ended)).toEqual([7, 7]);
	const refused = questions.ask(() => {});
	questions.refuseAll(new Error("gone"));
	await expect(refused).rejects.toThrow("gone");
});

test("an answer that cannot be sent is an error that can", async () => {
	const questions = new Questions<unknown>();
	const asked = questions.ask((id) => {
		void sendAnswer(
			id,
			Promise.resolve(() => {}),
			(answer) => questions.settle(structuredClone(answer)),
		);
	});
	await expect(asked).rejects.toMatchObject({ name: "DataCloneError" });
});
