import { readFile } from "node:fs/promises";
import { DEFAULT_IMAGE, findRecipe } from "../host/node/image/recipes.ts";
import { imageFile, type StoredImage } from "../host/node/image/store.ts";
import { createMachine, type NodeMachineOptions } from "../host/node/machine.ts";
import type { UserNetwork } from "../host/node/net/user-network.ts";
import { progressOn } from "../host/node/progress.ts";
import { readConfig } from "../vm/config.ts";
import type { Machine } from "../vm/machine.ts";
import type { MachineExit } from "../vm/machine-face.ts";
import { LONGEST_TIMER_MS } from "../vm/sleep.ts";
import { EXIT_OURS, EXIT_TIMEOUT, UsageError } from "./failure.ts";
import { networkOf } from "./net-options.ts";
import { sayDeviceErrors, sayResets } from "./notices.ts";
import type { RunOptions, SerialTarget } from "./run-options.ts";
import { beginProfile } from "./run-profile.ts";
import { checkWritable, writeStats } from "./run-stats.ts";
import { connectSerial, type SerialEndpoint } from "./serial-endpoints.ts";
import { Terminal } from "./terminal.ts";

/** What the guest is there for. */
type Purpose = "interactive" | "check" | "command";

export interface RunRequest {
	readonly image: string | undefined;
	/** What stood behind "--". */
	readonly command: readonly string[];
	readonly options: RunOptions;
}

/** A guest that tries every address there is shall not flood the terminal. */
const MAX_DENIALS_TOLD = 20;

/** Signals that end us: the machine is stopped first (its disks flushed), then the shell sees the usual code. */
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129, SIGQUIT: 131 } as const;

/** COM1 to COM4. */
const MAX_SERIAL_PORTS = 4;

/** `basenji run`: one machine in the foreground. Resolves with the exit code. */
export async function run(request: RunRequest): Promise<number> {
	const { options } = request;
	checkTogether(request);
	const purpose = purposeOf(request);
	if (options.stats !== undefined) await checkWritable("--stats", options.stats);
	const profile = await beginProfile(options);
	const network = await openNetwork(options);
	const machine = await createMachine({
		...(await machineOptions(request, purpose)),
		...(network === undefined ? {} : { nics: [network.nic] }),
	});
	const targets = consoleTargets(options);
	const endpoints: SerialEndpoint[] = [];
	let terminal: Terminal | undefined;
	let verdict: number | undefined;
	const decide = (code: number): void => {
		verdict ??= code;
		void machine.stop();
	};
	const offSignals = onSignals(decide);
	try {
		await network?.attach(machine);
		for (const [port, target] of targets.entries()) endpoints.push(await connectSerial(machine, port, target));
		const terminalPort = targets.findIndex(({ kind }) => kind === "stdio");
		if (terminalPort >= 0) terminal = openTerminal(machine, terminalPort, purpose, options);
		if (options.until !== undefined) machine.console.expect(options.until, () => decide(0));
		sayResets(machine);
		sayDeviceErrors(machine);
		await machine.start();
		const timer =
			options.timeout === undefined ? undefined : setTimeout(() => decide(EXIT_TIMEOUT), Math.min(options.timeout / 1e6, LONGEST_TIMER_MS));
		const exit = await machine.finished();
		clearTimeout(timer);
		terminal?.close();
		// After a failure of ours nothing is decided: the layers stay.
		if (exit.reason !== "failed" && options.disk.length > 0) await (await import("./disk-end.ts")).endDisks(options.disk);
		if (options.stats !== undefined) await writeStats(options.stats, machine, exit);
		await profile?.end();
		return exitCode(exit, verdict, purpose, options);
	} finally {
		terminal?.close();
		offSignals();
		await machine.stop();
		network?.[Symbol.dispose]();
		for (const endpoint of endpoints) await endpoint.close();
	}
}

