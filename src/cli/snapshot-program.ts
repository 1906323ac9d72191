import { type Command, InvalidArgumentError } from "commander";
import type { CreateOptions } from "./machine-command.ts";
import { addNetOptions } from "./net-options.ts";
import { option } from "./option.ts";
import { collect, parseDisk, parseWhole, timeLike } from "./run-options.ts";

const json = () => option("--json", "print JSON");
const stepClock = () => option("--step-clock", "set its clock chip to the host's time of now; the guest reads it with hwclock -s");
interface Json {
	readonly json?: boolean;
}

function parseCount(text: string): number {
	if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError("a whole number from 1 up is wanted.");
	return Number(text);
}

/**
 * Machines that have a name, and the verbs of time on them. What they do is loaded when it is asked for.
 * @param command what stood behind "--"
 */
export function addMachines(program: Command, command: readonly string[], onExit: (code: number) => void): void {
	const machines = () => import("./machine-command.ts");
	const create = program
		.command("create")
		.description("make a machine that has a name and keeps its snapshots")
		.argument("<name>")
		.argument("[image]", "an image; without one, and without --kernel or --bios: default")
		.addOption(option("--kernel <file>", "boot this Linux kernel directly"))
		.addOption(option("--initrd <file>", "its initial RAM disk"))
		.addOption(option("--append <text>", "its command line (added to the image's, if there is an image)"))
		.addOption(option("--bios <file>", "boot through this firmware"))
		.addOption(option("--disk <file>", "as for run; repeatable").argParser(collect(parseDisk)))
		.addOption(option("--memory <size>", "RAM, such as 512M"))
		.addOption(option("--cpus <n>", "virtual processors").argParser(parseWhole))
		.addOption(option("--engine <name>", "what runs the guest's code").choices(["auto", "translate", "interpret", "kvm"]))
		.addOption(
			option("--autosnapshot <time>", "take a snapshot by itself that often (10m); old ones are thinned out").argParser(timeLike("10m")),
		)
		.addOption(json())
		.action(async (name: string, image: string | undefined, options: CreateOptions) => (await machines()).createHome(name, image, options));
	addNetOptions(create);
	onName(program, "start", "start a machine in the background, or have a suspended one go on", async (name, options) =>
		(await machines()).startHome(name, options),
	);
	program
		.command("stop")
		.description("press a machine's power button; with --force pull the plug")
		.argument("<name>")
		.addOption(option("--force", "do not ask the guest"))
		.addOption(json())
		.action(async (name: string, options: Json & { force?: boolean }) => (await machines()).stopHome(name, options));
	program
		.command("ls")
		.description("list machines that have a name")
		.addOption(json())
		.action(async (options: Json) => (await machines()).listHomes(options));
	program
		.command("rm")
		.description("remove machines with all their snapshots")
		.argument("<names...>")
		.addOption(json())
		.action(async (names: string[], options: Json) => (await machines()).removeHomes(names, options));
	program
		.command("console")
		.description("sit down at a running machine's first serial port; Ctrl-] leaves it")
		.argument("<name>")
		.action(async (name: string) => onExit(await (await machines()).attachConsole(name)));
	program
		.command("host-machine", { hidden: true })
		.argument("<name>")
		.action(async (name: string) => onExit(await (await machines()).hostMachine(name)));
	addTime(program, command, onExit);
}

/** A verb that wants a machine's name and nothing more. */
function onName(program: Command, verb: string, what: string, act: (name: string, options: Json) => Promise<void>): void {
	program.command(verb).description(what).argument("<name>").addOption(json()).action(act);
}

function addTime(program: Command, command: readonly string[], onExit: (code: number) => void): void {
	const load = () => import("./snapshot-command.ts");
	program
		.command("snapshot")
		.description("fix what a running machine is now: memory, processors, devices, disks")
		.argument("<name>", "NAME, or NAME@SNAPSHOT to give it a name")
		.addOption(option("-m, --message <note>", "what to remember about it"))
		.addOption(json())
		.action(async (name: string, options: Json & { message?: string }) => (await load()).takeSnapshot(name, options));
	onName(program, "tree", "show a machine's snapshots, and where it is", async (name, options) => (await load()).showTree(name, options));
	program
		.command("restore")
		.description("put a machine back to a snapshot, and have it go on from there")
		.argument("<name@snapshot>", "without @SNAPSHOT: where it is")
		.addOption(option("--discard", "do not keep what it is now in an automatic snapshot first"))
		.addOption(stepClock())
		.addOption(json())
		.action(async (name: string, options: Json & { discard?: boolean; stepClock?: boolean }) =>
			(await load()).restoreSnapshot(name, options),
		);
	program
		.command("rmsnap")
		.description("remove snapshots; those that follow from them stay")
		.argument("<name@snapshot...>")
		.addOption(option("--children", "and all that follow from them"))
		.addOption(json())
		.action(async (names: string[], options: Json & { children?: boolean }) => (await load()).removeSnapshots(names, options));
	program
		.command("fork")
		.description("make running copies of a machine that share what is alike; with a command: run it in each and end")
		.argument("<name@snapshot>", "without @SNAPSHOT: as it is now")
		.usage("[options] <name[@snapshot]> [-- command...]")
		.addOption(option("-n, --count <n>", "how many (1)").argParser(parseCount).default(1, "1"))
		.addOption(option("--alive <n>", "with a command: how many at a time (8)").argParser(parseCount).default(8, "8"))
		.addOption(option("--full", "copy disks and memory instead of sharing files"))
		.addOption(option("--keep-mac", "keep the network card's address: each fork is alone behind its NAT"))
		.addOption(stepClock())
		.addOption(json())
		.action(
			async (name: string, options: Json & { count: number; alive: number; full?: boolean; keepMac?: boolean; stepClock?: boolean }) =>
				onExit(await (await load()).forkMachines(name, command, options)),
		);
	program
		.command("diff")
		.description("say which files (of ext2, ext3, ext4) or else blocks differ between two snapshots, and how much memory")
		.argument("<name@snapshot>")
		.argument("[snapshot]", "the other one; without it: where the machine is")
		.addOption(option("--blocks", "list blocks, too, where there are files to list"))
		.addOption(json())
		.action(async (name: string, other: string | undefined, options: Json & { blocks?: boolean }) =>
			(await load()).showDifference(name, other, options),
		);
	onName(program, "undo", "go back to the last snapshot, then to those before; redo comes forward again", async (name, options) =>
		(await load()).undoOrRedo("undo", name, options),
	);
	onName(program, "redo", "take the last undo back", async (name, options) => (await load()).undoOrRedo("redo", name, options));
	onName(program, "pause", "stop a machine's time", async (name, options) => (await load()).pause(name, options));
	onName(program, "resume", "let a paused or suspended machine go on", async (name, options) => (await load()).resume(name, options));
	onName(program, "suspend", "put a machine away into a file; start or resume has it go on", async (name, options) =>
		(await load()).suspend(name, options),
	);
	program
		.command("export")
		.description("write a snapshot with all it needs into one file")
		.argument("<name@snapshot>")
		.argument("<file>")
		.addOption(json())
		.action(async (name: string, file: string, options: Json) => (await load()).exportSnapshotTo(name, file, options));
	program
		.command("import")
		.description("make a machine from such a file: it begins where the snapshot was")
		.argument("<file>")
		.argument("<name>")
		.addOption(json())
		.action(async (file: string, name: string, options: Json) => (await load()).importMachine(file, name, options));
}
