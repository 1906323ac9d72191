import {
	type Aqm,
	DEFAULT_DIRECTION,
	type DirectionConfig,
	ETHERNET_FRAMING,
	type Framing,
	type JitterConfig,
	type LinkState,
	RAW_FRAMING,
} from "./config.ts";
import { SpecError } from "./errors.ts";
import { type LossSpec, parseLoss } from "./loss-spec.ts";
import { type NetemSpec, parseNetem } from "./netem-spec.ts";
import { preset } from "./presets.ts";
import { parseCount, parseRate, parseRatio, parseSize, parseTime, type Rate, type Ratio, type Size, type Time } from "./quantity.ts";

export interface JitterSpec {
	/** Uniform: to either side. Normal, Pareto: one standard deviation. */
	spread?: Time;
	/** A table lists equally likely values in units of `spread`; a trace, delays taken one after another. */
	shape?: "uniform" | "normal" | "pareto" | { table: readonly number[] } | { trace: readonly Time[] };
	correlation?: Ratio;
	order?: "keep" | "free";
}

export interface QueueSpec {
	bytes?: Size;
	packets?: number;
	time?: Time;
	aqm?: Aqm;
	ecn?: boolean;
	target?: Time;
	interval?: Time;
	red?: { min?: Size; max?: Size; probability?: Ratio; adaptive?: boolean };
}

/** One direction as a user writes it. `null` puts a value back to its default. */
export interface DirectionSpec {
	rate?: Rate | null;
	/** `ethernet` counts preamble, check sequence and gap (+24 bytes, 84 at least); `raw` only the frame. */
	framing?: "ethernet" | "raw" | { overhead: number; min?: number; cell?: number; cellOverhead?: number } | null;
	/** `40ms`, or with jitter `40ms ±5ms normal 25%`. */
	delay?: Time | null;
	jitter?: Time | JitterSpec | null;
	loss?: Ratio | LossSpec | null;
	/** Probability of a bit to be wrong: the frame is then lost, as its check sequence says. */
	ber?: number | null;
	corrupt?: Ratio | null;
	duplicate?: Ratio | null;
	/** Held back until `by` later frames have gone by, or for `timeout` (50 ms). */
	reorder?: Ratio | { ratio: Ratio; by?: number; timeout?: Time } | null;
	/** `64KB`, `100 packets`, `50ms`, with or without `, fq_codel`; or in full. */
	queue?: string | QueueSpec | null;
	mtu?: number | null;
	state?: LinkState | null;
	/** Mahimahi's: milliseconds at which a packet may go. */
	trace?: readonly number[] | null;
	/** Linux netem's parameters instead of all above but `mtu` and `state`. */
	netem?: string | NetemSpec | null;
}

/** A cable: one value for both directions, or `up` (from its first end to its second) and `down` apart. */
export interface LinkSpec extends DirectionSpec {
	up?: string | DirectionSpec;
	down?: string | DirectionSpec;
}

/** A preset's name, a rate, or all of it. */
export type LinkSpecText = string | LinkSpec;

export interface LinkConfig {
	readonly up: DirectionConfig;
	readonly down: DirectionConfig;
}

type Path = readonly string[];
type Field = (value: unknown, before: DirectionConfig, path: Path) => Partial<DirectionConfig>;

const FIELDS: Record<keyof DirectionSpec, Field> = {
	rate: (value, _before, path) => ({ rateBps: parseRate(value, path), opportunitiesMs: undefined }),
	framing: (value, _before, path) => ({ framing: parseFraming(value, path) }),
	delay: parseDelay,
	jitter: (value, before, path) => ({ jitter: parseJitter(value, before.jitter, path) }),
	loss: (value, _before, path) => ({ loss: parseLoss(value, path) }),
	ber: (value, _before, path) => ({ bitErrorRatio: parseBitErrorRatio(value, path) }),
	corrupt: (value, _before, path) => ({ corrupt: parseRatio(value, path) }),
	duplicate: (value, _before, path) => ({ duplicate: parseRatio(value, path) }),
	reorder: parseReorder,
	queue: (value, before, path) => ({ queue: parseQueue(value, before.queue, path) }),
	mtu: (value, _before, path) => ({ mtuBytes: parseCount(value, 68, 65_535, path) }),
	state: (value, _before, path) => ({ state: oneOf(value, ["up", "down", "silent"], path) }),
	trace: (value, _before, path) => ({ opportunitiesMs: parseTrace(value, path), rateBps: undefined }),
	netem: (value, _before, path) => ({ netem: parseNetem(value, path) }),
};

