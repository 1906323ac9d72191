import { LabError } from "./issue.ts";
import type { LabModel } from "./model.ts";
import type { NodeKind } from "./node-kinds.ts";
import { parseLab, type ReadLabOptions } from "./read-lab.ts";
import type { CableSpec, LabSpec, NodeSpec, NodeSpecs } from "./spec.ts";

/** A node that is to be in a lab. */
export class NodeDraft {
	readonly name: string;
	readonly spec: NodeSpec;

	constructor(name: string, spec: NodeSpec) {
		this.name = name;
		this.spec = spec;
	}

	/** Its socket of that name, for a cable's end: `draft.link(gw.port("wan"), isp)`. */
	port(name: string | number): PortDraft {
		return { node: this, port: String(name) };
	}

	toString(): string {
		return this.name;
	}
}

export interface PortDraft {
	readonly node: NodeDraft;
	readonly port: string;
}

/** A cable that is to be in a lab; in lines for `at` and `expect` it stands for its two ends. */
export class LinkDraft {
	readonly #text: string;

	constructor(text: string) {
		this.#text = text;
	}

	toString(): string {
		return this.#text;
	}
}

/**
 * A lab before it runs: what a lab file holds, put together by a program.
 *
 * ```ts
 * const draft = lab("branch-office", { seed: 7 });
 * const pc = draft.add(vm("pc", { image: "default" }));
 * const gw = draft.add(router("gw", { ip: { lan: "10.0.0.1/24" }, dhcp: true }));
 * const cable = draft.link(pc, gw.port("lan"), { rate: "10mbit", delay: "5ms" });
 * draft.at("10s", `${cable} loss 10%`);
 * ```
 */
export class LabDraft {
	readonly #spec: LabSpec;

	constructor(name: string, options: { readonly seed?: number | string; readonly clock?: "virtual" | "realtime" } = {}) {
		this.#spec = { lab: name, ...options, nodes: {}, links: [] };
	}

	/** @throws LabError when the name is taken */
	add(node: NodeDraft): NodeDraft {
		if (Object.hasOwn(this.#spec.nodes, node.name))
			throw new LabError([
				{
					kind: "duplicate",
					severity: "error",
					path: ["nodes", node.name],
					at: "key",
					problem: `${node.name} is there twice`,
					expected: "each name once",
				},
			]);
		this.#spec.nodes[node.name] = node.spec;
		return node;
	}

	/** A cable's quality: a profile, a preset, a rate, or all its values. */
	link(a: NodeDraft | PortDraft, b: NodeDraft | PortDraft, quality?: CableSpec): LinkDraft {
		const text = `${endText(a)} -- ${endText(b)}`;
		this.#spec.links.push(quality === undefined ? text : { [text]: quality });
		return new LinkDraft(text);
	}

	profile(name: string, quality: CableSpec): void {
		this.#spec.profiles = { ...this.#spec.profiles, [name]: quality };
	}

	/** `draft.at("10s", "gw -- isp down")`: an action of a lab file's timeline. */
	at(time: string, ...actions: readonly string[]): void {
		this.#spec.timeline ??= {};
		this.#spec.timeline[time] = [...(this.#spec.timeline[time] ?? []), ...actions];
	}

	/** Lines of a lab file's `expect`. */
	expect(...lines: readonly string[]): void {
		this.#spec.expect = [...(this.#spec.expect ?? []), ...lines];
	}

	/** What stands in the file that says the same. */
	toJSON(): LabSpec {
		return structuredCopy(this.#spec);
	}

	/** @throws LabError with all that is wrong */
	read(options: ReadLabOptions = {}): LabModel {
		return parseLab(this.toJSON(), options);
	}
}

function structuredCopy(spec: LabSpec): LabSpec {
	return JSON.parse(JSON.stringify(spec)) as LabSpec;
}

function endText(end: NodeDraft | PortDraft): string {
	return end instanceof NodeDraft ? end.name : `${end.node.name}:${end.port}`;
}

export function lab(name: string, options: { readonly seed?: number | string; readonly clock?: "virtual" | "realtime" } = {}): LabDraft {
	return new LabDraft(name, options);
}

function maker<Kind extends NodeKind>(kind: Kind): (name: string, spec?: NodeSpecs[Kind]) => NodeDraft {
	return (name, spec) => new NodeDraft(name, { kind, ...spec } as NodeSpec);
}

type Needs<Kind extends NodeKind> = (name: string, spec: NodeSpecs[Kind]) => NodeDraft;

export const vm: Needs<"machine"> = maker("machine");
export const sw: (name: string, spec?: NodeSpecs["switch"]) => NodeDraft = maker("switch");
export const hub: (name: string, spec?: NodeSpecs["hub"]) => NodeDraft = maker("hub");
export const router: Needs<"router"> = maker("router");
export const nat: (name: string, spec?: NodeSpecs["nat"]) => NodeDraft = maker("nat");
export const host: Needs<"host"> = maker("host");
export const server: Needs<"server"> = maker("server");
export const tap: (name: string, spec?: NodeSpecs["tap"]) => NodeDraft = maker("tap");
