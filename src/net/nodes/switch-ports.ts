import { SpecError } from "../link/errors.ts";
import type { Jack } from "../port.ts";
import type { StpPortOptions } from "./stp/stp-port.ts";

/** `10`: an access port of VLAN 10. `trunk`: all VLANs, tagged. Or a trunk with its list and the VLAN of untagged frames. */
export type VlanSpec = number | "trunk" | { readonly allowed?: readonly number[] | "all"; readonly native?: number };

export interface SwitchPortOptions {
	readonly vlan?: VlanSpec;
	/** Isolated ports reach all others but each other. */
	readonly isIsolated?: boolean;
	readonly stp?: StpPortOptions;
}

export type SwitchDropReason = "runt" | "vlan" | "reserved" | "stp" | "filtered" | "isolated" | "disabled";

export type SwitchPortCounters = {
	inFrames: number;
	inBytes: number;
	outFrames: number;
	outBytes: number;
	drops: Record<SwitchDropReason, number>;
};

export function newCounters(): SwitchPortCounters {
	const drops = { runt: 0, vlan: 0, reserved: 0, stp: 0, filtered: 0, isolated: 0, disabled: 0 };
	return { inFrames: 0, inBytes: 0, outFrames: 0, outBytes: 0, drops };
}

/** What a VLAN specification comes down to. */
export interface VlanMembership {
	readonly isTrunk: boolean;
	/** Of untagged frames; `undefined`: a trunk that takes none. */
	readonly untagged: number | undefined;
	readonly allowed: ReadonlySet<number> | "all";
}

export interface SwitchPort {
	readonly name: string;
	readonly number: number;
	readonly jack: Jack;
	vlan: VlanMembership;
	options: SwitchPortOptions;
	counters: SwitchPortCounters;
	/** Shut by BPDU guard, until its carrier drops. */
	isGuarded: boolean;
}

/** @throws SpecError for a VLAN that is none (IEEE 802.1Q-2018 Table 9-2: 0 and 4095 are reserved). */
export function vlanMembership(spec: VlanSpec | undefined, path: readonly string[]): VlanMembership {
	if (spec === undefined) return { isTrunk: false, untagged: 1, allowed: new Set([1]) };
	if (typeof spec === "number") return { isTrunk: false, untagged: vlanId(spec, path), allowed: new Set([spec]) };
	if (spec === "trunk") return { isTrunk: true, untagged: undefined, allowed: "all" };
	if (typeof spec !== "object" || spec === null) throw new SpecError("bad-value", path, spec, "a VLAN, trunk, or { allowed, native }");
	const untagged = spec.native === undefined ? undefined : vlanId(spec.native, [...path, "native"]);
	if (spec.allowed === undefined || spec.allowed === "all") return { isTrunk: true, untagged, allowed: "all" };
	const allowed = new Set(spec.allowed.map((id) => vlanId(id, [...path, "allowed"])));
	if (untagged !== undefined) allowed.add(untagged);
	return { isTrunk: true, untagged, allowed };
}

function vlanId(id: unknown, path: readonly string[]): number {
	if (typeof id !== "number" || !Number.isInteger(id) || id < 1 || id > 4094)
		throw new SpecError("out-of-range", path, id, "a VLAN from 1 to 4094, or trunk");
	return id;
}

export function isMember(vlan: VlanMembership, id: number): boolean {
	return vlan.allowed === "all" || vlan.allowed.has(id);
}