const DEFAULTS: Record<keyof DirectionSpec, Partial<DirectionConfig>> = {
	rate: { rateBps: undefined },
	framing: { framing: DEFAULT_DIRECTION.framing },
	delay: { delayNs: 0 },
	jitter: { jitter: undefined },
	loss: { loss: DEFAULT_DIRECTION.loss },
	ber: { bitErrorRatio: 0 },
	corrupt: { corrupt: 0 },
	duplicate: { duplicate: 0 },
	reorder: { reorder: undefined },
	queue: { queue: DEFAULT_DIRECTION.queue },
	mtu: { mtuBytes: DEFAULT_DIRECTION.mtuBytes },
	state: { state: "up" },
	trace: { opportunitiesMs: undefined },
	netem: { netem: undefined },
};

/** The text of a Mahimahi trace: a line per packet that may go, its millisecond. @throws SpecError */
export function parseMahimahi(text: string, path: Path = []): readonly number[] {
	const lines = text.split("\n").filter((line) => line.trim() !== "");
	return parseTrace(
		lines.map((line) => (/^\s*\d+\s*$/.test(line) ? Number(line) : Number.NaN)),
		path,
	);
}

/** What a cable is from the start. @throws SpecError naming the key and what belongs there. */
export function parseLink(spec: LinkSpecText, path: Path = []): LinkConfig {
	return changeLink({ up: DEFAULT_DIRECTION, down: DEFAULT_DIRECTION }, spec, path);
}

/** `before` with only what `spec` names changed. @throws SpecError, and then nothing has changed. */
export function changeLink(before: LinkConfig, spec: LinkSpecText, path: Path = []): LinkConfig {
	const { up, down, ...both } = linkObject(spec, path);
	const change = (side: DirectionConfig, own: string | DirectionSpec | undefined, name: string) => {
		const shared = changeDirection(side, both, path);
		return own === undefined ? shared : changeDirection(shared, own, [...path, name]);
	};
	return { up: change(before.up, up, "up"), down: change(before.down, down, "down") };
}

export function changeDirection(before: DirectionConfig, spec: string | DirectionSpec, path: Path = []): DirectionConfig {
	let config = before;
	for (const [key, value] of Object.entries(directionObject(spec, path))) {
		if (value === undefined) continue;
		if (!Object.hasOwn(FIELDS, key)) throw new SpecError("unknown-key", [...path, key], value, `one of ${Object.keys(FIELDS).join(", ")}`);
		const name = key as keyof DirectionSpec;
		config = { ...config, ...(value === null ? DEFAULTS[name] : FIELDS[name](value, config, [...path, key])) };
	}
	return config;
}

function linkObject(spec: LinkSpecText, path: Path): LinkSpec {
	if (typeof spec === "string") return preset(spec) ?? { rate: rateOrPreset(spec, path) };
	if (typeof spec !== "object" || spec === null)
		throw new SpecError("bad-value", path, spec, "a preset's name, a rate, or a link's values");
	return spec;
}

function directionObject(spec: string | DirectionSpec, path: Path): DirectionSpec {
	if (typeof spec === "object" && spec !== null && !Array.isArray(spec)) return spec;
	if (typeof spec !== "string") throw new SpecError("bad-value", path, spec, "a rate, or a direction's values");
	const { up: _up, down: _down, ...named } = preset(spec) ?? { rate: rateOrPreset(spec, path) };
	return named;
}

function rateOrPreset(text: string, path: Path): Rate {
	try {
		parseRate(text, path);
		return text;
	} catch (error) {
		if (/^\s*[\d.]/.test(text)) throw error;
		throw new SpecError("bad-value", path, text, "a preset's name (10base-t, dsl, lte, satellite, …) or a rate such as 10mbit");
	}
}

function oneOf<Name extends string>(value: unknown, names: readonly Name[], path: Path): Name {
	if (!names.includes(value as Name)) throw new SpecError("bad-value", path, value, `one of ${names.join(", ")}`);
	return value as Name;
}

