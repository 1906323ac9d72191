import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Bits, Guest } from "./guest.ts";
import { residentBeyondRam } from "./resident.ts";

/** How often memory is looked at. */
const SAMPLE_MS = 1000;
/** Characters. */
const MAX_COMPLAINTS = 10_000;

/** Seconds by program. */
export type Timings = Map<string, number>;

export interface RunLimits {
	readonly timeoutMs: number;
	/** What is counted: time as it passes, or what the emulator's threads had of a processor, for hosts that do other things too. */
	readonly clock: "wall" | "cpu";
}

/** What came of one guest. */
export interface Observed {
	readonly timings: Timings;
	/** The most that the emulator's process had in memory besides the guest's RAM, looked at once a second. */
	readonly beyondRamBytes: number | undefined;
	/** The first that the emulator had to complain about. */
	readonly complaint?: string | undefined;
}

/** What a command took, and said on standard error. */
interface Watched {
	readonly wholeSeconds: number | undefined;
	readonly beyondRamBytes: number | undefined;
	readonly complaint: string | undefined;
}

export interface Engine {
	readonly name: string;
	readonly bits: Bits;
	/** Why it cannot run here; undefined: it can. */
	readonly missing: string | undefined;
	run(guest: Guest, limits: RunLimits): Promise<Observed>;
}

const local = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** What an emulator is started with for a guest. */
type CommandOf = (guest: Guest) => readonly string[];

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

	async run(guest: Guest, limits: RunLimits): Promise<Observed> {
		const timings: Timings = new Map();
		const { wholeSeconds, ...rest } = await watch(this.#commandOf(guest), limits, timings, guest);
		if (wholeSeconds !== undefined && guest.whole !== undefined) timings.set(guest.whole, wholeSeconds);
		return { timings, ...rest };
	}
}

const POWERED_OFF = /reboot: (Power down|System halted)/;

/**
 * Runs a command and times what stands between its "BENCH name begin" and "BENCH name end" lines, by this host's clock, and its
 * whole life up to power-off, or up to the text that the guest ends with.
 */
export function watch(command: readonly string[], limits: RunLimits, timings: Timings, guest?: Guest): Promise<Watched> {
	return new Promise((resolve) => {
		const startMs = limits.clock === "wall" ? performance.now() : 0;
		const child = spawn(command[0] as string, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
		let complaints = "";
		child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
			if (complaints.length < MAX_COMPLAINTS) complaints += chunk;
		});
		const begun = new Map<string, number>();
		let wholeSeconds: number | undefined;
		let beyondRamBytes: number | undefined;
		let text = "";
		const timer = setTimeout(() => child.kill("SIGKILL"), limits.timeoutMs);
		const sampler = setInterval(() => {
			if (guest === undefined || child.pid === undefined) return;
			const bytes = residentBeyondRam(child.pid, guest.memoryMib * 1024 ** 2);
			if (bytes !== undefined) beyondRamBytes = Math.max(beyondRamBytes ?? 0, bytes);
		}, SAMPLE_MS);
		child.stdout.setEncoding("latin1");
		child.stdout.on("data", (chunk: string) => {
			const nowMs = limits.clock === "wall" ? performance.now() : processorMs(child.pid as number);
			const ends = (): void => {
				if (wholeSeconds !== undefined) return;
				wholeSeconds = (nowMs - startMs) / 1000;
				// It ends by itself now; one that does not know how is helped.
				setTimeout(() => child.kill("SIGKILL"), guest?.until === undefined ? 2000 : 0).unref();
			};
			text += chunk;
			for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
				const line = text.slice(0, end);
				text = text.slice(end + 1);
				const [, name, what] = /BENCH (\S+) (begin|end)/.exec(line) ?? [];
				if (name !== undefined && what === "begin") begun.set(name, nowMs);
				else if (name !== undefined && begun.has(name)) timings.set(name, (nowMs - (begun.get(name) as number)) / 1000);
				if (guest?.until === undefined && POWERED_OFF.test(line)) ends();
			}
			// A prompt ends no line.
			if (guest?.until?.test(text) === true) ends();
		});
		const finish = (): void => {
			clearTimeout(timer);
			clearInterval(sampler);
			resolve({ wholeSeconds, beyondRamBytes, complaint: complaints.split("\n").find((line) => line.trim() !== "") });
		};
		child.on("error", finish);
		child.on("close", finish);
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

	constructor(bits: Bits) {
		this.bits = bits;
	}

	async run(guest: Guest, limits: RunLimits): Promise<Observed> {
		const timings: Timings = new Map();
		for (const command of guest.native ?? []) await watch(command, limits, timings);
		return { timings, beyondRamBytes: undefined };
	}
}

function isInstalled(program: string): string | undefined {
	return spawnSync(program, ["--version"]).error === undefined ? undefined : `${program} is not installed`;
}

function qemu(bits: Bits): Engine {
	const program = bits === 64 ? "qemu-system-x86_64" : "qemu-system-i386";
	return new Emulator(`QEMU TCG ${bits === 64 ? "x86-64" : "i386"}`, bits, isInstalled(program), (guest) => [
		...[program, "-accel", "tcg", "-m", String(guest.memoryMib), "-display", "none", "-no-reboot", "-nodefaults"],
		...["-serial", "stdio", "-monitor", "none", "-kernel", guest.kernel, "-initrd", guest.initrd, "-append", guest.append],
		...(guest.disk === undefined ? [] : ["-drive", `file=${guest.disk},format=raw,if=virtio,snapshot=on`]),
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
	return new Emulator("v86", 32, missing, (guest) => [
		process.execPath,
		local("v86-guest.ts"),
		JSON.stringify({
			bios: BIOS,
			vgaBios: VGA_BIOS,
			kernel: guest.kernel,
			initrd: guest.initrd,
			append: guest.append,
			memoryMib: guest.memoryMib,
		}),
	]);
}

function basenji(bits: Bits, engine: string): Engine {
	const name = engine === "auto" ? "Basenji" : `Basenji ${engine}`;
	return new Emulator(name, bits, undefined, (guest) => [
		...[process.execPath, local("../src/cli/basenji.js"), "run", "--engine", engine, "--memory", `${guest.memoryMib}M`],
		...["--kernel", guest.kernel, "--initrd", guest.initrd, "--append", guest.append, "--serial", "stdio"],
		...(guest.disk === undefined ? [] : ["--disk", `${guest.disk},format=raw,mode=nonpersistent`]),
	]);
}

/** Engines by the name a person types: native, qemu, v86, basenji, basenji:ENGINE. @throws RangeError */
export function openEngines(names: readonly string[], sizes: readonly Bits[]): Engine[] {
	return sizes.flatMap((bits) =>
		names.flatMap((name): Engine[] => {
			if (name === "native") return [new Native(bits)];
			if (name === "qemu") return [qemu(bits)];
			if (name === "v86") return bits === 32 ? [v86()] : [];
			if (name === "basenji") return [basenji(bits, "auto")];
			if (name.startsWith("basenji:")) return [basenji(bits, name.slice("basenji:".length))];
			throw new RangeError(`no engine called ${name}: native, qemu, v86, basenji, basenji:interpret, basenji:translate`);
		}),
	);
}
