import type { Console } from "./console.ts";
import { MachineError } from "./error.ts";
import type { Sleep } from "./host.ts";
import type { MachineExit, WaitCondition } from "./machine-face.ts";
import { parseDuration } from "./quantity.ts";

/** A machine as whoever waits for its output sees it. */
export interface Awaited {
	readonly name: string;
	readonly consoles: readonly Console[];
	/** How it ended, once it has. */
	readonly endedBy: MachineExit["reason"] | undefined;
	onExit(listener: (exit: MachineExit) => void): () => void;
	sleep(delayNs: number): Sleep;
}

/**
 * Resolves with the text that matched, as soon as the guest has printed it.
 * @throws MachineError `config`; `timeout`; `exited` if the machine ends first
 */
export function waitForConsole(machine: Awaited, condition: WaitCondition): Promise<string> {
	const timeoutNs = condition.timeout === undefined ? Number.POSITIVE_INFINITY : parseDuration(condition.timeout);
	const target = machine.consoles[condition.port ?? 0];
	if (timeoutNs === undefined)
		throw new MachineError("config", `timeout: a time such as "60s" is wanted, not ${String(condition.timeout)}`);
	if (target === undefined) throw new MachineError("config", `port: there is no serial port ${condition.port ?? 0}`);
	return new Promise((resolve, reject) => {
		const timer = machine.sleep(timeoutNs);
		let isSettled = false;
		const settle = (end: () => void): void => {
			if (isSettled) return;
			isSettled = true;
			giveUp();
			offExit();
			timer.wake();
			end();
		};
		const fail = (kind: "timeout" | "exited", what: string) =>
			settle(() =>
				reject(
					new MachineError(kind, `${machine.name}: ${what} before ${condition.console} appeared; last line: ${lastLine(target.text)}`),
				),
			);
		let giveUp = (): void => {};
		const offExit = machine.onExit((exit) => fail("exited", `ended (${exit.reason})`));
		giveUp = target.expect(condition.console, (match) => settle(() => resolve(match)));
		if (isSettled) return;
		if (machine.endedBy !== undefined) fail("exited", `ended (${machine.endedBy})`);
		else void timer.done.then(() => fail("timeout", `${condition.timeout} passed`));
	});
}

function lastLine(text: string): string {
	const lines = text.split("\n").map((line) => line.trim());
	return JSON.stringify(lines.findLast((line) => line !== "") ?? "");
}