/** Rules are checked here, before anything is downloaded. What policy keeps in is told once for each protocol and place. */
async function openNetwork(options: RunOptions): Promise<UserNetwork | undefined> {
	const network = networkOf(options);
	if (network === undefined) return undefined;
	const { UserNetwork } = await import("../host/node/net/user-network.ts");
	const told = new Set<string>();
	return new UserNetwork({
		...network,
		onDenied: ({ protocol, to }) => {
			const what = protocol === "dns" ? `the name ${to}` : `${protocol} ${to}`;
			if (told.has(what) || told.size >= MAX_DENIALS_TOLD) return;
			told.add(what);
			process.stderr.write(`basenji: kept the guest from ${what}; let it out with, say, --allow "any internet"\n`);
		},
	});
}

function checkTogether({ image, command, options }: RunRequest): void {
	const isOwnBoot = options.kernel !== undefined || options.bios !== undefined;
	if (isOwnBoot && image !== undefined)
		throw new UsageError(`image ${image} and --${options.kernel === undefined ? "bios" : "kernel"} exclude each other`);
	if (isOwnBoot && command.length > 0)
		throw new UsageError("a command needs an image: with --kernel or --bios nobody in the guest knows of it");
	if (options.kernel !== undefined && options.bios !== undefined) throw new UsageError("--kernel and --bios exclude each other");
	if (options.bios !== undefined && (options.initrd !== undefined || options.append !== undefined))
		throw new UsageError("--initrd and --append need --kernel: firmware does not take them");
	if (options.initrd !== undefined && options.kernel === undefined) throw new UsageError("--initrd needs --kernel");
	if (consoleTargets(options).filter(({ kind }) => kind === "stdio").length > 1)
		throw new UsageError("stdio can be at the other end of one console only");
	if (options.serial.length > MAX_SERIAL_PORTS) throw new UsageError(`--serial: a PC has at most ${MAX_SERIAL_PORTS} serial ports`);
	if (options.until !== undefined && serialTargets(options).length === 0) throw new UsageError("--until needs a serial port");
}

function purposeOf({ image, command, options }: RunRequest): Purpose {
	if (command.length > 0) return "command";
	const isOwnBoot = options.kernel !== undefined || options.bios !== undefined;
	const hasPerson = process.stdin.isTTY === true && process.stdout.isTTY === true;
	// Whoever names the console or a text to wait for knows what to do without a terminal.
	const isAskedFor = options.serial.length > 0 || options.hvc !== undefined || options.until !== undefined;
	const isBusybox = !isOwnBoot && findRecipe(image ?? DEFAULT_IMAGE).kind === "busybox";
	return isBusybox && !hasPerson && !isAskedFor ? "check" : "interactive";
}

/** With none given: the terminal, if the virtio console has not got it. */
function serialTargets(options: RunOptions): readonly SerialTarget[] {
	return options.serial.length > 0 ? options.serial : [{ kind: options.hvc?.kind === "stdio" ? "none" : "stdio" }];
}

/** The other ends of the machine's consoles: its serial ports, then the virtio console. */
function consoleTargets(options: RunOptions): readonly SerialTarget[] {
	return [...serialTargets(options), ...(options.hvc === undefined ? [] : [options.hvc])];
}

async function machineOptions({ image, command, options }: RunRequest, purpose: Purpose): Promise<NodeMachineOptions> {
	const common: NodeMachineOptions = {
		engine: options.engine,
		translateAfter: options.translateAfter,
		profile: options.profile !== undefined,
		serialPorts: serialTargets(options).length,
		virtioConsole: options.hvc !== undefined,
		debugExit: options.debugExit || purpose !== "interactive",
		// A guest that is to answer by its exit code must not start over instead.
		onReset: options.reboot && purpose === "interactive" ? "reboot" : "stop",
		...(options.memory === undefined ? {} : { memory: options.memory }),
		...(options.cpus === undefined ? {} : { cpus: options.cpus }),
	};
	if (options.bios !== undefined) return { ...common, bios: options.bios, disks: options.disk };
	if (options.kernel !== undefined)
		return { ...common, kernel: options.kernel, initrd: options.initrd, append: options.append ?? "", disks: options.disk };
	// What is wrong with the options is said before anything is downloaded.
	readConfig({ ...common, kernel: new Uint8Array(1) });
	const { ensureImage } = await import("../host/node/image/build.ts");
	const stored = await ensureImage(findRecipe(image ?? DEFAULT_IMAGE), { progress: progressOn(process.stderr) });
	const disks: NonNullable<NodeMachineOptions["disks"]> = [
		...stored.manifest.disks.map((disk) => ({ path: imageFile(stored, disk.file), mode: "nonpersistent" as const })),
		...options.disk,
	];
	return {
		...common,
		memory: common.memory ?? Math.max(stored.manifest.memoryBytes, 256 * 1024 ** 2),
		kernel: imageFile(stored, stored.manifest.kernel),
		initrd: purpose === "command" ? await withCommand(stored, command) : imageFile(stored, stored.manifest.initrd),
		append: appendText(stored, purpose, options),
		disks: purpose === "check" && disks.length === 0 ? [{ disk: (await import("./scratch-disk.ts")).scratchDisk() }] : disks,
	};
}

