import { formatIpv4, isInPrefix } from "../net/frames/address.ts";
import { NatPolicy } from "../net/nat/policy.ts";
import { type IssueLog, suggestion } from "./issue.ts";
import type { LabModel, NodeModel, NodeOf } from "./model.ts";

/** What no single value shows: names that lead nowhere, orders that go round, addresses that two have. */
export function checkLab(model: LabModel, failed: ReadonlySet<string>, log: IssueLog): void {
	for (const node of model.nodes.values()) {
		if (node.kind === "switch") checkSwitch(model, node, log);
		else if (node.kind === "router") checkRouter(model, node, failed, log);
		else if (node.kind === "machine") checkMachine(model, node, failed, log);
		else if (node.kind === "nat") checkNat(node, log);
		else if (node.kind === "tap" && model.clock === "virtual")
			log.error(
				"contradiction",
				[...node.path, "kind"],
				"a TAP in virtual time",
				"clock: realtime: the world outside has no other",
				"value",
			);
	}
	checkOrder(model, log);
	checkAddresses(model, log);
}

/** Ports of a node that a cable is in. */
export function pluggedPorts(model: LabModel, name: string): readonly string[] {
	return model.links.flatMap(({ a, b }) => [a, b].filter(({ node }) => node === name).map(({ port }) => port));
}

function checkSwitch(model: LabModel, node: NodeOf<"switch">, log: IssueLog): void {
	const plugged = pluggedPorts(model, node.name);
	const mirror = node.mirror === undefined ? [] : [...node.mirror.ports, node.mirror.to];
	const named: [string, readonly string[]][] = [
		["vlan", [...(node.vlan?.keys() ?? [])]],
		["edge", node.edge ?? []],
		["guard", node.guard ?? []],
		["isolated", node.isolated ?? []],
		["mirror", mirror],
	];
	for (const [key, ports] of named)
		for (const port of ports) {
			if (plugged.includes(port)) continue;
			const path = key === "vlan" ? [...node.path, key, port] : [...node.path, key];
			const expected = `a port with a cable in it: ${plugged.join(", ")}${suggestion(port, plugged)}`;
			log.error("unknown-name", path, `${node.name} has no port ${port}`, expected, key === "vlan" ? "key" : "value");
		}
	if (node.priority !== undefined && node.priority % 4096 !== 0)
		log.error("out-of-range", [...node.path, "priority"], String(node.priority), "a multiple of 4096");
	if ((node.edge !== undefined || node.guard !== undefined || node.priority !== undefined) && (node.stp ?? "off") === "off")
		log.warn(
			[...node.path, node.priority !== undefined ? "priority" : node.edge !== undefined ? "edge" : "guard"],
			"without a spanning tree",
			"stp: rstp or stp",
		);
}

function checkRouter(model: LabModel, node: NodeOf<"router">, failed: ReadonlySet<string>, log: IssueLog): void {
	const plugged = pluggedPorts(model, node.name);
	const addressed = new Set([...(node.ip?.keys() ?? [])].map((name) => name.split(".")[0] as string));
	// A cable that could not be read may be the one.
	if (!log.hasErrors && failed.size === 0)
		for (const name of node.ip?.keys() ?? []) {
			const port = name.split(".")[0] as string;
			const expected = `a port with a cable in it: ${plugged.join(", ")}${suggestion(port, plugged)}`;
			if (!plugged.includes(port))
				log.error("unknown-name", [...node.path, "ip", name], `${node.name} has no port ${port}`, expected, "key");
		}
	for (const link of model.links) {
		const end = link.a.node === node.name ? link.a : link.b.node === node.name ? link.b : undefined;
		const other = link.a === end ? link.b : link.a;
		if (end === undefined || addressed.has(end.port) || model.nodes.get(other.node)?.kind === "nat") continue;
		log.warn(node.path, `port ${end.port} of ${node.name} has no address`, `an address for it under ip`);
	}
	const dhcp = node.dhcp;
	const served =
		dhcp === undefined || typeof dhcp === "boolean"
			? []
			: Array.isArray(dhcp)
				? (dhcp as readonly string[])
				: [...(dhcp as ReadonlyMap<string, unknown>).keys()];
	for (const name of served)
		if (node.ip?.has(name) !== true)
			log.error(
				"unknown-name",
				[...node.path, "dhcp"],
				`${node.name} has no address on ${name}`,
				`one of ${[...(node.ip?.keys() ?? [])].join(", ")}`,
			);
	for (const [prefix, via] of node.routes instanceof Map ? node.routes : []) {
		const isNear = [...(node.ip?.values() ?? [])].some((own) => isNextHop(via, own));
		const facesNat = model.links.some(
			({ a, b }) =>
				[a, b].some(({ node: name }) => name === node.name) && [a, b].some(({ node: name }) => model.nodes.get(name)?.kind === "nat"),
		);
		if (!isNear && !facesNat)
			log.error("contradiction", [...node.path, "routes", prefix], via, "a next hop in the subnet of one of its ports");
	}
}

