import { type Ipv4, type Ipv4Prefix, type Mac, parseIpv4Address, parseIpv4Prefix, parseMac } from "../net/frames/address.ts";
import { SpecError } from "../net/link/errors.ts";
import { parseRate, parseTime } from "../net/link/quantity.ts";
import { MAX_CPUS, NIC_MODELS } from "../vm/config.ts";
import { parseSize } from "../vm/quantity.ts";
import { NODE_NAME, PORT_NAME } from "./cables.ts";
import {
	choice,
	count,
	either,
	type FieldsOf,
	field,
	fields,
	flag,
	isMap,
	listOf,
	mapOf,
	oneOrMany,
	pattern,
	type Reader,
	reader,
	required,
	text,
} from "./fields.ts";

export const time: Reader<number> = reader({ type: "string", examples: ["5s", "250ms"] }, parseTime);
const rate: Reader<number> = reader({ type: "string", examples: ["10mbit"] }, parseRate);

const memory: Reader<number> = reader({ type: "string", examples: ["128M"] }, (value, path) => {
	if (typeof value === "number") throw new SpecError("missing-unit", path, value, "a size with its unit, such as 128M or 1G");
	const bytes = typeof value === "string" && !/^[\d.\s]*$/.test(value) ? parseSize(value) : undefined;
	if (bytes === undefined) throw new SpecError("bad-value", path, value, "a size with its unit, such as 128M or 1G");
	return bytes;
});

const address: Reader<Ipv4> = pattern(/^[\d.]+$/, "an IPv4 address such as 10.0.0.5", parseIpv4Address, "10.0.0.5");

const interfaceAddress: Reader<Ipv4Prefix> = pattern(
	/^[\d.]+\/\d+$/,
	"an address with its prefix length, such as 10.0.0.1/24",
	parseIpv4Prefix,
	"10.0.0.1/24",
);

const machineAddress: Reader<Ipv4Prefix> = pattern(
	/^[\d.]+(\/\d+)?$/,
	"an address such as 10.0.0.5 or 10.0.0.5/24",
	parseIpv4Prefix,
	"10.0.0.5/24",
);

const mac: Reader<Mac> = pattern(/^[\da-fA-F:-]{17}$/, "a MAC address such as 02:00:00:00:00:01", parseMac, "02:00:00:00:00:01");
const nodeName: Reader<string> = pattern(NODE_NAME, "a node's name", (name) => name, "srv");
const portName: Reader<string> = pattern(PORT_NAME, "a port's name", (name) => name, "uplink");
const ports = oneOrMany(portName, "a port's name, or a list of them");
const byPort = <T>(item: Reader<T>, what: string) =>
	mapOf(item, { expected: `${what} by port`, key: PORT_NAME, keyExpected: "a port's name" });

const nicModel = choice(...NIC_MODELS);

const nic = either<{ readonly model: (typeof NIC_MODELS)[number] | undefined; readonly mac: Mac | undefined }>(
	[
		{ schema: nicModel.schema, read: (value, path, log) => ({ model: nicModel.read(value, path, log), mac: undefined }) },
		fields("a network card", {
			model: field(nicModel, "What the guest finds"),
			mac: field(mac, "Its address, instead of one made of names"),
		}),
	],
	(value) => (isMap(value) ? 1 : 0),
);

const kind = field(text, "What it is: machine (when left out), host, server, switch, hub, router, nat or tap");

const machineFields = fields("a machine", {
	kind,
	image: field(text, "An image of `basenji image ls`"),
	kernel: field(text, "A Linux kernel to boot directly (a file)"),
	initrd: field(text, "Its initial RAM disk (a file)"),
	bios: field(text, "A firmware to boot through (a file)"),
	append: field(text, "More for the kernel's command line"),
	command: field(text, "Run by a guest of ours instead of a shell; the machine ends with it"),
	disks: field(oneOrMany(text, "a disk or a list of them"), "FILE[,format=…][,mode=…][,bus=…], as with `run --disk`"),
	memory: field(memory, "RAM"),
	cpus: field(count(1, MAX_CPUS), "Virtual processors"),
	engine: field(choice("auto", "translate", "interpret", "kvm"), "What runs the guest's code"),
	nic: field(nic, "The model of all its network cards"),
	nics: field(byPort(nic, "cards"), "Cards that differ, by the name that cables plug into"),
	ip: field(machineAddress, "Its address: its DHCP servers and name servers, and `expect`, know it by that"),
	after: field(oneOrMany(nodeName, "a machine's name, or a list of them"), "Started when these have"),
	delay: field(time, "Started so much later"),
	ready: field(text, "What it prints on its console when it is up; machines after it wait for that"),
});

