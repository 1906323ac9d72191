import type { CapturePoint } from "../net/capture/link-capture.ts";
import type { Rate, Time } from "../net/link/quantity.ts";
import type { LinkSpecText } from "../net/link/spec.ts";
import type { KINDS, NodeKind } from "./node-kinds.ts";
import type { NicModel } from "./runtime.ts";

type OneOrMany<T> = T | readonly T[];
type VlanSpec = number | "trunk" | { readonly allowed?: readonly number[]; readonly native?: number };
type NicSpec = NicModel | { readonly model?: NicModel; readonly mac?: string };
type PoolSpec = {
	readonly first?: string;
	readonly last?: string;
	readonly lease?: Time;
	readonly reserve?: Readonly<Record<string, string>>;
};
type DnsSpec = boolean | { readonly upstream?: string; readonly names?: Readonly<Record<string, string>> };
type RoutesSpec = "auto" | Readonly<Record<string, string>>;

/** A node of each kind as a lab file has it; the keys' meanings are those of the JSON Schema. */
export interface NodeSpecs {
	machine: {
		image?: string;
		kernel?: string;
		initrd?: string;
		bios?: string;
		append?: string;
		command?: string;
		disks?: OneOrMany<string>;
		/** With its unit: `128M`. */
		memory?: string;
		cpus?: number;
		engine?: "auto" | "translate" | "interpret" | "kvm";
		nic?: NicSpec;
		nics?: Readonly<Record<string, NicSpec>>;
		ip?: string;
		after?: OneOrMany<string>;
		delay?: Time;
		ready?: string;
	};
	host: { ip: string; gateway?: string; vlan?: number };
	server: { ip: string; gateway?: string; dhcp?: boolean | PoolSpec; dns?: DnsSpec; domain?: string };
	switch: {
		stp?: "off" | "stp" | "rstp";
		priority?: number;
		vlan?: Readonly<Record<string, VlanSpec>>;
		edge?: OneOrMany<string>;
		guard?: OneOrMany<string>;
		isolated?: OneOrMany<string>;
		mirror?: { readonly ports: OneOrMany<string>; readonly direction?: "in" | "out" | "both"; readonly to: string };
		ageing?: Time;
		stations?: number;
	};
	hub: { rate?: Rate };
	router: {
		/** By port, or `port.VLAN`: `10.0.0.1/24`. */
		ip?: Readonly<Record<string, string>>;
		routes?: RoutesSpec;
		dhcp?: boolean | readonly string[] | Readonly<Record<string, PoolSpec>>;
		dns?: DnsSpec;
		domain?: string;
		mtu?: Readonly<Record<string, number>>;
	};
	nat: {
		ip?: string;
		/** Rules such as `any internet`; nothing passes without one. */
		allow?: OneOrMany<string>;
		deny?: OneOrMany<string>;
		/** `tcp 8080 -> 10.0.2.15:80`. */
		forward?: OneOrMany<string>;
		routes?: RoutesSpec;
		dhcp?: boolean;
		dns?: boolean;
		domain?: string;
		symmetric?: boolean;
		host?: string;
		mtu?: number;
	};
	tap: { device?: string };
}

// Each kind has the keys that files are read by, and no others.
type Same<A, B> = [A, B] extends [B, A] ? true : never;
const _keysAgree: { [Kind in NodeKind]: Same<keyof NodeSpecs[Kind], Exclude<keyof (typeof KINDS)[Kind]["shape"], "kind">> } = {
	machine: true,
	host: true,
	server: true,
	switch: true,
	hub: true,
	router: true,
	nat: true,
	tap: true,
};
void _keysAgree;

export type NodeSpec = { [Kind in NodeKind]: { readonly kind: Kind } & NodeSpecs[Kind] }[NodeKind];

export type CableSpec =
	| string
	| (Exclude<LinkSpecText, string> & { capture?: string | { file: string; points?: readonly CapturePoint[] } });

/** What a lab file holds, as data. */
export interface LabSpec {
	lab: string;
	seed?: number | string;
	clock?: "virtual" | "realtime";
	profiles?: Readonly<Record<string, CableSpec>>;
	nodes: Record<string, NodeSpec>;
	links: (string | Readonly<Record<string, CableSpec>>)[];
	timeline?: Record<string, string[]>;
	expect?: string[];
	layout?: Record<string, { x: number; y: number }>;
}
