import type { CapturePoint } from "../net/capture/link-capture.ts";
import type { Aqm } from "../net/link/config.ts";
import { SpecError } from "../net/link/errors.ts";
import { PRESET_NAMES, preset } from "../net/link/presets.ts";
import { type DirectionSpec, type LinkSpec, parseLink, parseMahimahi } from "../net/link/spec.ts";
import { choice, field, fields, isMap, type JsonSchema, listOf, type Reader, required, text } from "./fields.ts";
import { type IssueLog, type LabPath, show, suggestion } from "./issue.ts";

const quantity = (description: string, example: string): JsonSchema => ({ type: "string", description, examples: [example] });
const orObject = (simple: JsonSchema, properties: Readonly<Record<string, JsonSchema>>): JsonSchema => ({
	...(simple.description === undefined ? {} : { description: simple.description }),
	anyOf: [simple, { type: "object", properties, additionalProperties: false }],
});

const AQM: readonly Aqm[] = ["droptail", "red", "codel", "fq_codel"];
const ratio = (description: string): JsonSchema => quantity(description, "1%");
const time = (description: string): JsonSchema => quantity(description, "40ms");

/** The compiler sees to it that every key of a link has its line here. */
const DIRECTION_SCHEMA: Record<keyof DirectionSpec, JsonSchema> = {
	rate: quantity("Bits per second that the cable carries", "10mbit"),
	framing: orObject(
		{ enum: ["ethernet", "raw"], description: "What a frame costs: with preamble, check sequence and gap (+24 bytes), or bare" },
		{ overhead: { type: "integer" }, min: { type: "integer" }, cell: { type: "integer" }, cellOverhead: { type: "integer" } },
	),
	delay: quantity("Time on the wire, with jitter and its shape if wanted", "40ms ±5ms normal 25%"),
	jitter: orObject(time("What the delay varies by"), {
		spread: time("To either side, or one standard deviation"),
		shape: { description: "uniform, normal, pareto, { table: [...] } or { trace: [...] }" },
		correlation: ratio("Of one frame's delay with the next one's"),
		order: { enum: ["keep", "free"], description: "Whether frames may overtake one another" },
	}),
	loss: orObject(ratio("Share of frames lost"), {
		model: { enum: ["random", "gilbert", "ge", "markov4", "pattern"] },
		rate: ratio("In the long run"),
		burst: { type: "number", minimum: 1, description: "Mean number of frames lost in a row" },
		...Object.fromEntries(["p", "r", "h", "k", "p13", "p31", "p32", "p23", "p14"].map((key) => [key, ratio("A probability of the model")])),
		pattern: { type: "string", pattern: "^[.x]+$", description: "x lost, . delivered, over and over" },
	}),
	ber: { type: "number", minimum: 0, maximum: 1, description: "Bit error ratio; a frame that is hit is lost" },
	corrupt: ratio("Share of frames delivered with one bit flipped"),
	duplicate: ratio("Share of frames delivered twice"),
	reorder: orObject(ratio("Share of frames that later ones overtake"), {
		ratio: ratio("Share of frames"),
		by: { type: "integer", minimum: 1, description: "How many later frames go first" },
		timeout: time("Held back no longer"),
	}),
	queue: orObject(quantity("Depth, and how it is managed", "64KB, fq_codel"), {
		bytes: quantity("Most bytes", "64KB"),
		packets: { type: "integer", minimum: 0, description: "Most frames" },
		time: time("Most time at the rate"),
		aqm: { enum: AQM, description: "Queue management" },
		ecn: { type: "boolean", description: "Mark instead of dropping" },
		target: time("CoDel's"),
		interval: time("CoDel's"),
		red: {
			type: "object",
			properties: {
				min: quantity("Nothing is dropped below", "16KB"),
				max: quantity("Everything is above", "48KB"),
				probability: ratio("At max"),
				adaptive: { type: "boolean" },
			},
			additionalProperties: false,
		},
	}),
	mtu: { type: "integer", minimum: 68, maximum: 65_535, description: "Bytes after the Ethernet header" },
	state: { enum: ["up", "down", "silent"], description: "silent: carrier, but nothing arrives" },
	trace: {
		anyOf: [{ type: "string" }, { type: "array", items: { type: "integer", minimum: 0 } }],
		description: "Mahimahi's: milliseconds at which a packet may go, or the file that lists them",
	},
	netem: { description: "tc's words after netem; replaces all but mtu and state", anyOf: [{ type: "string" }, { type: "object" }] },
};

const NAMED: JsonSchema = { type: "string", description: "A profile, a preset or a rate", examples: ["100mbit", "lte"] };

const SIDE_SCHEMA: JsonSchema = { $ref: "#/$defs/direction" };

const DIRECTION: JsonSchema = { anyOf: [NAMED, { type: "object", properties: DIRECTION_SCHEMA, additionalProperties: false }] };

const POINTS: readonly CapturePoint[] = ["sent", "delivered", "dropped"];

export interface CaptureModel {
	readonly file: string;
	readonly points: readonly CapturePoint[];
}

const captureObject = fields("a capture", {
	file: required(text, "Where to write it (pcapng)"),
	points: field(listOf(choice(...POINTS), "a list of sent, delivered, dropped"), "Before impairment, after it, and what was lost"),
});

