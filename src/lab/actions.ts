import { DEFAULT_DIRECTION } from "../net/link/config.ts";
import { SpecError } from "../net/link/errors.ts";
import { changeDirection, type DirectionSpec } from "../net/link/spec.ts";
import { CABLE_FORM, endName, parseCable } from "./cables.ts";
import { findLink, type LinkMatch } from "./find-link.ts";
import { type LabPath, suggestion } from "./issue.ts";
import type { LinkModel } from "./model.ts";

/** Something that happens to a running lab. */
export type Action =
	| { readonly kind: "link"; readonly link: string; readonly side: "up" | "down" | undefined; readonly spec: DirectionSpec }
	| { readonly kind: "machine"; readonly verb: "start" | "stop" | "power"; readonly node: string }
	| { readonly kind: "type"; readonly node: string; readonly text: string };

/** A link's values in lines such as `a -- b loss 10% delay 40ms ±5ms`. */
const LINK_KEYS: Readonly<Record<string, "text" | "number">> = {
	rate: "text",
	delay: "text",
	jitter: "text",
	loss: "text",
	ber: "number",
	corrupt: "text",
	duplicate: "text",
	reorder: "text",
	queue: "text",
	mtu: "number",
	netem: "text",
	framing: "text",
};

export const ACTION_FORM =
	'`A -- B down`, `up`, `silent` or `reset`; `A -- B rate 1mbit loss 5%` (`A -> B` for one direction); `start NODE`, `stop NODE`, `power NODE`; or `type NODE "text"`';

/** What actions may name. */
export interface ActionContext {
	readonly links: readonly LinkModel[];
	/** Names of machines: the only nodes that are started and stopped. */
	readonly machines: ReadonlySet<string>;
}

/** @throws SpecError */
export function parseAction(value: unknown, path: LabPath, context: ActionContext): Action {
	if (typeof value !== "string") throw new SpecError("bad-value", path, value, ACTION_FORM);
	const line = value.trim();
	const machine = /^(start|stop|power)\s+(\S+)$/.exec(line);
	if (machine !== null)
		return { kind: "machine", verb: machine[1] as "start", node: machineNamed(machine[2] as string, path, value, context) };
	const typed = /^type\s+(\S+)\s+(".*")$/s.exec(line);
	if (typed !== null) {
		const node = machineNamed(typed[1] as string, path, value, context);
		return { kind: "type", node, text: quoted(typed[2] as string, path) };
	}
	const cable = /^(\S+\s*(?:--|->)\s*\S+)\s+(.+)$/s.exec(line);
	if (cable === null) throw new SpecError("bad-value", path, value, ACTION_FORM);
	const match = linkNamed(cable[1] as string, path, context);
	return { kind: "link", link: match.link.name, side: match.side, spec: parseLinkWords(cable[2] as string, path) };
}

/** `down`, `reset`, or `loss 10% delay 40ms ±5ms`. @throws SpecError */
export function parseLinkWords(text: string, path: LabPath): DirectionSpec {
	const words = text.trim().split(/\s+/);
	if (words.length === 1) {
		const [state = ""] = words;
		if (state === "up" || state === "down" || state === "silent") return { state };
		if (state === "reset") return resetSpec();
	}
	const spec: Record<string, unknown> = {};
	while (words.length > 0) {
		const key = words.shift() as string;
		if (key === "state") spec.state = words.shift();
		else if (!Object.hasOwn(LINK_KEYS, key))
			throw new SpecError(
				"bad-value",
				path,
				text,
				`up, down, silent, reset, or values such as loss 10%${suggestion(key, Object.keys(LINK_KEYS))}`,
			);
		else {
			const end = key === "netem" ? words.length : words.findIndex((word) => Object.hasOwn(LINK_KEYS, word));
			const value = words.splice(0, end < 0 ? words.length : end).join(" ");
			if (value === "") throw new SpecError("bad-value", path, text, `a value behind ${key}`);
			spec[key] = value === "default" ? null : LINK_KEYS[key] === "number" ? Number(value) : value;
		}
	}
	changeDirection(DEFAULT_DIRECTION, spec as DirectionSpec, path);
	return spec as DirectionSpec;
}

/** The line that `parseAction` reads as this action; `undefined` where a value has no short form. */
export function formatAction(action: Action, links: readonly LinkModel[]): string | undefined {
	if (action.kind === "machine") return `${action.verb} ${action.node}`;
	if (action.kind === "type") return `type ${action.node} ${JSON.stringify(action.text)}`;
	const link = links.find(({ name }) => name === action.link);
	if (link === undefined) return undefined;
	const [a, b] = [endName(link.a), endName(link.b)];
	const ends = action.side === undefined ? `${a} -- ${b}` : action.side === "up" ? `${a} -> ${b}` : `${b} -> ${a}`;
	if (Object.keys(resetSpec()).every((key) => action.spec[key as keyof DirectionSpec] === null)) return `${ends} reset`;
	const words = Object.entries(action.spec).map(([key, value]) => {
		if (key !== "state" && !Object.hasOwn(LINK_KEYS, key)) return undefined;
		if (value === null) return key === "state" ? "state up" : `${key} default`;
		return typeof value === "string" || typeof value === "number" ? `${key} ${value}` : undefined;
	});
	return words.includes(undefined) ? undefined : `${ends} ${words.join(" ")}`;
}

/** Everything but the MTU back to an ideal cable. */
function resetSpec(): DirectionSpec {
	return {
		rate: null,
		framing: null,
		delay: null,
		jitter: null,
		loss: null,
		ber: null,
		corrupt: null,
		duplicate: null,
		reorder: null,
		queue: null,
		state: null,
		trace: null,
		netem: null,
	};
}

/** @throws SpecError */
export function linkNamed(text: string, path: LabPath, { links }: Pick<ActionContext, "links">): LinkMatch {
	const cable = parseCable(text, path);
	const found = findLink(links, cable);
	if (found.length === 1) return found[0] as LinkMatch;
	const names = links.map(({ name }) => name).join(", ");
	if (found.length === 0) throw new SpecError("contradiction", path, text, names === "" ? CABLE_FORM : `one of the links ${names}`);
	throw new SpecError("contradiction", path, text, `one of ${found.map(({ link }) => link.name).join(", ")}: several links fit`);
}

function machineNamed(name: string, path: LabPath, value: string, { machines }: ActionContext): string {
	if (!machines.has(name))
		throw new SpecError("bad-value", path, value, `a machine: ${[...machines].join(", ")}${suggestion(name, machines)}`);
	return name;
}

/** A text in double quotes, escapes as in JSON. */
export function quoted(text: string, path: LabPath): string {
	try {
		return JSON.parse(text) as string;
	} catch {
		throw new SpecError("bad-value", path, text, 'a text in double quotes, \\n and \\" as in JSON');
	}
}
