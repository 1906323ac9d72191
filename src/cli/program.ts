import { Command } from "commander";
import { RECIPES } from "../host/node/image/recipes.ts";
import { addDisk } from "./disk-program.ts";
import { addLab } from "./lab-program.ts";
import { addNetOptions } from "./net-options.ts";
import { option } from "./option.ts";
import { collect, notYet, onlyNone, parseDisk, parseSerial, parseTimeout, parseWhole, type RunOptions } from "./run-options.ts";
import { addMachines } from "./snapshot-program.ts";

/**
 * The command line. `onExit` gets the exit code of whatever was asked for.
 * @param command what stood behind "--": commander would take its first word for an image
 */
export function makeProgram(command: readonly string[], onExit: (code: number) => void): Command {
	const program = new Command("basenji")
		.description("virtual PCs in TypeScript: x86 and x86-64 in WebAssembly")
		.exitOverride()
		.showHelpAfterError(false)
		.configureOutput({ outputError: () => {} });
	addRun(program, command, onExit);
	addImage(program);
	addDisk(program, onExit);
	addLab(program, onExit);
	addMachines(program, command, onExit);
	program
		.command("doctor")
		.description("say what this host can do, and what it lacks")
		.addOption(option("--json", "print JSON"))
		.action(async ({ json }: { json?: boolean }) => onExit((await import("./doctor.ts")).doctor(json === true)));
	return program;
}

function addRun(program: Command, command: readonly string[], onExit: (code: number) => void): void {
	const run = program
		.command("run")
		.description("run a machine in the foreground; its changes to an image are not kept")
		.argument("[image]", `an image (${RECIPES.map(({ name }) => name).join(", ")}); without one, and without --kernel or --bios: default`)
		.usage("[options] [image] [-- command...]")
		.addOption(option("--kernel <file>", "boot this Linux kernel directly"))
		.addOption(option("--initrd <file>", "its initial RAM disk"))
		.addOption(option("--append <text>", "its command line (added to the image's, if there is an image)"))
		.addOption(
			option(
				"--disk <file>",
				"FILE[,format=raw|qcow2|vmdk|vhd|vhdx][,mode=persistent|nonpersistent|undoable|independent][,end=keep|commit|discard][,bus=virtio|ide]; repeatable",
			).argParser(collect(parseDisk)),
		)
		.addOption(option("--cdrom <file>", "insert this CD").argParser(notYet("--cdrom", "CD drives are")))
		.addOption(option("--floppy <file>", "insert this floppy disk").argParser(notYet("--floppy", "floppy drives are")))
		.addOption(option("--bios <file>", "boot through this firmware"))
		.addOption(option("--memory <size>", "RAM, such as 512M"))
		.addOption(option("--cpus <n>", "virtual processors").argParser(parseWhole))
		.addOption(option("--engine <name>", "what runs the guest's code").choices(["auto", "translate", "interpret", "kvm"]).default("auto"))
		.addOption(
			option("--translate-after <runs>", "how often a block of code runs before it is translated (1: at once)").argParser(parseWhole),
		)
		.addOption(option("--display <kind>", "none, vnc=:1 or web").argParser(onlyNone("--display", "displays are")))
		.addOption(
			option("--serial <target>", "stdio, none, file=FILE or tcp=:PORT (on the loopback interface); repeatable: COM1, COM2, …").argParser(
				collect(parseSerial),
			),
		)
		.addOption(option("--hvc <target>", "a virtio console (hvc0) with this at its other end, as for --serial").argParser(parseSerial))
		.addOption(option("--debug-exit", "a byte written to port 0xF4 ends the run with that code"))
		.addOption(option("--no-reboot", "end when the guest resets or triple-faults, instead of starting it over"))
		.addOption(option("--until <text>", "end with 0 as soon as the first serial port has printed this"))
		.addOption(option("--timeout <time>", "end with 124 after, say, 60s").argParser(parseTimeout))
		.addOption(option("--stats <file>", "write figures of the run to this file, as JSON"))
		.addOption(option("--profile <file>", "write where the host's time went to this file, as JSON, and print it"))
		.addOption(option("--symbols <file>", "names for the guest's addresses in the profile, as nm and System.map list them"))
		.action(async (image: string | undefined, parsed: Record<string, unknown>) => {
			const options = { disk: [], debugExit: false, ...parsed, serial: withoutNone(parsed.serial) } as unknown as RunOptions;
			// The machine and all that is in it is loaded for this command only.
			const { run } = await import("./run.ts");
			onExit(await run({ image, command, options }));
		});
	addNetOptions(run);
}

/** "none" means no other end, and keeps its place among the ports. */
function withoutNone(serial: unknown): unknown {
	return serial ?? [];
}

function addImage(program: Command): void {
	const images = () => import("./image-command.ts");
	const image = program.command("image").description("guest images, made from Debian packages");
	image
		.command("ls")
		.description("list images, those that could be built included")
		.addOption(option("--json", "print JSON"))
		.action(async ({ json }: { json?: boolean }) => (await images()).listImages(json === true));
	image
		.command("build")
		.description("build images, replacing older ones")
		.argument("[names...]", "which", ["default"])
		.addOption(option("--include <packages>", "further packages for debian-full, separated by commas").argParser((text) => text.split(",")))
		.addOption(option("--disk-size <size>", "size of debian-full's disk (4G)"))
		.addOption(option("--json", "print JSON"))
		.action(async (names: string[], parsed: { json?: boolean; include?: string[]; diskSize?: string }) =>
			(await images()).buildImages(names, { ...parsed, json: parsed.json === true }),
		);
	image
		.command("rm")
		.description("remove images")
		.argument("<names...>", "which")
		.addOption(option("--json", "print JSON"))
		.action(async (names: string[], { json }: { json?: boolean }) => (await images()).removeImages(names, json === true));
}