function objectOf<Key extends string>(value: unknown, keys: readonly Key[], expected: string, path: Path): Partial<Record<Key, unknown>> {
	if (typeof value !== "object" || value === null || Array.isArray(value)) throw new SpecError("bad-value", path, value, expected);
	for (const key of Object.keys(value))
		if (!keys.includes(key as Key)) throw new SpecError("unknown-key", [...path, key], key, `one of ${keys.join(", ")}`);
	return value;
}

function parseFraming(value: unknown, path: Path): Framing {
	if (value === "ethernet") return ETHERNET_FRAMING;
	if (value === "raw") return RAW_FRAMING;
	const fields = objectOf(value, ["overhead", "min", "cell", "cellOverhead"], "ethernet, raw, or { overhead: bytes }", path);
	const framing = {
		overheadBytes: parseCount(fields.overhead, 0, 1000, [...path, "overhead"]),
		minFrameBytes: fields.min === undefined ? 0 : parseCount(fields.min, 0, 1500, [...path, "min"]),
	};
	if (fields.cell === undefined) return framing;
	const overheadBytes = fields.cellOverhead === undefined ? 0 : parseCount(fields.cellOverhead, 0, 1000, [...path, "cellOverhead"]);
	return { ...framing, cell: { payloadBytes: parseCount(fields.cell, 1, 65_535, [...path, "cell"]), overheadBytes } };
}

const DEFAULT_JITTER: JitterConfig = { spreadNs: 0, shape: "uniform", correlation: 0, order: "keep" };

/** `40ms`, `40ms ±5ms`, `40ms +-5ms normal 25%`. */
function parseDelay(value: unknown, before: DirectionConfig, path: Path): Partial<DirectionConfig> {
	if (typeof value !== "string" || !/±|\+-|\+\/-/.test(value)) return { delayNs: parseTime(value, path) };
	const [mean = "", rest = ""] = value.split(/±|\+\/-|\+-/);
	const [spread = "", ...words] = rest.trim().split(/\s+(?=[a-z%\d])/i);
	const jitter: JitterSpec = { spread };
	for (const word of words)
		if (word.endsWith("%")) jitter.correlation = word;
		else jitter.shape = word as "uniform";
	return { delayNs: parseTime(mean, path), jitter: parseJitter(jitter, before.jitter, path) };
}

function parseJitter(value: unknown, before: JitterConfig | undefined, path: Path): JitterConfig {
	const base = before ?? DEFAULT_JITTER;
	if (typeof value === "string") return { ...base, spreadNs: parseTime(value, path) };
	const fields = objectOf(value, ["spread", "shape", "correlation", "order"], "a time, or { spread, shape, correlation, order }", path);
	const correlation = fields.correlation === undefined ? base.correlation : parseRatio(fields.correlation, [...path, "correlation"]);
	if (correlation >= 1) throw new SpecError("out-of-range", [...path, "correlation"], fields.correlation, "less than 100%");
	return {
		spreadNs: fields.spread === undefined ? base.spreadNs : parseTime(fields.spread, [...path, "spread"]),
		shape: fields.shape === undefined ? base.shape : parseShape(fields.shape, [...path, "shape"]),
		correlation,
		order: fields.order === undefined ? base.order : oneOf(fields.order, ["keep", "free"], [...path, "order"]),
	};
}

function parseShape(value: unknown, path: Path): JitterConfig["shape"] {
	const expected = "uniform, normal, pareto, { table: [numbers] } or { trace: [times] }";
	if (value === "uniform" || value === "normal" || value === "pareto") return value;
	const { table, trace } = objectOf(value, ["table", "trace"], expected, path);
	if (Array.isArray(table) && table.length > 1 && table.every((entry) => Number.isFinite(entry)))
		return { table: table.toSorted((a, b) => a - b) };
	if (Array.isArray(trace) && trace.length > 0)
		return { traceNs: trace.map((entry, at) => parseTime(entry, [...path, "trace", String(at)])) };
	throw new SpecError("bad-value", path, value, expected);
}

function parseBitErrorRatio(value: unknown, path: Path): number {
	if (typeof value !== "number" || !(value >= 0 && value <= 1))
		throw new SpecError("bad-value", path, value, "a bit error ratio such as 1e-6");
	return value;
}

