import type { LinkSpec } from "../net/link/spec.ts";
import { ACTION_FORM, parseAction } from "./actions.ts";
import { NAME_FORM, NODE_NAME } from "./cables.ts";
import { checkLab } from "./check.ts";
import { EXPECT_FORM, type Expectation, parseExpectation } from "./expectations.ts";
import { choice, either, isMap, type JsonSchema, type Reader, text } from "./fields.ts";
import { IssueLog, LabError, type LabIssue, type LabPath, show, suggestion } from "./issue.ts";
import { LINK_DEFINITIONS, LINK_SCHEMA, type LinkContext, profileReader } from "./link-reader.ts";
import type { LabModel, NodeModel, TimedAction } from "./model.ts";
import { KIND_NAMES, KINDS, type NodeKind, time } from "./node-kinds.ts";
import { LINKS_SCHEMA, LinkReader } from "./read-links.ts";

export interface ReadLabOptions {
	/** The text of a file that a lab names; `undefined` when it cannot be read. */
	readonly readText?: (file: string) => string | undefined;
}

export interface ReadLab {
	/** `undefined` when there are errors. */
	readonly model: LabModel | undefined;
	readonly issues: readonly LabIssue[];
}

const seedReader: Reader<number | string> = either<number | string>(
	[
		{
			schema: { type: "integer" },
			read: (value, path, log) =>
				Number.isSafeInteger(value) ? (value as number) : log.error("bad-value", path, show(value), "a whole number or a text"),
		},
		text,
	],
	(value) => (typeof value === "string" ? 1 : 0),
);
const clockReader = choice("virtual", "realtime");

const KEYS: Readonly<Record<string, { readonly description: string; readonly schema: JsonSchema }>> = {
	lab: {
		description: "The lab's name: with the seed, the key of its randomness and its MAC addresses",
		schema: { type: "string", pattern: NODE_NAME.source },
	},
	seed: { description: "Same seed, same packets, on any machine", schema: seedReader.schema },
	clock: {
		description: "virtual: nobody waits, and every run is the same; realtime: the host's. Left out: virtual for tests, realtime for `up`",
		schema: clockReader.schema,
	},
	profiles: {
		description: "Cables by name",
		schema: { type: "object", patternProperties: { "^[A-Za-z0-9_][\\w.-]*$": LINK_SCHEMA }, additionalProperties: false },
	},
	nodes: {
		description: "What there is, by name",
		schema: { type: "object", patternProperties: { [NODE_NAME.source]: nodeSchema() }, additionalProperties: false },
	},
	links: { description: "A line for each cable: `pc -- sw: 100mbit`", schema: LINKS_SCHEMA },
	timeline: {
		description: `What happens, by lab time: ${ACTION_FORM}`,
		schema: {
			type: "object",
			patternProperties: {
				"^[\\d.]+\\s*(ns|us|µs|ms|s|min|h)$": { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] },
			},
			additionalProperties: false,
		},
	},
	expect: { description: `What it is to show: ${EXPECT_FORM}`, schema: { type: "array", items: { type: "string" } } },
	layout: {
		description: "Where a canvas shows each node",
		schema: {
			type: "object",
			patternProperties: {
				[NODE_NAME.source]: {
					type: "object",
					properties: { x: { type: "number" }, y: { type: "number" } },
					required: ["x", "y"],
					additionalProperties: false,
				},
			},
			additionalProperties: false,
		},
	},
};

function nodeSchema(): JsonSchema {
	const kinds = KIND_NAMES.map((kind): JsonSchema => {
		const { schema } = KINDS[kind];
		const properties = { ...schema.properties, kind: { enum: [kind] } };
		const needed = [...(schema.required ?? []), ...(kind === "machine" ? [] : ["kind"])];
		return { ...schema, properties, ...(needed.length === 0 ? {} : { required: needed }) };
	});
	return { anyOf: kinds };
}

/** The JSON Schema of lab files, for editors: made of the same tables that files are read by. */
export function labSchema(): JsonSchema & { readonly $schema: string; readonly title: string } {
	return {
		$schema: "https://json-schema.org/draft/2020-12/schema",
		title: "Basenji lab",
		type: "object",
		properties: Object.fromEntries(Object.entries(KEYS).map(([key, { description, schema }]) => [key, { ...schema, description }])),
		additionalProperties: false,
		required: ["lab", "nodes"],
		$defs: LINK_DEFINITIONS,
	};
}

/** Reads a lab from plain data (a parsed lab file): everything that is wrong with it, or the lab. */
export function readLab(value: unknown, options: ReadLabOptions = {}): ReadLab {
	const log = new IssueLog();
	const model = new LabReader(log, options).read(value);
	return { model: log.hasErrors ? undefined : model, issues: log.issues };
}

/** @throws LabError with all that is wrong */
export function parseLab(value: unknown, options: ReadLabOptions = {}): LabModel {
	const { model, issues } = readLab(value, options);
	if (model === undefined) throw new LabError(issues.filter(({ severity }) => severity === "error"));
	return model;
}

class LabReader {
	readonly #log: IssueLog;
	readonly #options: ReadLabOptions;

	constructor(log: IssueLog, options: ReadLabOptions) {
		this.#log = log;
		this.#options = options;
	}

