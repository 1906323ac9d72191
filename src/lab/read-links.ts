import { CABLE, CABLE_FORM, type Cable, type CableEnd, cableName, endName, parseCable } from "./cables.ts";
import { isMap, type JsonSchema } from "./fields.ts";
import { findLink } from "./find-link.ts";
import { type IssueLog, type LabPath, show, suggestion } from "./issue.ts";
import { LINK_SCHEMA, type LinkContext, readLinkValue } from "./link-reader.ts";
import type { LinkEnd, LinkModel, NodeModel } from "./model.ts";

export const LINKS_SCHEMA: JsonSchema = {
	type: "array",
	items: {
		anyOf: [
			{ type: "string", pattern: CABLE.source },
			{
				type: "object",
				patternProperties: { [CABLE.source]: { anyOf: [LINK_SCHEMA, { type: "null" }] } },
				additionalProperties: false,
				minProperties: 1,
				maxProperties: 1,
			},
		],
	},
};

/** Nodes with a single socket; what it is called does not matter. */
const SINGLE: ReadonlySet<string> = new Set(["host", "server", "nat", "tap"]);

/** Gives each cable its ports, and finds ends that lead nowhere and sockets used twice. */
export class LinkReader {
	readonly links: LinkModel[] = [];
	readonly #nodes: ReadonlyMap<string, NodeModel>;
	readonly #failedNodes: ReadonlySet<string>;
	readonly #context: LinkContext;
	readonly #log: IssueLog;
	/** `node:port` to the cable that is in it. */
	readonly #used = new Map<string, string>();

	/** @param failedNodes nodes that are there but could not be read: cables to them lead somewhere */
	constructor(nodes: ReadonlyMap<string, NodeModel>, failedNodes: ReadonlySet<string>, context: LinkContext, log: IssueLog) {
		this.#nodes = nodes;
		this.#failedNodes = failedNodes;
		this.#context = context;
		this.#log = log;
	}

	readAll(value: unknown, path: LabPath): readonly LinkModel[] {
		if (value === undefined || value === null) return [];
		if (!Array.isArray(value)) {
			this.#log.error("bad-value", path, show(value), "a list with a line for each cable");
			return [];
		}
		for (const [index, entry] of value.entries()) this.#readEntry(entry, [...path, String(index)]);
		return this.links;
	}

	#readEntry(entry: unknown, path: LabPath): void {
		if (isMap(entry)) {
			const keys = Object.keys(entry);
			if (keys.length === 1) {
				this.#readCable(keys[0], entry[keys[0] as string], [...path, keys[0] as string], "key");
				return;
			}
			// Values that are not indented far enough stand beside the cable instead of under it.
			const isBeside = keys[0] !== undefined && CABLE.test(keys[0]);
			this.#log.error(
				"bad-value",
				isBeside ? [...path, keys[1] as string] : path,
				isBeside ? `${keys[1]} beside ${keys[0]}` : show(entry),
				isBeside ? "a link's values indented further than its ends" : CABLE_FORM,
				isBeside ? "key" : "value",
			);
		} else this.#readCable(entry, undefined, path, "value");
	}

	#readCable(text: unknown, value: unknown, path: LabPath, at: "key" | "value"): void {
		if (typeof text !== "string" || !CABLE.test(text)) {
			this.#log.error("bad-value", path, show(text), CABLE_FORM, at);
			return;
		}
		const cable = parseCable(text, path);
		// A cable with wrong values is still one: what is plugged into its ports shall not be wrong as well.
		const read = readLinkValue(value, path, this.#log, this.#context) ?? { spec: {}, capture: undefined };
		if (!this.#check(cable, path, at)) return;
		if (cable.isDirected && this.#addDirection(cable, read.spec, path)) return;
		const a = this.#plug(cable.from, cable.to, cableName(cable), path, at);
		const b = a === undefined ? undefined : this.#plug(cable.to, cable.from, cableName(cable), path, at);
		if (a === undefined || b === undefined) return;
		const { up: _up, down: _down, ...own } = read.spec;
		const spec = cable.isDirected ? { up: own } : read.spec;
		this.links.push({ name: this.#uniqueName(cable), a, b, spec, capture: read.capture, path });
	}

	/** `b -> a` after `a -> b` is the same cable's other direction. */
	#addDirection(cable: Cable, spec: LinkModel["spec"], path: LabPath): boolean {
		const [found] = findLink(this.links, cable);
		if (found === undefined || found.side !== "down" || found.link.spec.down !== undefined) return false;
		const { up: _up, down: _down, ...own } = spec;
		const at = this.links.indexOf(found.link);
		this.links[at] = { ...found.link, spec: { ...found.link.spec, down: own }, path: found.link.path.length > 0 ? found.link.path : path };
		return true;
	}

	#check({ from, to }: Cable, path: LabPath, at: "key" | "value"): boolean {
		let isRight = true;
		for (const { node } of [from, to]) {
			if (this.#nodes.has(node)) continue;
			isRight = false;
			if (this.#failedNodes.has(node)) continue;
			const names = [...this.#nodes.keys()];
			this.#log.error("unknown-name", path, `there is no node ${node}`, `one of ${names.join(", ")}${suggestion(node, names)}`, at);
		}
		if (from.node === to.node && isRight) {
			this.#log.error("contradiction", path, `${from.node} linked to itself`, "two different nodes", at);
			return false;
		}
		return isRight;
	}

	#plug(end: CableEnd, other: CableEnd, name: string, path: LabPath, at: "key" | "value"): LinkEnd | undefined {
		const node = this.#nodes.get(end.node) as NodeModel;
		const port = this.#portOf(node, end, other, path, at);
		if (port === undefined) return undefined;
		const key = `${end.node}:${port}`;
		const taken = this.#used.get(key);
		if (taken !== undefined) {
			const what = SINGLE.has(node.kind) ? `${end.node} has one socket, and ${taken} is in it` : `${taken} is plugged into ${key} already`;
			const mend = SINGLE.has(node.kind) ? "a switch between them" : `another port, such as ${end.node}:${port}-2`;
			return this.#log.error("duplicate", path, what, mend, at);
		}
		this.#used.set(key, name);
		return { node: end.node, port };
	}

	#portOf(node: NodeModel, end: CableEnd, other: CableEnd, path: LabPath, at: "key" | "value"): string | undefined {
		if (SINGLE.has(node.kind)) return "lan";
		if (node.kind !== "machine") return end.port ?? other.node.replaceAll(".", "-");
		const own = node.nics === undefined ? undefined : [...node.nics.keys()];
		if (end.port !== undefined) {
			const named = /^\d+$/.test(end.port) ? (own?.[Number(end.port)] ?? `nic${end.port}`) : end.port;
			if (own === undefined || own.includes(named)) return named;
			return this.#log.error("unknown-name", path, `${endName(end)}: no such card`, `one of ${own.join(", ")}`, at);
		}
		const free = (own ?? Array.from({ length: 64 }, (_, index) => `nic${index}`)).find((name) => !this.#used.has(`${node.name}:${name}`));
		return free ?? this.#log.error("contradiction", path, `${node.name} has no card left`, `one more in its nics`, at);
	}

	/** Two cables between the same two nodes need different randomness. */
	#uniqueName(cable: Cable): string {
		const name = cableName(cable);
		let unique = name;
		for (let number = 2; this.links.some((link) => link.name === unique); number++) unique = `${name}-${number}`;
		return unique;
	}
}
