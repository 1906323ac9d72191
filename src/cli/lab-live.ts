import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { CABLE, CABLE_FORM } from "../lab/cables.ts";
import { UsageError } from "./failure.ts";
import { EXIT_UNMET, readModel } from "./lab-command.ts";
import { ask, reach, SessionFolder } from "./lab-control.ts";
import { printJson, printTable } from "./output.ts";

interface FileOptions {
	readonly file: string;
	readonly json?: boolean;
}

interface Counters {
	readonly sentFrames: number;
	readonly deliveredFrames: number;
}

interface Status {
	readonly links: readonly {
		readonly name: string;
		readonly state: string;
		readonly quality: string;
		readonly forth: Counters;
		readonly back: Counters;
	}[];
}

function folderOf(file: string): SessionFolder | undefined {
	const model = readModel(file);
	return model === undefined ? undefined : new SessionFolder(file, model.name);
}

/** Lines of a timeline, carried out now. */
export async function perform({ file, json }: FileOptions, lines: readonly string[]): Promise<number> {
	const folder = folderOf(file);
	if (folder === undefined) return EXIT_UNMET;
	const result = await ask(folder, { verb: "perform", lines });
	if (json === true) printJson(result);
	return 0;
}

/** What was changed since the lab is up, as a timeline to be put into its file. */
export async function recording({ file, json }: FileOptions): Promise<number> {
	const folder = folderOf(file);
	if (folder === undefined) return EXIT_UNMET;
	const changes = (await ask(folder, { verb: "recording" })) as readonly { readonly timeNs: number; readonly line: string | null }[];
	if (json === true) {
		printJson(changes);
		return 0;
	}
	const times = Map.groupBy(changes, ({ timeNs }) => timeNs);
	process.stdout.write(times.size === 0 ? "timeline: {}\n" : "timeline:\n");
	for (const [timeNs, lines] of times) {
		process.stdout.write(`  ${timeNs}ns:\n`);
		for (const { line } of lines)
			process.stdout.write(line === null ? "    # a change that no line can say: --json has it\n" : `    - ${JSON.stringify(line)}\n`);
	}
	return 0;
}

/** `values`: `rate=10mbit`, or one of down, up and reset. */
export async function setLink(name: string, values: readonly string[], options: FileOptions & { readonly dir?: string }): Promise<number> {
	if (!CABLE.test(name)) throw new UsageError(`${name}: ${CABLE_FORM} is wanted`);
	const words = values.map((value) => {
		if (values.length === 1 && /^(up|down|silent|reset)$/.test(value)) return value;
		const [key, ...rest] = value.split("=");
		if (rest.length === 0) throw new UsageError(`${value}: key=value is wanted, such as rate=10mbit`);
		return `${key} ${rest.join("=")}`;
	});
	const [from, to] = name.split(/\s*--\s*/) as [string, string];
	const ends = directed(from, to, options.dir);
	return perform(options, [`${ends} ${words.join(" ")}`]);
}

function directed(from: string, to: string, direction: string | undefined): string {
	if (direction === undefined) return `${from} -- ${to}`;
	const [first = "", second = ""] = direction.split(/\s*(?:->|>)\s*/);
	const node = (end: string): string => end.split(":")[0] as string;
	if (direction === "a>b" || (node(first) === node(from) && node(second) === node(to))) return `${from} -> ${to}`;
	if (direction === "b>a" || (node(first) === node(to) && node(second) === node(from))) return `${to} -> ${from}`;
	throw new UsageError(`--dir ${direction}: ${from}>${to} or ${to}>${from} is wanted`);
}

export async function listLinks({ file, json }: FileOptions): Promise<number> {
	const folder = folderOf(file);
	if (folder === undefined) return EXIT_UNMET;
	const { links } = (await ask(folder, { verb: "status" })) as Status;
	if (json === true) printJson(links);
	else
		printTable(
			["LINK", "STATE", "THERE", "BACK", "QUALITY"],
			links.map(({ name, state, forth, back, quality }) => [name, state, counts(forth), counts(back), quality]),
		);
	return 0;
}

function counts({ sentFrames, deliveredFrames }: Counters): string {
	return `${deliveredFrames}/${sentFrames}`;
}

/** Passes on what the lab records, until one of the two ends it. */
export async function capture(link: string, { file, write }: FileOptions & { readonly write: string }): Promise<number> {
	const folder = folderOf(file);
	if (folder === undefined) return EXIT_UNMET;
	const socket = await reach(folder);
	const stop = (): void => void socket.end();
	process.once("SIGINT", stop);
	socket.write(`${JSON.stringify({ verb: "capture", link })}\n`);
	try {
		await pipeline(socket, recorded, write === "-" ? process.stdout : createWriteStream(write), { end: write !== "-" });
	} finally {
		process.off("SIGINT", stop);
	}
	return 0;
}

/** The answer's own line, and from then on what is recorded. */
async function* recorded(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
	let head: Buffer | undefined = Buffer.alloc(0);
	for await (const chunk of source) {
		if (head === undefined) {
			yield chunk;
			continue;
		}
		head = Buffer.concat([head, chunk]);
		const end = head.indexOf("\n");
		if (end < 0) continue;
		const response = JSON.parse(head.subarray(0, end).toString("utf8")) as { error?: string };
		if (response.error !== undefined) throw new UsageError(response.error);
		yield head.subarray(end + 1);
		head = undefined;
	}
}