	read(value: unknown): LabModel | undefined {
		if (!isMap(value)) return this.#log.error("bad-value", [], show(value), `a map with ${Object.keys(KEYS).join(", ")}`);
		for (const key of Object.keys(value))
			if (!Object.hasOwn(KEYS, key))
				this.#log.error(
					"unknown-key",
					[key],
					`unknown key ${key}`,
					`one of ${Object.keys(KEYS).join(", ")}${suggestion(key, Object.keys(KEYS))}`,
					"key",
				);
		const name = this.#name(value.lab);
		const seed = value.seed === undefined ? 1 : seedReader.read(value.seed, ["seed"], this.#log);
		const clock = value.clock === undefined ? undefined : clockReader.read(value.clock, ["clock"], this.#log);
		const context: LinkContext = { profiles: this.#profiles(value.profiles), readText: this.#options.readText };
		const { nodes, failed } = this.#nodes(value.nodes);
		const links = new LinkReader(nodes, failed, context, this.#log).readAll(value.links, ["links"]);
		const actions = { links, machines: namesOf(nodes, ["machine"]) };
		const timeline = this.#timeline(value.timeline, actions);
		const expectations = this.#expectations(value.expect, {
			...actions,
			stations: namesOf(nodes, ["machine", "host"]),
			nodes: new Set(nodes.keys()),
		});
		const layout = this.#layout(value.layout, nodes);
		const model: LabModel = {
			name: name ?? "lab",
			seed: seed ?? 1,
			clock,
			nodes,
			links,
			timeline,
			expectations,
			layout,
		};
		checkLab(model, failed, this.#log);
		return model;
	}

	#name(value: unknown): string | undefined {
		if (value === undefined || value === null) return this.#log.error("missing", [], "no lab", "the lab's name (lab: NAME)", "key");
		const isName = typeof value === "string" && NODE_NAME.test(value);
		return isName ? value : this.#log.error("bad-value", ["lab"], show(value), NAME_FORM);
	}

	#map(value: unknown, key: string, expected: string): [string, unknown][] {
		if (value === undefined || value === null) return [];
		if (isMap(value)) return Object.entries(value);
		this.#log.error("bad-value", [key], show(value), expected);
		return [];
	}

	#profiles(value: unknown): ReadonlyMap<string, LinkSpec> {
		const reader = profileReader(this.#options.readText);
		const profiles = new Map<string, LinkSpec>();
		for (const [name, each] of this.#map(value, "profiles", "links' values by name"))
			profiles.set(name, reader.read(each, ["profiles", name], this.#log) ?? {});
		return profiles;
	}

	#nodes(value: unknown): { nodes: Map<string, NodeModel>; failed: Set<string> } {
		const nodes = new Map<string, NodeModel>();
		const failed = new Set<string>();
		if (value === undefined || value === null) this.#log.error("missing", [], "no nodes", "nodes: what there is, by name", "key");
		for (const [name, each] of this.#map(value, "nodes", "nodes by name")) {
			const node = this.#node(name, each);
			if (node === undefined) failed.add(name);
			else nodes.set(name, node);
		}
		return { nodes, failed };
	}

	#node(name: string, value: unknown): NodeModel | undefined {
		const path = ["nodes", name];
		if (!NODE_NAME.test(name)) return this.#log.error("bad-value", path, `"${name}"`, NAME_FORM, "key");
		if (!isMap(value)) return this.#log.error("bad-value", path, show(value), "a map such as { kind: switch } or { image: default }");
		const kind = value.kind ?? "machine";
		if (typeof kind !== "string" || !(KIND_NAMES as readonly string[]).includes(kind)) {
			const hint = typeof kind === "string" ? suggestion(kind, KIND_NAMES) : "";
			return this.#log.error("bad-value", [...path, "kind"], show(kind), `one of ${KIND_NAMES.join(", ")}${hint}`);
		}
		const read = KINDS[kind as NodeKind].read(value, path, this.#log);
		return read === undefined ? undefined : ({ ...read, kind, name, path } as NodeModel);
	}

	#timeline(value: unknown, context: Parameters<typeof parseAction>[2]): readonly TimedAction[] {
		const timed: TimedAction[] = [];
		for (const [key, each] of this.#map(value, "timeline", "actions by time, such as 10s: a -- b down")) {
			const path: LabPath = ["timeline", key];
			const before = this.#log.issues.length;
			const timeNs = time.read(key, path, this.#log);
			const last = this.#log.issues[before];
			if (last !== undefined) this.#log.issues[before] = { ...last, at: "key" };
			for (const [index, line] of (Array.isArray(each) ? each : [each]).entries()) {
				const at = Array.isArray(each) ? [...path, String(index)] : path;
				const action = this.#log.attempt(() => parseAction(line, at, context));
				if (action !== undefined && timeNs !== undefined) timed.push({ timeNs, action });
			}
		}
		// Sorting is stable: what was written first of equal times stays first.
		return timed.sort((a, b) => a.timeNs - b.timeNs);
	}

	#expectations(value: unknown, context: Parameters<typeof parseExpectation>[2]): readonly Expectation[] {
		if (value === undefined || value === null) return [];
		const lines = Array.isArray(value) ? value : [value];
		return lines.flatMap((line, index) => {
			const path = Array.isArray(value) ? ["expect", String(index)] : ["expect"];
			return this.#log.attempt(() => parseExpectation(line, path, context)) ?? [];
		});
	}

	#layout(value: unknown, nodes: ReadonlyMap<string, NodeModel>): LabModel["layout"] {
		const layout = new Map<string, { x: number; y: number }>();
		for (const [name, each] of this.#map(value, "layout", "{ x, y } by node")) {
			const path = ["layout", name];
			if (!nodes.has(name)) this.#log.warn(path, `there is no node ${name}`, `one of ${[...nodes.keys()].join(", ")}`);
			if (!isMap(each) || typeof each.x !== "number" || typeof each.y !== "number")
				this.#log.error("bad-value", path, show(each), "{ x: number, y: number }");
			else layout.set(name, { x: each.x, y: each.y });
		}
		return layout;
	}
}

function namesOf(nodes: ReadonlyMap<string, NodeModel>, kinds: readonly NodeKind[]): ReadonlySet<string> {
	return new Set([...nodes.values()].filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name));
}
