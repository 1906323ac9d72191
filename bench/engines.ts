import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type Bits, BOOT, C_PROGRAMS, compilePrograms, type Guest } from "./guest.ts";

/** Seconds by program. */
export type Timings = Map<string, number>;

export interface RunLimits {
	readonly timeoutMs: number;
	/** What is counted: time as it passes, or what the emulator's threads had of a processor, for hosts that do other things too. */
	readonly clock: "wall" | "cpu";
}

export interface Engine {
	readonly name: string;
	readonly bits: Bits;
	/** Why it cannot run here; undefined: it can. */
	readonly missing: string | undefined;
	/** All programs in one guest; then, in another, nothing but boot and power-off. */
	run(guest: Guest, limits: RunLimits): Promise<Timings>;
}

const local = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** What an emulator is started with, to boot `initrd`. */
type CommandOf = (guest: Guest, initrd: string) => readonly string[];

class Emulator implements Engine {
	readonly name: string;
	readonly bits: Bits;
	readonly missing: string | undefined;
	readonly #commandOf: CommandOf;

	constructor(name: string, bits: Bits, missing: string | undefined, commandOf: CommandOf) {
		this.name = name;
		this.bits = bits;
		this.missing = missing;
		this.#commandOf = commandOf;
	}

	async run(guest: Guest, limits: RunLimits): Promise<Timings> {
		const timings: Timings = new Map();
		const wholeSeconds = await watch(this.#commandOf(guest, guest.bootInitrd), limits, timings);
		if (wholeSeconds !== undefined) timings.set(BOOT, wholeSeconds);
		await watch(this.#commandOf(guest, guest.initrd), limits, timings);
		return timings;
	}
}

const POWERED_OFF = /reboot: (Power down|System halted)/;

/**
 * Runs a command and times what stands between its "BENCH name begin" and "BENCH name end" lines, by this host's clock.
 * Returns the seconds until it had powered off; undefined if it never did.
 */
export function watch(command: readonly string[], limits: RunLimits, timings: Timings): Promise<number | undefined> {
	return new Promise((resolve) => {
		const startMs = limits.clock === "wall" ? performance.now() : 0;
		const child = spawn(command[0] as string, command.slice(1), { stdio: ["ignore", "pipe", "ignore"] });
		const begun = new Map<string, number>();
		let offSeconds: number | undefined;
		let text = "";
		const timer = setTimeout(() => child.kill("SIGKILL"), limits.timeoutMs);
		child.stdout.setEncoding("latin1");
		child.stdout.on("data", (chunk: string) => {
			const nowMs = limits.clock === "wall" ? performance.now() : processorMs(child.pid as number);
			text += chunk;
			for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
				const line = text.slice(0, end);
				text = text.slice(end + 1);
				const [, name, what] = /BENCH (\S+) (begin|end)/.exec(line) ?? [];
				if (name !== undefined && what === "begin") begun.set(name, nowMs);
				else if (name !== undefined && begun.has(name)) timings.set(name, (nowMs - (begun.get(name) as number)) / 1000);
				if (!POWERED_OFF.test(line) || offSeconds !== undefined) continue;
				offSeconds = (nowMs - startMs) / 1000;
				// It ends by itself now; one that does not know how is helped.
				setTimeout(() => child.kill("SIGKILL"), 2000).unref();
			}
		});
		child.on("error", () => resolve(undefined));
		child.on("close", () => {
			clearTimeout(timer);
			resolve(offSeconds);
		});
	});
}

/** What all threads of a process have run so far (Linux's /proc/PID/task/TID/schedstat, in nanoseconds). */
function processorMs(pid: number): number {
	let ns = 0;
	for (const thread of readdirSync(`/proc/${pid}/task`)) {
		try {
			ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
		} catch {
			// It has ended meanwhile.
		}
	}
	return ns / 1e6;
}

/** The host's own processor, as a measure of what there is to lose. */
class Native implements Engine {
	readonly name = "native";
	readonly bits: Bits;
	readonly missing = undefined;
	readonly #folder: string;

	constructor(bits: Bits, folder: string) {
		this.bits = bits;
		this.#folder = folder;
	}

	async run(_guest: Guest, limits: RunLimits): Promise<Timings> {
		const timings: Timings = new Map();
		const binary = compilePrograms(this.bits, this.#folder);
		for (const program of C_PROGRAMS) await watch([binary, program], limits, timings);
		return timings;
	}
}

function isInstalled(program: string): string | undefined {
	return spawnSync(program, ["--version"]).error === undefined ? undefined : `${program} is not installed`;
}

function qemu(bits: Bits): Engine {
	const program = bits === 64 ? "qemu-system-x86_64" : "qemu-system-i386";
	return new Emulator(`QEMU TCG ${bits === 64 ? "x86-64" : "i386"}`, bits, isInstalled(program), (guest, initrd) => [
		...[program, "-accel", "tcg", "-m", String(guest.memoryMib), "-display", "none", "-no-reboot", "-nodefaults"],
		...["-serial", "stdio", "-monitor", "none", "-kernel", guest.kernel, "-initrd", initrd, "-append", guest.append],
	]);
}

/** Firmware that v86 needs; Debian's package seabios has both. */
const BIOS = "/usr/share/seabios/bios.bin";
const VGA_BIOS = "/usr/share/seabios/vgabios-stdvga.bin";

function v86(): Engine {
	let missing: string | undefined;
	try {
		createRequire(import.meta.url).resolve("v86");
	} catch {
		missing = "the npm package v86 is not installed";
	}
	if (!existsSync(BIOS) || !existsSync(VGA_BIOS)) missing = `v86 needs ${BIOS} and ${VGA_BIOS} (Debian's seabios)`;
	return new Emulator("v86", 32, missing, (guest, initrd) => [
		process.execPath,
		local("v86-guest.ts"),
		JSON.stringify({ bios: BIOS, vgaBios: VGA_BIOS, kernel: guest.kernel, initrd, append: guest.append, memoryMib: guest.memoryMib }),
	]);
}

function basenji(bits: Bits, engine: string): Engine {
	const name = engine === "auto" ? "Basenji" : `Basenji ${engine}`;
	return new Emulator(name, bits, undefined, (guest, initrd) => [
		...[process.execPath, local("../src/cli/main.ts"), "run", "--engine", engine, "--memory", `${guest.memoryMib}M`],
		...["--kernel", guest.kernel, "--initrd", initrd, "--append", guest.append, "--serial", "stdio"],
	]);
}

/** Engines by the name a person types: native, qemu, v86, basenji, basenji:ENGINE. @throws RangeError */
export function openEngines(names: readonly string[], sizes: readonly Bits[], folder: string): Engine[] {
	return sizes.flatMap((bits) =>
		names.flatMap((name): Engine[] => {
			if (name === "native") return [new Native(bits, folder)];
			if (name === "qemu") return [qemu(bits)];
			if (name === "v86") return bits === 32 ? [v86()] : [];
			if (name === "basenji") return [basenji(bits, "auto")];
			if (name.startsWith("basenji:")) return [basenji(bits, name.slice("basenji:".length))];
			throw new RangeError(`no engine called ${name}: native, qemu, v86, basenji, basenji:interpret, basenji:translate`);
		}),
	);
}