const vlan = reader(
	{
		anyOf: [
			{ type: "integer", minimum: 1, maximum: 4094 },
			{ enum: ["trunk"] },
			{
				type: "object",
				properties: { allowed: { type: "array", items: { type: "integer" } }, native: { type: "integer" } },
				additionalProperties: false,
			},
		],
	},
	(value, path) => {
		const isId = (id: unknown): id is number => typeof id === "number" && Number.isInteger(id) && id >= 1 && id <= 4094;
		const expected = "a VLAN from 1 to 4094, trunk, or { allowed: [...], native }";
		if (isId(value) || value === "trunk") return value;
		if (!isMap(value)) throw new SpecError("bad-value", path, value, expected);
		const { allowed, native, ...rest } = value;
		const [unknown] = Object.keys(rest);
		if (unknown !== undefined) throw new SpecError("unknown-key", [...path, unknown], unknown, "one of allowed, native");
		if (native !== undefined && !isId(native)) throw new SpecError("out-of-range", [...path, "native"], native, "a VLAN from 1 to 4094");
		if (allowed !== undefined && !(Array.isArray(allowed) && allowed.every(isId)))
			throw new SpecError("bad-value", [...path, "allowed"], allowed, "a list of VLANs from 1 to 4094");
		return { ...(native === undefined ? {} : { native }), ...(allowed === undefined ? {} : { allowed: allowed as number[] }) };
	},
);

const switchFields = fields("a switch", {
	kind,
	stp: field(choice("off", "stp", "rstp"), "Spanning tree; off by default"),
	priority: field(count(0, 61_440), "Bridge priority, in steps of 4096; 32768 by default"),
	vlan: field(byPort(vlan, "VLANs"), "VLAN of each port: a number (access), trunk, or { allowed, native }"),
	edge: field(ports, "Ports with no bridge behind them: they forward at once"),
	guard: field(ports, "Ports that shut down when they hear a bridge"),
	isolated: field(ports, "Ports that do not reach one another"),
	mirror: field(
		fields("a mirror", {
			ports: required(ports, "Whose frames are copied"),
			direction: field(choice("in", "out", "both"), "Which of them; both by default"),
			to: required(portName, "Where copies go"),
		}),
		"Copies of ports' traffic to another port",
	),
	ageing: field(time, "How long a station is remembered; 300 s by default"),
	stations: field(count(1, 1_000_000), "How many are remembered; 8192 by default"),
});

const hubFields = fields("a hub", { kind, rate: field(rate, "Of the one medium that all ports share; 10 Mbit/s by default") });

