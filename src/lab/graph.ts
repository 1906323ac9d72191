import { formatRate, formatTime } from "../net/link/quantity.ts";
import { type LinkConfig, parseLink } from "../net/link/spec.ts";
import { prefixText } from "./addressing.ts";
import type { LabModel, LinkModel, NodeModel } from "./model.ts";

const SHAPES: Record<NodeModel["kind"], string> = {
	machine: "box3d",
	host: "box",
	server: "component",
	switch: "rect",
	hub: "trapezium",
	router: "circle",
	nat: "octagon",
	tap: "cds",
};

/** A lab as a drawing of graphviz's (`dot -Tsvg`). */
export function labGraph(model: LabModel): string {
	const quote = (text: string): string => JSON.stringify(text);
	const nodes = [...model.nodes.values()].map((node) => {
		const place = model.layout.get(node.name);
		const at = place === undefined ? "" : ` pos="${place.x},${-place.y}!"`;
		return `\t${quote(node.name)} [shape=${SHAPES[node.kind]} label=${quote([node.name, ...nodeDetails(node)].join("\n"))}${at}]`;
	});
	const links = model.links.map((link) => {
		const ends = `taillabel=${quote(link.a.port)} headlabel=${quote(link.b.port)}`;
		return `\t${quote(link.a.node)} -- ${quote(link.b.node)} [label=${quote(linkDetails(link))} ${ends}]`;
	});
	return [`graph ${quote(model.name)} {`, "\tnode [fontsize=11]", "\tedge [fontsize=9]", ...nodes, ...links, "}", ""].join("\n");
}

function nodeDetails(node: NodeModel): string[] {
	if (node.kind === "machine")
		return [node.image ?? node.kernel ?? node.bios ?? "", ...(node.ip === undefined ? [] : [prefixText(node.ip)])];
	if (node.kind === "router") return [...(node.ip ?? [])].map(([port, prefix]) => `${port} ${prefixText(prefix)}`);
	if (node.kind === "host" || node.kind === "server") return [prefixText(node.ip)];
	if (node.kind === "switch") return [node.stp ?? "switch"];
	return [node.kind];
}

/** `10mbit, 40ms`; with `/` between the directions where they differ. */
export function linkDetails({ spec }: LinkModel): string {
	return describeConfigs(parseLink(spec));
}

export function describeConfigs({ up, down }: LinkConfig): string {
	const [forth, back] = [describe(up), describe(down)];
	return forth === back ? forth : `${forth} / ${back}`;
}

function describe(config: LinkConfig["up"]): string {
	const parts: string[] = [];
	if (config.state !== "up") parts.push(config.state);
	if (config.netem !== undefined) return [...parts, "netem"].join(", ");
	if (config.opportunitiesMs !== undefined) parts.push("trace");
	if (config.rateBps !== undefined) parts.push(formatRate(config.rateBps));
	if (config.delayNs > 0 || config.jitter !== undefined)
		parts.push(`${formatTime(config.delayNs)}${config.jitter === undefined ? "" : ` ±${formatTime(config.jitter.spreadNs)}`}`);
	if (config.loss.model !== "none")
		parts.push(config.loss.model === "random" ? `loss ${percent(config.loss.ratio)}` : `loss ${config.loss.model}`);
	if (config.corrupt > 0) parts.push(`corrupt ${percent(config.corrupt)}`);
	if (config.duplicate > 0) parts.push(`duplicate ${percent(config.duplicate)}`);
	if (config.bitErrorRatio > 0) parts.push(`ber ${config.bitErrorRatio}`);
	return parts.join(", ");
}

function percent(ratio: number): string {
	return `${Number((ratio * 100).toPrecision(6))}%`;
}