const captureReader: Reader<CaptureModel> = {
	schema: { anyOf: [text.schema, captureObject.schema] },
	read(value, path, log) {
		if (!isMap(value)) {
			const file = text.read(value, path, log);
			return file === undefined ? undefined : { file, points: POINTS };
		}
		const read = captureObject.read(value, path, log);
		return read === undefined ? undefined : { file: read.file, points: read.points ?? POINTS };
	},
};

const LINK: JsonSchema = {
	anyOf: [
		NAMED,
		{
			type: "object",
			properties: {
				...DIRECTION_SCHEMA,
				up: { ...SIDE_SCHEMA, description: "From the first end to the second" },
				down: { ...SIDE_SCHEMA, description: "From the second end to the first" },
				capture: { ...captureReader.schema, description: "A file that records the link" },
			},
			additionalProperties: false,
		},
	],
};

/** A link's quality, wherever one is expected. */
export const LINK_SCHEMA: JsonSchema = { $ref: "#/$defs/link" };

/** What the references of these schemas lead to. */
export const LINK_DEFINITIONS: Readonly<Record<string, JsonSchema>> = { direction: DIRECTION, link: LINK };

export interface LinkValue {
	readonly spec: LinkSpec;
	readonly capture: CaptureModel | undefined;
}

/** What link values may refer to. */
export interface LinkContext {
	readonly profiles: ReadonlyMap<string, LinkSpec>;
	/** The text of a file named in a lab file; `undefined` when it cannot be read. */
	readonly readText: ((file: string) => string | undefined) | undefined;
}

/** A profile's name, a preset's, a rate, or a map of values; checked to the last unit. */
export function readLinkValue(value: unknown, path: LabPath, log: IssueLog, context: LinkContext): LinkValue | undefined {
	if (value === undefined || value === null) return { spec: {}, capture: undefined };
	if (!isMap(value)) {
		const spec = readNamed(value, path, log, context);
		return spec === undefined ? undefined : { spec, capture: undefined };
	}
	const { capture: captureValue, ...rest } = value;
	const capture = captureValue === undefined ? undefined : captureReader.read(captureValue, [...path, "capture"], log);
	const resolved = resolve(rest, path, log, context);
	if (resolved === undefined) return undefined;
	const config = log.attempt(() => withHint(() => parseLink(resolved, path)));
	return config === undefined ? undefined : { spec: resolved, capture };
}

function readNamed(value: unknown, path: LabPath, log: IssueLog, { profiles }: LinkContext): LinkSpec | undefined {
	if (typeof value !== "string") return log.error("bad-value", path, show(value), "a profile, a preset, a rate such as 10mbit, or a map");
	const profile = profiles.get(value) ?? preset(value);
	if (profile !== undefined) return profile;
	if (/^\s*[\d.]/.test(value)) return log.attempt(() => parseLink(value, path)) === undefined ? undefined : { rate: value };
	const known = [...profiles.keys(), ...PRESET_NAMES];
	const own = profiles.size === 0 ? "" : `one of the profiles ${[...profiles.keys()].join(", ")}, `;
	return log.error(
		"unknown-name",
		path,
		show(value),
		`${own}a preset (${PRESET_NAMES.join(", ")}) or a rate such as 10mbit${suggestion(value, known)}`,
	);
}

/** Profiles put in where a direction names one, trace files read. */
function resolve(value: Readonly<Record<string, unknown>>, path: LabPath, log: IssueLog, context: LinkContext): LinkSpec | undefined {
	const resolved: Record<string, unknown> = { ...value };
	let isWhole = true;
	for (const side of ["up", "down"]) {
		const own = value[side];
		if (typeof own === "string") {
			const { up: _up, down: _down, ...named } = readNamed(own, [...path, side], log, context) ?? {};
			resolved[side] = named;
		} else if (isMap(own)) resolved[side] = resolve(own, [...path, side], log, context);
		isWhole &&= own === undefined || resolved[side] !== undefined;
	}
	if (typeof value.trace === "string") {
		const file = value.trace;
		const lines = context.readText?.(file);
		resolved.trace =
			lines === undefined
				? log.error("bad-value", [...path, "trace"], show(file), "a file that can be read, one millisecond a line")
				: log.attempt(() => parseMahimahi(lines, [...path, "trace"]));
		isWhole &&= resolved.trace !== undefined;
	}
	return isWhole ? (resolved as LinkSpec) : undefined;
}

/** Adds what an unknown key may have been meant to be. */
function withHint<T>(read: () => T): T {
	try {
		return read();
	} catch (error) {
		if (!(error instanceof SpecError) || error.kind !== "unknown-key") throw error;
		const key = error.path.at(-1) ?? "";
		throw new SpecError("unknown-key", error.path, error.found, `${error.expected}${suggestion(key, error.expected.split(/\W+/))}`);
	}
}

/** A profile may not name another: what stands in it is all there is. */
export function profileReader(readText: LinkContext["readText"]): Reader<LinkSpec> {
	return {
		schema: LINK_SCHEMA,
		read: (value, path, log) => readLinkValue(value, path, log, { profiles: new Map(), readText })?.spec,
	};
}