function isNextHop(via: string, own: { readonly address: number; readonly lengthBits: number }): boolean {
	const octets = via.split(".").map(Number);
	const address = octets.reduce((sum, octet) => sum * 256 + octet, 0);
	return isInPrefix(address, own);
}

function checkMachine(model: LabModel, node: NodeOf<"machine">, failed: ReadonlySet<string>, log: IssueLog): void {
	const sources = [node.image, node.kernel, node.bios].filter((each) => each !== undefined).length;
	if (sources === 0) log.error("missing", node.path, "nothing to boot", "image, kernel or bios", "key");
	if (sources > 1) log.error("contradiction", node.path, "more than one of image, kernel and bios", "one of them", "key");
	if (node.initrd !== undefined && node.kernel === undefined)
		log.error("contradiction", [...node.path, "initrd"], "no kernel to give it to", "kernel beside it", "key");
	if (node.nic?.mac !== undefined && pluggedPorts(model, node.name).length > 1)
		log.error("contradiction", [...node.path, "nic"], "one MAC address for several cards", "nics, with a mac for each");
	if (node.command !== undefined && node.image === undefined)
		log.error("contradiction", [...node.path, "command"], "a command without an image of ours", "image beside it", "key");
	const machines = [...model.nodes.values()].filter(({ kind }) => kind === "machine").map(({ name }) => name);
	for (const [index, name] of (node.after ?? []).entries()) {
		if (machines.includes(name) || failed.has(name)) continue;
		const others = machines.filter((each) => each !== node.name);
		log.error(
			"unknown-name",
			[...node.path, "after", String(index)],
			`there is no machine ${name}`,
			`one of ${others.join(", ")}${suggestion(name, others)}`,
		);
	}
}

function checkNat(node: NodeOf<"nat">, log: IssueLog): void {
	const rules = { allow: node.allow ?? [], deny: node.deny ?? [] };
	log.attempt(() => {
		try {
			return new NatPolicy(rules);
		} catch (error) {
			// The policy knows its own keys only.
			Object.assign(error as object, { path: [...node.path, ...((error as { path?: readonly string[] }).path ?? [])] });
			throw error;
		}
	});
	if (rules.allow.length === 0) log.warn(node.path, "nothing may pass", "rules under allow, such as `any internet`");
}

/** Machines that wait for one another would never start. */
function checkOrder(model: LabModel, log: IssueLog): void {
	const state = new Map<string, "open" | "done">();
	const visit = (node: NodeModel | undefined, trail: readonly string[]): void => {
		if (node?.kind !== "machine" || state.get(node.name) === "done") return;
		if (state.get(node.name) === "open") {
			const ring = [...trail.slice(trail.indexOf(node.name)), node.name];
			const closing = model.nodes.get(ring.at(-2) as string) as NodeModel;
			log.error("cycle", [...closing.path, "after"], `${ring.join(" waits for ")}`, "an order in which somebody starts first");
			return;
		}
		state.set(node.name, "open");
		for (const name of node.after ?? []) visit(model.nodes.get(name), [...trail, node.name]);
		state.set(node.name, "done");
	};
	for (const node of model.nodes.values()) visit(node, []);
}

interface Owner {
	readonly what: string;
	readonly address: number;
	readonly lengthBits: number;
	readonly path: readonly string[];
}

/** Addresses that are written down, each with its place. */
function checkAddresses(model: LabModel, log: IssueLog): void {
	const owners: Owner[] = [];
	const add = (
		what: string,
		prefix: { readonly address: number; readonly lengthBits: number } | undefined,
		path: readonly string[],
	): void => {
		if (prefix === undefined) return;
		const other = owners.find(({ address }) => address === prefix.address);
		if (other !== undefined) log.error("duplicate", path, formatIpv4(prefix.address), `an address that ${other.what} does not have`);
		owners.push({ what, ...prefix, path });
	};
	for (const node of model.nodes.values()) {
		if (node.kind === "router")
			for (const [port, prefix] of node.ip ?? []) add(`${node.name} (${port})`, prefix, [...node.path, "ip", port]);
		else if (node.kind === "machine" || node.kind === "host" || node.kind === "server" || node.kind === "nat")
			add(node.name, node.ip, [...node.path, "ip"]);
	}
}
