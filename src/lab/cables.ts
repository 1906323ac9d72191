import { SpecError } from "../net/link/errors.ts";
import type { LabPath } from "./issue.ts";

/** Letters, digits and underscores; single dots and hyphens in between, so that `a--b` is two nodes. */
const NAME = "[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*";
/** A port has no dot: `sw.10` is VLAN 10 of port sw. */
const PORT = "[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*";
export const NODE_NAME: RegExp = new RegExp(`^${NAME}$`);
export const PORT_NAME: RegExp = new RegExp(`^${PORT}$`);
export const NAME_FORM = "a name of letters, digits and underscores, with single dots and hyphens in between";

const END = `(${NAME})(?::(${PORT}))?`;
/** `pc -- sw`, `gw:wan -- isp`, `a -> b`. */
export const CABLE: RegExp = new RegExp(`^\\s*${END}\\s*(--|->)\\s*${END}\\s*$`);
export const CABLE_FORM = "two ends such as pc -- sw or gw:wan -- isp (-> for one direction)";

export interface CableEnd {
	readonly node: string;
	/** By default the name of the node at the other end; on a machine, the next free card. */
	readonly port: string | undefined;
}

export interface Cable {
	readonly from: CableEnd;
	readonly to: CableEnd;
	/** Written `->`: what follows concerns frames from `from` to `to` only. */
	readonly isDirected: boolean;
}

export function parseCable(text: unknown, path: LabPath): Cable {
	const match = typeof text === "string" ? CABLE.exec(text) : null;
	if (match === null) throw new SpecError("bad-value", path, text, CABLE_FORM);
	const [, fromNode, fromPort, arrow, toNode, toPort] = match as unknown as [string, string, string | undefined, string, string, string];
	return { from: { node: fromNode, port: fromPort }, to: { node: toNode, port: toPort }, isDirected: arrow === "->" };
}

/** What a link is called: `pc--sw`, `gw:wan--isp`. */
export function cableName({ from, to }: Pick<Cable, "from" | "to">): string {
	return `${endName(from)}--${endName(to)}`;
}

export function endName({ node, port }: CableEnd): string {
	return port === undefined ? node : `${node}:${port}`;
}
