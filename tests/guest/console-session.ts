import { spawn } from "node:child_process";
import { createMachine, type NodeMachineOptions } from "../../src/host/node/machine.ts";
import { Console } from "../../src/vm/console.ts";
import { type BootFiles, qemu } from "./images.ts";

/** A guest's first serial port, whoever runs the guest. */
export interface ConsoleSession extends AsyncDisposable {
	readonly text: string;
	write(text: string): void;
	/** Resolves with what matched behind the last match. Rejects after `timeoutSeconds`, or when the guest ends. */
	waitFor(pattern: RegExp, timeoutSeconds: number): Promise<string>;
	/** Resolves when the guest has ended: with a code of 0 if by itself and in order. */
	finished(timeoutSeconds: number): Promise<number>;
}

export async function basenjiSession(options: NodeMachineOptions): Promise<ConsoleSession> {
	const machine = await createMachine({ onReset: "stop", ...options });
	await machine.start();
	return {
		get text() {
			return machine.console.text;
		},
		write: (text) => machine.console.write(text),
		waitFor: (console, timeout) => machine.waitFor({ console, timeout }),
		finished: async (timeoutSeconds) => {
			const exit = await within(machine.finished(), timeoutSeconds, "the machine's end", () => machine.console.text);
			return exit.reason === "power-off" ? exit.code : 1;
		},
		[Symbol.asyncDispose]: () => machine.stop(),
	};
}

/** The same on QEMU's translator. @param args disks and the like */
export function qemuSession(files: BootFiles, memoryMib: number, args: readonly string[]): ConsoleSession {
	const boot = ["-kernel", files.kernel, "-initrd", files.initrd, "-append", files.append];
	const plain = ["-accel", "tcg", "-m", String(memoryMib), "-nographic", "-no-reboot", "-net", "none"];
	const child = spawn(qemu as string, [...plain, ...boot, ...args], { stdio: ["pipe", "pipe", "inherit"] });
	const target = new Console(0, (bytes) => child.stdin.write(bytes));
	child.stdout.on("data", (bytes: Buffer) => target.receive(bytes));
	const ended = new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? 1)));
	const stopped = ended.then((code) => Promise.reject(new Error(`QEMU ended with ${code}`)));
	stopped.catch(() => {});
	return {
		get text() {
			return target.text;
		},
		write: (text) => target.write(text),
		waitFor: (pattern, timeoutSeconds) =>
			within(
				Promise.race([new Promise<string>((resolve) => target.expect(pattern, resolve)), stopped]),
				timeoutSeconds,
				String(pattern),
				() => target.text,
			),
		finished: (timeoutSeconds) => within(ended, timeoutSeconds, "QEMU's end", () => target.text),
		[Symbol.asyncDispose]: async () => {
			child.kill("SIGKILL");
			await ended;
		},
	};
}

/** @param output what to quote of when it takes too long */
async function within<T>(work: Promise<T>, timeoutSeconds: number, what: string, output: () => string): Promise<T> {
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(
			() => reject(new Error(`${timeoutSeconds} s passed before ${what}; the console ends: ${output().slice(-600)}`)),
			timeoutSeconds * 1000,
		);
	});
	try {
		return await Promise.race([work, late]);
	} finally {
		clearTimeout(timer);
	}
}