async function withCommand(image: StoredImage, command: readonly string[]): Promise<Uint8Array> {
	if (!image.manifest.isSelfChecking) throw new UsageError(`image ${image.manifest.name} takes no command; its console is where to type`);
	const { commandArchive } = await import("../host/node/image/initramfs.ts");
	const initrd = await readFile(imageFile(image, image.manifest.initrd));
	// The kernel takes an uncompressed archive for one only where it begins at a multiple of four (Linux, init/initramfs.c).
	return Buffer.concat([initrd, new Uint8Array(-initrd.length & 3), commandArchive(command)]);
}

function appendText(image: StoredImage, purpose: Purpose, options: RunOptions): string {
	const words = [image.manifest.append];
	if (purpose === "check") words.push("panic=-1", "basenji.check");
	else if (purpose === "command") words.push("panic=-1", "quiet");
	else if (process.stdout.isTTY === true) {
		const { rows, columns } = process.stdout;
		// Some terminals do not know their size.
		if (rows > 0 && columns > 0) words.push(`basenji.rows=${rows}`, `basenji.columns=${columns}`);
		const term = process.env.TERM ?? "";
		if (/^[\w.+-]+$/.test(term)) words.push(`TERM=${term}`);
	}
	if (options.net?.kind === "nat") words.push("basenji.dhcp");
	if (options.append !== undefined) words.push(options.append);
	return words.join(" ");
}

function openTerminal(machine: Machine, port: number, purpose: Purpose, options: RunOptions): Terminal {
	const isInteractive = process.stdin.isTTY === true && process.stdout.isTTY === true;
	const terminal = new Terminal(machine, port, isInteractive);
	const isFed = purpose === "interactive" && (isInteractive || [...options.serial, options.hvc].some((target) => target?.kind === "stdio"));
	if (isFed || (purpose === "command" && isInteractive)) terminal.open();
	if (isInteractive && purpose === "interactive") terminal.say("Ctrl-] opens a menu");
	return terminal;
}

function onSignals(decide: (code: number) => void): () => void {
	const listeners = Object.entries(SIGNAL_CODES).map(([signal, code]) => {
		const listener = (): void => decide(code);
		process.on(signal as NodeJS.Signals, listener);
		return () => process.off(signal as NodeJS.Signals, listener);
	});
	return () => {
		for (const off of listeners) off();
	};
}

function exitCode(exit: MachineExit, verdict: number | undefined, purpose: Purpose, options: RunOptions): number {
	if (exit.reason === "failed") throw exit.error;
	if (verdict === EXIT_TIMEOUT) process.stderr.write("basenji: time is up\n");
	if (verdict !== undefined) return verdict;
	if (exit.reason === "triple-fault") process.stderr.write("basenji: the guest triple-faulted\n");
	if (options.until !== undefined) {
		process.stderr.write(`basenji: the guest ended (${exit.reason}) before it printed ${JSON.stringify(options.until)}\n`);
		return exit.code === 0 ? 1 : exit.code;
	}
	// A check or a command ends in power-off or by the debug port; a reset is a kernel that gave up.
	if (purpose !== "interactive" && exit.reason === "reset") {
		process.stderr.write("basenji: the guest reset itself before it was done\n");
		return EXIT_OURS;
	}
	return exit.code;
}