const INTERFACE = /^[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*(?:\.\d{1,4})?$/;
const interfaces = <T>(item: Reader<T>, what: string) =>
	mapOf(item, { expected: `${what} by port (port.VLAN on a trunk)`, key: INTERFACE, keyExpected: "a port, or port.VLAN" });

const addressText = pattern(/^[\d.]+$/, "an IPv4 address", (each) => (parseIpv4Address(each) === undefined ? undefined : each), "10.0.0.1");
const routes = either<"auto" | ReadonlyMap<string, string>>(
	[
		choice("auto"),
		mapOf(addressText, { expected: "auto, or next hops by prefix", key: /^[\d.]+\/\d+$/, keyExpected: "a prefix such as 0.0.0.0/0" }),
	],
	(value) => (isMap(value) ? 1 : 0),
);

const dhcpPool = fields("a DHCP pool", {
	first: field(address, "First address handed out"),
	last: field(address, "Last address handed out"),
	lease: field(time, "How long it is good for; a day by default"),
	reserve: field(
		mapOf(address, { expected: "addresses by MAC", key: /^[\da-fA-F]{2}([:-][\da-fA-F]{2}){5}$/, keyExpected: "a MAC address" }),
		"Addresses kept for cards",
	),
});
export type DhcpPool = FieldsOf<(typeof dhcpPool)["shape"]>;

const dhcp = either<boolean | readonly string[] | ReadonlyMap<string, DhcpPool>>(
	[
		flag,
		listOf(
			pattern(INTERFACE, "a port, or port.VLAN", (name) => name, "lan"),
			"a list of ports",
		),
		interfaces(dhcpPool, "DHCP pools"),
	],
	(value) => (Array.isArray(value) ? 1 : isMap(value) ? 2 : 0),
);

const dnsObject = fields("a name server", {
	upstream: field(addressText, "Asked for names that are not the lab's"),
	names: field(mapOf(addressText, { expected: "addresses by name", key: /^[\w.-]+$/, keyExpected: "a name" }), "Further names"),
});
const dns = either<boolean | FieldsOf<(typeof dnsObject)["shape"]>>([flag, dnsObject], (value) => (isMap(value) ? 1 : 0));

const routerFields = fields("a router", {
	kind,
	ip: field(interfaces(interfaceAddress, "addresses"), "Address of each port (port.VLAN on a trunk)"),
	routes: field(routes, "Next hops by prefix; auto (the default) finds the shortest ways through the lab"),
	dhcp: field(dhcp, "Serve addresses: on all ports but those towards a NAT, on these ports, or with these pools"),
	dns: field(dns, "Answer names of the lab, and pass other questions on"),
	domain: field(text, "The lab's own domain"),
	mtu: field(byPort(count(68, 65_535), "MTUs"), "MTU of each port"),
});

const serverFields = fields("a server", {
	kind,
	ip: required(interfaceAddress, "Its address"),
	gateway: field(addressText, "Where all else is"),
	dhcp: field(
		either<boolean | DhcpPool>([flag, dhcpPool], (value) => (isMap(value) ? 1 : 0)),
		"Serve addresses",
	),
	dns: field(dns, "Answer names"),
	domain: field(text, "The lab's own domain"),
});

const hostFields = fields("a host", {
	kind,
	ip: required(interfaceAddress, "Its address"),
	gateway: field(addressText, "Where all else is"),
	vlan: field(count(1, 4094), "Tagged frames of this VLAN"),
});

export interface ForwardModel {
	readonly protocol: "tcp" | "udp";
	readonly at: { readonly address: string; readonly port: number };
	readonly to: { readonly address: string; readonly port: number };
}

const FORWARD = /^(tcp|udp)\s+(?:([\d.]+):)?(\d{1,5})\s*->\s*([\d.]+):(\d{1,5})$/;
const forward: Reader<ForwardModel> = pattern(
	FORWARD,
	"a port forward such as tcp 8080 -> 10.0.2.15:80",
	(line) => {
		const [, protocol, at = "127.0.0.1", port, to, toPort] = FORWARD.exec(line) as unknown as [
			string,
			"tcp" | "udp",
			string,
			string,
			string,
			string,
		];
		const numbers = [Number(port), Number(toPort)];
		if (numbers.some((number) => number < 1 || number > 65_535)) return undefined;
		if (parseIpv4Address(at) === undefined || parseIpv4Address(to) === undefined) return undefined;
		return { protocol, at: { address: at, port: Number(port) }, to: { address: to, port: Number(toPort) } };
	},
	"tcp 8080 -> 10.0.2.15:80",
);

const natFields = fields("a NAT", {
	kind,
	ip: field(interfaceAddress, "Ours on the lab's side; 10.0.2.1/24 by default"),
	allow: field(
		oneOrMany(text, "a rule or a list of rules"),
		"What may pass, such as `any internet` or `tcp host:8080`; nothing by default",
	),
	deny: field(oneOrMany(text, "a rule or a list of rules"), "What may not, whatever `allow` says"),
	forward: field(oneOrMany(forward, "a port forward or a list of them"), "Ports of this host that lead to guests"),
	routes: field(routes, "Next hops by prefix; auto by default"),
	dhcp: field(flag, "Hand out addresses; true by default"),
	dns: field(flag, "Answer names; true by default"),
	domain: field(text, "The lab's own domain"),
	symmetric: field(flag, "A UDP mapping for each destination"),
	host: field(addressText, "By which guests reach this host's loopback, where rules let them"),
	mtu: field(count(68, 65_535), "MTU"),
});

const tapFields = fields("a TAP", {
	kind,
	device: field(
		pattern(/^[\w.-]{1,15}$/, "an interface's name", (name) => name, "tap0"),
		"The host's interface; the next free one by default",
	),
});

export const KINDS = {
	machine: machineFields,
	host: hostFields,
	server: serverFields,
	switch: switchFields,
	hub: hubFields,
	router: routerFields,
	nat: natFields,
	tap: tapFields,
} as const;

export type NodeKind = keyof typeof KINDS;
export const KIND_NAMES = Object.keys(KINDS) as readonly NodeKind[];
