import type { Command } from "commander";
import { option } from "./option.ts";

const json = () => option("--json", "print JSON");
const file = () => option("-f, --file <file>", "the lab file").default("lab.yaml");

interface FileOptions {
	readonly file: string;
	readonly json?: boolean;
}

/** `basenji lab …`, the same verbs by themselves, `link …` and `capture`. What they do is loaded when it is asked for. */
export function addLab(program: Command, onExit: (code: number) => void): void {
	const lab = program.command("lab").description("labs: machines, networks and what happens to them, from one file");
	addVerbs(lab, onExit);
	addVerbs(program, onExit);
	lab
		.command("schema")
		.description("print the JSON Schema of lab files, for editors")
		.action(async () => (await import("./lab-command.ts")).printSchema());
	lab
		.command("do")
		.description('have something happen to a running lab now: "a -- b loss 5%", "start pc", a line of a timeline')
		.argument("<action...>", "the line")
		.addOption(file())
		.addOption(json())
		.action(async (words: string[], options: FileOptions) =>
			onExit(await (await import("./lab-live.ts")).perform(options, [words.join(" ")])),
		);
	lab
		.command("recording")
		.description("print what was changed since the lab is up, as a timeline that changes it again")
		.addOption(file())
		.addOption(json())
		.action(async (options: FileOptions) => onExit(await (await import("./lab-live.ts")).recording(options)));
	addLink(program, onExit);
	addCapture(program, onExit);
}

function addVerbs(parent: Command, onExit: (code: number) => void): void {
	const load = () => import("./lab-command.ts");
	const session = () => import("./lab-session.ts");
	parent
		.command("validate")
		.description("say what is wrong with a lab file: line, column, what was expected")
		.addOption(file())
		.addOption(json())
		.action(async (options: FileOptions) => onExit((await load()).validate(options)));
	parent
		.command("graph")
		.description("draw a lab for graphviz (dot -Tsvg), or list its nodes and links as JSON")
		.addOption(file())
		.addOption(json())
		.action(async (options: FileOptions) => onExit((await load()).graph(options)));
	parent
		.command("test")
		.description("run a lab through its timeline and say whether it shows what it is expected to")
		.addOption(file())
		.addOption(json())
		.addOption(option("--clock <time>", "where the file does not say").choices(["virtual", "realtime"]).default("virtual"))
		.addOption(option("--captures <directory>", "record every link there"))
		.action(async (options: FileOptions & { clock: "virtual" | "realtime"; captures?: string }) =>
			onExit(await (await load()).test(options)),
		);
	parent
		.command("up")
		.description("start a lab, or some of its machines; it runs until Ctrl-C, `down`, or the end of its last machine")
		.argument("[nodes...]", "machines to start, with those they wait for; all of them by default")
		.addOption(file())
		.addOption(json())
		.addOption(option("--clock <time>", "where the file does not say").choices(["virtual", "realtime"]).default("realtime"))
		.addOption(option("-d, --detach", "leave it running in the background"))
		.action(async (nodes: string[], options: FileOptions & { clock: "virtual" | "realtime"; detach?: boolean }) =>
			onExit(await (await session()).up({ ...options, nodes })),
		);
	parent
		.command("down")
		.description("stop a lab that is up, and leave nothing behind")
		.addOption(file())
		.addOption(json())
		.action(async (options: FileOptions) => onExit(await (await session()).down(options)));
	parent
		.command("redeploy")
		.description("down, then up again in the background, from the file as it is now")
		.addOption(file())
		.addOption(json())
		.addOption(option("--clock <time>", "where the file does not say").choices(["virtual", "realtime"]).default("realtime"))
		.action(async (options: FileOptions & { clock: "virtual" | "realtime" }) => onExit(await (await session()).redeploy(options)));
}

function addLink(program: Command, onExit: (code: number) => void): void {
	const load = () => import("./lab-live.ts");
	const link = program.command("link").description("cables of a lab that is up: look at them, change them, pull them");
	link
		.command("ls")
		.description("list links with their settings and counters")
		.addOption(file())
		.addOption(json())
		.action(async (options: FileOptions) => onExit(await (await load()).listLinks(options)));
	link
		.command("set")
		.description("change what is named and nothing else: link set a--b rate=10mbit delay=30ms loss=1%")
		.argument("<link>", "its two ends: a--b")
		.argument("<values...>", "key=value; `default` puts a value back")
		.addOption(option("--dir <direction>", "one direction only: a>b"))
		.addOption(file())
		.addOption(json())
		.action(async (name: string, values: string[], options: FileOptions & { dir?: string }) =>
			onExit(await (await load()).setLink(name, values, options)),
		);
	for (const [verb, description] of [
		["down", "pull the cable: both ends lose carrier"],
		["up", "put it in again"],
		["reset", "put every value back to that of an ideal cable"],
	] as const)
		link
			.command(verb)
			.description(description)
			.argument("<link>", "its two ends: a--b")
			.addOption(file())
			.addOption(json())
			.action(async (name: string, options: FileOptions) => onExit(await (await load()).setLink(name, [verb], options)));
}

function addCapture(program: Command, onExit: (code: number) => void): void {
	program
		.command("capture")
		.description("record a link of a lab that is up (pcapng), until Ctrl-C: capture a--b -w - | wireshark -k -i -")
		.argument("<link>", "its two ends: a--b")
		.addOption(option("-w, --write <file>", "where to; - is standard output").default("-"))
		.addOption(file())
		.action(async (name: string, options: FileOptions & { write: string }) =>
			onExit(await (await import("./lab-live.ts")).capture(name, options)),
		);
}
