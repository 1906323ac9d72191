import type { Ns } from "../base/units.ts";
import type { Lab } from "./lab.ts";

export interface ShellResult {
	readonly code: number;
	readonly output: string;
}

export class GuestShellError extends Error {
	override readonly name = "GuestShellError";
}

/** A shell may ask the terminal where its cursor is (ECMA-48, DSR) behind its prompt, and the kernel may have its say after both. */
const PROMPT = new RegExp(`[#$] (?:${"\u001b"}\\[6n|$)`);
const LOGIN = /login: ?$/;
const TAIL_CHARACTERS = 400;

/**
 * Types commands at a guest's console, one after another, and reads what they print. The console has to end at a shell or
 * at a login that takes `root` without a password. The lab runs meanwhile, and stands still afterwards.
 */
export class GuestShell {
	readonly #lab: Lab;
	readonly #name: string;
	#isReady = false;
	#commands = 0;

	constructor(lab: Lab, machine: string) {
		this.#lab = lab;
		this.#name = machine;
	}

	/** @param withinNs lab time @throws GuestShellError when it takes longer, or the machine ends */
	async run(command: string, withinNs: Ns = 60e9): Promise<ShellResult> {
		await this.#ready(withinNs);
		const { console } = this.#lab.machine(this.#name).machine;
		const mark = `b${++this.#commands}`;
		let found: string | undefined;
		// Split in two where it is typed, so that the echo of the line is not taken for its output.
		const end = console.expect(new RegExp(`<${mark}<\\r?\\n[\\s\\S]*?>${mark}>\\d+`), (match) => {
			found = match;
		});
		console.write(`echo "<${mark}""<"; ${command}\necho ">${mark}"">$?"\n`);
		await this.#until(() => found !== undefined, withinNs, command, end);
		const parts = new RegExp(`^<${mark}<\\r?\\n([\\s\\S]*)>${mark}>(\\d+)$`).exec(found ?? "");
		const lines = (parts?.[1] ?? "").replaceAll("\r", "").split("\n");
		// The prompt with the second line's echo stands between the command's output and its status.
		const output = lines.filter((line) => !line.includes(`">${mark}"">$?"`)).join("\n");
		return { code: Number(parts?.[2] ?? 1), output };
	}

	async #ready(withinNs: Ns): Promise<void> {
		if (this.#isReady) return;
		const { console } = this.#lab.machine(this.#name).machine;
		const tail = (): string => console.text.slice(-TAIL_CHARACTERS);
		await this.#until(() => PROMPT.test(tail()) || LOGIN.test(tail()), Math.max(withinNs, 300e9), "a prompt");
		if (LOGIN.test(tail())) {
			console.write("root\n");
			await this.#until(() => PROMPT.test(tail()), withinNs, "a prompt behind the login");
		}
		this.#isReady = true;
	}

	async #until(isDone: () => boolean, withinNs: Ns, what: string, giveUp: () => void = () => {}): Promise<void> {
		const { machine } = this.#lab.machine(this.#name);
		const isOver = (): boolean => isDone() || machine.state === "stopped";
		await this.#lab.run({ until: this.#lab.nowNs + withinNs, isDone: isOver });
		if (isDone()) return;
		giveUp();
		const why = machine.state === "stopped" ? "the machine has ended" : `${withinNs / 1e9} s of its time have passed`;
		throw new GuestShellError(`${this.#name}: ${what}: ${why}; last line: ${lastLine(machine.console.text)}`);
	}
}

function lastLine(text: string): string {
	return JSON.stringify(text.trimEnd().split("\n").at(-1) ?? "");
}
