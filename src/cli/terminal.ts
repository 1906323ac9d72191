import type { Console } from "../vm/console.ts";
import type { Machine } from "../vm/machine.ts";
import { formatSize } from "../vm/quantity.ts";

const CTRL_RIGHT_BRACKET = 0x1d;
const CTRL_C = 0x03;

interface TerminalStreams {
	readonly input: NodeJS.ReadStream;
	readonly output: NodeJS.WriteStream;
}

/** A person at a terminal: keys go to the guest, but for Ctrl-], which opens a menu. */
export class Terminal {
	readonly #machine: Machine;
	readonly #console: Console;
	readonly #streams: TerminalStreams;
	readonly #isRaw: boolean;
	#isMenuOpen = false;
	#isInRawMode = false;
	readonly #restore = (): void => this.#leaveRawMode();
	readonly #onData = (bytes: Buffer): void => this.#read(bytes);
	readonly #offConsole: () => void;

	/**
	 * @param port which of the machine's consoles
	 * @param isInteractive raw mode and the menu; else bytes just pass
	 */
	constructor(
		machine: Machine,
		port: number,
		isInteractive: boolean,
		streams: TerminalStreams = { input: process.stdin, output: process.stdout },
	) {
		this.#machine = machine;
		this.#console = machine.consoles[port] as Console;
		this.#streams = streams;
		this.#isRaw = isInteractive && streams.input.isTTY === true;
		this.#offConsole = machine.on("console", (event) => {
			if (event.port === port) streams.output.write(event.bytes);
		});
	}

	/** Begins to read keys. Whatever ends this process, short of SIGKILL, the terminal is put right again. */
	open(): void {
		const { input } = this.#streams;
		if (this.#isRaw) {
			process.on("exit", this.#restore);
			input.setRawMode(true);
			this.#isInRawMode = true;
		}
		input.on("data", this.#onData);
		input.resume();
	}

	close(): void {
		this.#offConsole();
		this.#streams.input.off("data", this.#onData);
		this.#streams.input.pause();
		this.#leaveRawMode();
		process.off("exit", this.#restore);
	}

	/** Says something of ours between the guest's lines. */
	say(text: string): void {
		this.#streams.output.write(`\r\n[basenji] ${text}\r\n`);
	}

	#leaveRawMode(): void {
		if (!this.#isInRawMode) return;
		this.#isInRawMode = false;
		this.#streams.input.setRawMode(false);
		// The guest may have left colours on, the cursor hidden, or mouse reports on.
		this.#streams.output.write("\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b[?2004l");
	}

	#read(bytes: Buffer): void {
		if (!this.#isRaw) {
			this.#console.write(bytes);
			return;
		}
		let rest: Uint8Array = bytes;
		while (rest.length > 0) {
			if (this.#isMenuOpen) {
				this.#choose(rest[0] as number);
				rest = rest.subarray(1);
				continue;
			}
			const at = rest.indexOf(CTRL_RIGHT_BRACKET);
			const plain = at < 0 ? rest : rest.subarray(0, at);
			if (plain.length > 0) this.#console.write(plain);
			if (at < 0) return;
			this.#openMenu();
			rest = rest.subarray(at + 1);
		}
	}

	#openMenu(): void {
		this.#isMenuOpen = true;
		const pause = this.#machine.state === "paused" ? "z resume" : "z pause";
		this.say(`p power button · ${pause} · i info · q quit · Ctrl-] send Ctrl-] · any other key: back`);
	}

	#choose(key: number): void {
		this.#isMenuOpen = false;
		const machine = this.#machine;
		switch (key) {
			case 0x70:
				if (machine.state === "running") {
					machine.pressPowerButton();
					this.say("power button pressed");
				} else this.say(`the machine is ${machine.state}: resume it first`);
				return;
			case 0x7a:
				void this.#togglePause();
				return;
			case 0x69:
				this.#sayInfo();
				return;
			case 0x71:
			case CTRL_C:
				this.say("quit");
				void machine.stop();
				return;
			case CTRL_RIGHT_BRACKET:
				this.#console.write(Uint8Array.of(CTRL_RIGHT_BRACKET));
				return;
			default:
				this.say("back to the guest");
		}
	}

	async #togglePause(): Promise<void> {
		const machine = this.#machine;
		if (machine.state === "running") await machine.pause();
		else if (machine.state === "paused") await machine.resume();
		this.say(machine.state === "paused" ? "paused; Ctrl-] z goes on" : machine.state);
	}

	#sayInfo(): void {
		const { stats, state } = this.#machine;
		const mips = stats.wallSeconds > stats.idleSeconds ? stats.guestInstructions / (stats.wallSeconds - stats.idleSeconds) / 1e6 : 0;
		this.say(
			[
				`${state}, ${stats.engine}, ${stats.cpus} CPU, ${formatSize(stats.memoryBytes)}`,
				`up ${stats.guestSeconds.toFixed(1)} s, ${(stats.guestInstructions / 1e6).toFixed(0)} M instructions, ${mips.toFixed(0)} MIPS while busy`,
				`idle ${((100 * stats.idleSeconds) / Math.max(stats.wallSeconds, 0.001)).toFixed(0)} %, resets ${stats.resets}`,
			].join("; "),
		);
	}
}