function parseReorder(value: unknown, _before: DirectionConfig, path: Path): Partial<DirectionConfig> {
	const fields =
		typeof value === "string" ? { ratio: value } : objectOf(value, ["ratio", "by", "timeout"], "a share, or { ratio, by }", path);
	const { ratio, by, timeout } = fields as { ratio?: unknown; by?: unknown; timeout?: unknown };
	return {
		reorder: {
			ratio: parseRatio(ratio, [...path, "ratio"]),
			byFrames: by === undefined ? 1 : parseCount(by, 1, 10_000, [...path, "by"]),
			timeoutNs: timeout === undefined ? 50_000_000 : parseTime(timeout, [...path, "timeout"]),
		},
	};
}

const AQM_NAMES = ["droptail", "red", "codel", "fq_codel"] as const;

function parseQueue(value: unknown, before: DirectionConfig["queue"], path: Path): DirectionConfig["queue"] {
	const spec = typeof value === "string" ? queueWords(value, path) : value;
	const keys = ["bytes", "packets", "time", "aqm", "ecn", "target", "interval", "red"] as const;
	const fields = objectOf(spec, keys, "a depth such as 64KB, 100 packets or 50ms, or { bytes, packets, time, aqm, ecn }", path);
	const at = (key: string) => [...path, key];
	const red =
		fields.red === undefined
			? {}
			: objectOf(fields.red, ["min", "max", "probability", "adaptive"], "{ min, max, probability, adaptive }", at("red"));
	const config = {
		...(typeof value === "string" ? { aqm: before.aqm, ecn: before.ecn } : before),
		...(fields.bytes === undefined ? {} : { bytes: parseSize(fields.bytes, at("bytes")) }),
		...(fields.packets === undefined ? {} : { packets: parseCount(fields.packets, 0, 1e9, at("packets")) }),
		...(fields.time === undefined ? {} : { timeNs: parseTime(fields.time, at("time")) }),
		...(fields.aqm === undefined ? {} : { aqm: oneOf(fields.aqm, AQM_NAMES, at("aqm")) }),
		...(fields.ecn === undefined ? {} : { ecn: boolean(fields.ecn, at("ecn")) }),
		...(fields.target === undefined ? {} : { targetNs: parseTime(fields.target, at("target")) }),
		...(fields.interval === undefined ? {} : { intervalNs: parseTime(fields.interval, at("interval")) }),
		...(red.min === undefined ? {} : { redMinBytes: parseSize(red.min, [...at("red"), "min"]) }),
		...(red.max === undefined ? {} : { redMaxBytes: parseSize(red.max, [...at("red"), "max"]) }),
		...(red.probability === undefined ? {} : { redProbability: parseRatio(red.probability, [...at("red"), "probability"]) }),
		...(red.adaptive === undefined ? {} : { redIsAdaptive: boolean(red.adaptive, [...at("red"), "adaptive"]) }),
	};
	if (config.redMinBytes !== undefined && config.redMaxBytes !== undefined && config.redMinBytes >= config.redMaxBytes)
		throw new SpecError("contradiction", at("red"), fields.red, "min below max");
	return config;
}

/** `100 packets, fq_codel, ecn`. */
function queueWords(text: string, path: Path): QueueSpec {
	const spec: QueueSpec = {};
	for (const word of text.split(",").map((each) => each.trim())) {
		const packets = /^(\d+)\s*packets?$/.exec(word);
		if ((AQM_NAMES as readonly string[]).includes(word)) spec.aqm = word as Aqm;
		else if (word === "ecn") spec.ecn = true;
		else if (packets !== null) spec.packets = Number(packets[1]);
		else if (/^[\d.]+\s*[A-Za-z]*B$/.test(word)) spec.bytes = word;
		else if (/^[\d.]+\s*(ns|[uµμm]?s)$/.test(word)) spec.time = word;
		else
			throw new SpecError("bad-value", path, text, "a depth such as 64KB, 100 packets or 50ms, and droptail, red, codel, fq_codel or ecn");
	}
	return spec;
}

function boolean(value: unknown, path: Path): boolean {
	if (typeof value !== "boolean") throw new SpecError("bad-value", path, value, "true or false");
	return value;
}

function parseTrace(value: unknown, path: Path): readonly number[] {
	const isTrace =
		Array.isArray(value) &&
		value.length > 0 &&
		value.every((time, at) => Number.isInteger(time) && time >= (at === 0 ? 0 : value[at - 1])) &&
		value[value.length - 1] > 0;
	if (!isTrace) throw new SpecError("bad-value", path, value, "whole milliseconds in rising order, the last one above 0");
	return value;
}
