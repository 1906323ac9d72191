import type { Ns } from "../base/units.ts";
import { SpecError } from "../net/link/errors.ts";
import { parseRate, parseRatio, parseTime } from "../net/link/quantity.ts";
import { type ActionContext, linkNamed, quoted } from "./actions.ts";
import { type LabPath, suggestion } from "./issue.ts";

/** Between two figures, either of which may be missing. */
export interface Bounds {
	readonly least: number;
	readonly most: number;
}

/** What a lab is to show. */
export type Check =
	| {
			readonly kind: "ping";
			readonly from: string;
			/** A node's name or an address. */
			readonly to: string;
			readonly count: number;
			/** None are to come back. */
			readonly fails: boolean;
			readonly rttNs: Bounds | undefined;
			readonly loss: Bounds | undefined;
	  }
	| { readonly kind: "goodput"; readonly from: string; readonly to: string; readonly durationNs: Ns; readonly bps: Bounds }
	| { readonly kind: "prints"; readonly node: string; readonly text: string; readonly withinNs: Ns }
	| {
			readonly kind: "counter";
			readonly link: string;
			readonly side: "up" | "down" | undefined;
			readonly counter: string;
			readonly frames: Bounds;
	  };

export interface Expectation {
	/** Lab time; `undefined`: when everything has been started and the timeline is over. */
	readonly atNs: Ns | undefined;
	readonly check: Check;
	readonly text: string;
	readonly path: LabPath;
}

export const EXPECT_FORM =
	'`ping A -> B` (`fails`, `rtt between 20ms and 21ms`, `loss below 1%`, `count 10`), `iperf A -> B between 9.2mbit and 9.5mbit` (`for 10s`), `A prints "text" within 60s`, or `A -- B dropped below 10`; `at 12s` before any of them';

/** Nodes that can be told to send something, or be sent to. */
export interface ExpectContext extends ActionContext {
	readonly stations: ReadonlySet<string>;
	readonly nodes: ReadonlySet<string>;
}

const COUNTERS = ["sent", "delivered", "dropped", "duplicated", "corrupted", "reordered"] as const;

/** @throws SpecError */
export function parseExpectation(value: unknown, path: LabPath, context: ExpectContext): Expectation {
	const refuse = (expected = EXPECT_FORM): never => {
		throw new SpecError("bad-value", path, value, expected);
	};
	if (typeof value !== "string") return refuse();
	const timed = /^at\s+(\S+)\s+(.+)$/s.exec(value.trim());
	const atNs = timed === null ? undefined : parseTime(timed[1], path);
	const line = timed === null ? value.trim() : (timed[2] as string);
	const check =
		parsePing(line, path, context) ??
		parseGoodput(line, path, context) ??
		parsePrints(line, path, context) ??
		parseCounter(line, path, context) ??
		refuse();
	return { atNs, check, text: value.trim(), path };
}

function parsePing(line: string, path: LabPath, context: ExpectContext): Check | undefined {
	const match = /^ping\s+(\S+)\s*->\s*(\S+)\s*(.*)$/s.exec(line);
	if (match === null) return undefined;
	const [, from, to, rest] = match as unknown as [string, string, string, string];
	let words = ` ${rest} `;
	const take = (expression: RegExp): RegExpExecArray | null => {
		const found = expression.exec(words);
		if (found !== null) words = words.replace(found[0], " ");
		return found;
	};
	const rtt = take(/ rtt (between \S+ and \S+|above \S+|below \S+) /);
	const loss = take(/ loss (between \S+ and \S+|above \S+|below \S+) /);
	const count = take(/ count (\d{1,5}) /);
	const fails = take(/ fails /);
	if (words.trim() !== "") throw new SpecError("bad-value", path, line, EXPECT_FORM);
	return {
		kind: "ping",
		from: station(from, path, context),
		to: destination(to, path, context),
		count: count === null ? 3 : Number(count[1]),
		fails: fails !== null,
		rttNs: rtt === null ? undefined : bounds(rtt[1] as string, parseTime, path),
		loss: loss === null ? undefined : bounds(loss[1] as string, parseRatio, path),
	};
}

function parseGoodput(line: string, path: LabPath, context: ExpectContext): Check | undefined {
	const match = /^iperf\s+(\S+)\s*->\s*(\S+)\s+(?:for\s+(\S+)\s+)?(between \S+ and \S+|above \S+|below \S+)$/.exec(line);
	if (match === null) return undefined;
	const [, from, to, duration, range] = match as unknown as [string, string, string, string | undefined, string];
	return {
		kind: "goodput",
		from: station(from, path, context),
		to: station(to, path, context),
		durationNs: duration === undefined ? 10e9 : parseTime(duration, path),
		bps: bounds(range, parseRate, path),
	};
}

function parsePrints(line: string, path: LabPath, { machines }: ExpectContext): Check | undefined {
	const match = /^(\S+)\s+prints\s+(".*?")(?:\s+within\s+(\S+))?$/s.exec(line);
	if (match === null) return undefined;
	const [, node, text, within] = match as unknown as [string, string, string, string | undefined];
	if (!machines.has(node))
		throw new SpecError("bad-value", path, node, `a machine: ${[...machines].join(", ")}${suggestion(node, machines)}`);
	return { kind: "prints", node, text: quoted(text, path), withinNs: within === undefined ? 60e9 : parseTime(within, path) };
}

function parseCounter(line: string, path: LabPath, context: ExpectContext): Check | undefined {
	const match = /^(\S+\s*(?:--|->)\s*\S+)\s+(\w+)\s+(between \S+ and \S+|above \S+|below \S+)$/.exec(line);
	if (match === null) return undefined;
	const [, cable, counter, range] = match as unknown as [string, string, string, string];
	if (!(COUNTERS as readonly string[]).includes(counter))
		throw new SpecError("bad-value", path, line, `one of ${COUNTERS.join(", ")} before the figures`);
	const { link, side } = linkNamed(cable, path, context);
	return { kind: "counter", link: link.name, side, counter, frames: bounds(range, parseFrames, path) };
}

function parseFrames(text: unknown, path: LabPath): number {
	if (typeof text !== "string" || !/^\d+$/.test(text)) throw new SpecError("bad-value", path, text, "a number of frames");
	return Number(text);
}

function bounds(text: string, parse: (text: unknown, path: LabPath) => number, path: LabPath): Bounds {
	const [, first, second] = /^(?:between (\S+) and|above|below) (\S+)$/.exec(text) as unknown as [string, string | undefined, string];
	const figure = parse(second, path);
	if (text.startsWith("above")) return { least: figure, most: Number.POSITIVE_INFINITY };
	if (text.startsWith("below")) return { least: 0, most: figure };
	const least = parse(first, path);
	if (least > figure) throw new SpecError("contradiction", path, text, "the smaller figure first");
	return { least, most: figure };
}

function station(name: string, path: LabPath, { stations }: ExpectContext): string {
	if (!stations.has(name))
		throw new SpecError("bad-value", path, name, `a machine or a host: ${[...stations].join(", ")}${suggestion(name, stations)}`);
	return name;
}

function destination(name: string, path: LabPath, { nodes }: ExpectContext): string {
	if (!nodes.has(name) && !/^\d+\.\d+\.\d+\.\d+$/.test(name))
		throw new SpecError("bad-value", path, name, `a node or an IPv4 address${suggestion(name, nodes)}`);
	return name;
}
