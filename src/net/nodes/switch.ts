import { NS_PER_S, type Ns } from "../../base/units.ts";
import { isGroupMac, type Mac, readMac } from "../frames/address.ts";
import { ETHERTYPE_VLAN, type VlanTag, vlanTag, withoutTag, withTag } from "../frames/ethernet.ts";
import { SpecError } from "../link/errors.ts";
import { Jack } from "../port.ts";
import type { Clock } from "../time.ts";
import { MacTable, type MacTableState } from "./mac-table.ts";
import { BRIDGE_GROUP_MAC } from "./stp/bpdu.ts";
import { SpanningTree, type SpanningTreeState } from "./stp/spanning-tree.ts";
import type { StpPortState, StpRole } from "./stp/stp-port.ts";
import {
	isMember,
	newCounters,
	type SwitchDropReason,
	type SwitchPort,
	type SwitchPortCounters,
	type SwitchPortOptions,
	vlanMembership,
} from "./switch-ports.ts";

export interface SwitchOptions {
	readonly name: string;
	readonly clock: Clock;
	/** The bridge's own address; needed with `stp`. */
	readonly mac: Mac;
	/** How long a station is remembered; 300 s (IEEE 802.1D-2004 Table 7-5). */
	readonly ageingNs?: Ns;
	/** Most stations remembered; 8192. */
	readonly maxStations?: number;
	readonly stp?: "off" | "stp" | "rstp";
	readonly stpPriority?: number;
}

export interface MirrorOptions {
	/** Copies of what these ports receive are made as it came; of what they send, as it leaves (tags done). */
	readonly ports: readonly string[];
	readonly direction: "in" | "out" | "both";
	readonly to: string;
}

export type SwitchState = {
	readonly stations: MacTableState;
	readonly counters: { readonly name: string; readonly counters: SwitchPortCounters; readonly isGuarded: boolean }[];
	readonly shortAgeing: { ageNs: Ns; untilNs: Ns } | null;
	readonly stp: SpanningTreeState | null;
};

/** A frame inside the switch: its VLAN, and its two faces, made when first asked for. */
class Transit {
	readonly vlan: number;
	readonly #original: Uint8Array;
	readonly #tag: VlanTag | undefined;
	#tagged: Uint8Array | undefined;
	#untagged: Uint8Array | undefined;

	constructor(frame: Uint8Array, tag: VlanTag | undefined, vlan: number) {
		this.#original = frame;
		this.#tag = tag;
		this.vlan = vlan;
	}

	get tagged(): Uint8Array {
		if (this.#tagged === undefined) {
			const tag = {
				tpid: ETHERTYPE_VLAN,
				priority: this.#tag?.priority ?? 0,
				isDropEligible: this.#tag?.isDropEligible ?? false,
				id: this.vlan,
			};
			this.#tagged = this.#tag?.id === this.vlan ? this.#original : withTag(this.untagged, tag);
		}
		return this.#tagged;
	}

	get untagged(): Uint8Array {
		this.#untagged ??= this.#tag === undefined ? this.#original : withoutTag(this.#original);
		return this.#untagged;
	}
}

/** A switch: learns where stations are, keeps VLANs apart, spans a tree over loops, copies to a mirror port, counts. */
export class Switch {
	readonly name: string;
	readonly #clock: Clock;
	readonly #stations: MacTable;
	readonly #ports: SwitchPort[] = [];
	readonly #ageingNs: Ns;
	readonly #stp: SpanningTree | undefined;
	readonly #isRapid: boolean;
	#shortAgeing: { ageNs: Ns; untilNs: Ns } | undefined;
	#mirror: { ports: ReadonlySet<string>; isIn: boolean; isOut: boolean; to: SwitchPort } | undefined;
	/** Without any VLAN configured, tags are none of the switch's business. */
	#knowsVlans = false;

	constructor(options: SwitchOptions) {
		this.name = options.name;
		this.#clock = options.clock;
		this.#stations = new MacTable(options.maxStations ?? 8192);
		this.#ageingNs = options.ageingNs ?? 300 * NS_PER_S;
		this.#isRapid = options.stp === "rstp";
		if (options.stp !== undefined && options.stp !== "off") {
			const { name, clock, mac, stpPriority } = options;
			const stpOptions = { name, clock, mac, isRapid: this.#isRapid, ...(stpPriority === undefined ? {} : { priority: stpPriority }) };
			this.#stp = new SpanningTree(stpOptions, {
				send: (number, frame) => this.#output(this.#ports[number - 1] as SwitchPort, frame),
				stateChanged: () => {},
				flush: (number, shortAgeing) => {
					if (shortAgeing === undefined) this.#stations.flushPort(number);
					else this.#shortAgeing = { ...shortAgeing };
				},
				guardTripped: (number) => {
					(this.#ports[number - 1] as SwitchPort).isGuarded = true;
					this.#stp?.setEnabled(number, false);
				},
			});
		}
	}

	/** Makes a port. @throws SpecError when its VLAN is none. */
	addPort(name: string, options: SwitchPortOptions = {}): Jack {
		const jack = new Jack(`${this.name}:${name}`);
		const number = this.#ports.length + 1;
		const vlan = vlanMembership(options.vlan, [name, "vlan"]);
		const port: SwitchPort = { name, number, jack, options, vlan, counters: newCounters(), isGuarded: false };
		this.#ports.push(port);
		this.#knowsVlans ||= options.vlan !== undefined;
		this.#stp?.addPort(number, options.stp ?? {});
		jack.onFrame = (frame) => this.#input(port, frame);
		jack.onCarrier = (isUp) => this.#carrier(port, isUp);
		return jack;
	}

	/** The port of that name, made with default options on first use. */
	port(name: string): Jack {
		return this.#ports.find((port) => port.name === name)?.jack ?? this.addPort(name);
	}

	/** Changes a port's VLAN. @throws SpecError */
	setVlan(name: string, vlan: SwitchPortOptions["vlan"]): void {
		const port = this.#named(name);
		port.vlan = vlanMembership(vlan, [name, "vlan"]);
		port.options = vlan === undefined ? { ...port.options } : { ...port.options, vlan };
		this.#knowsVlans ||= vlan !== undefined;
		this.#stations.flushPort(port.number);
	}

	/** `undefined` ends it. The mirror port carries copies only, and loses them as any port does when they are too many. */
	setMirror(mirror: MirrorOptions | undefined): void {
		if (mirror === undefined) this.#mirror = undefined;
		else {
			const { direction } = mirror;
			this.#mirror = { ports: new Set(mirror.ports), isIn: direction !== "out", isOut: direction !== "in", to: this.#named(mirror.to) };
		}
	}

	get portNames(): string[] {
		return this.#ports.map((port) => port.name);
	}

	counters(name: string): SwitchPortCounters {
		return this.#named(name).counters;
	}

	/** Where stations were last heard. */
	stations(): { vlan: number; mac: string; port: string }[] {
		return this.#stations.entries().map(({ vlan, mac, port }) => ({ vlan, mac, port: (this.#ports[port - 1] as SwitchPort).name }));
	}

	stpPort(name: string): { role: StpRole; state: StpPortState } {
		const { number } = this.#named(name);
		return this.#stp === undefined
			? { role: "designated", state: "forwarding" }
			: { role: this.#stp.role(number), state: this.#stp.state(number) };
	}

	get isStpRoot(): boolean {
		return this.#stp === undefined || this.#stp.rootId === this.#stp.bridgeId;
	}

	#named(name: string): SwitchPort {
		const port = this.#ports.find((each) => each.name === name);
		if (port === undefined) throw new SpecError("bad-value", [this.name], name, `a port of it: ${this.portNames.join(", ")}`);
		return port;
	}

	#carrier(port: SwitchPort, isUp: boolean): void {
		if (!isUp) {
			this.#stations.flushPort(port.number);
			port.isGuarded = false;
		}
		this.#stp?.setEnabled(port.number, isUp, pathCost(this.#isRapid, port.jack.speedBps));
	}

	#input(port: SwitchPort, frame: Uint8Array): void {
		port.counters.inFrames++;
		port.counters.inBytes += frame.length;
		const reason = this.#process(port, frame);
		if (reason !== undefined) port.counters.drops[reason]++;
	}

	/** Returns why the frame goes no further, if it does not. */
	#process(port: SwitchPort, frame: Uint8Array): SwitchDropReason | undefined {
		if (frame.length < 14) return "runt";
		if (this.#mirror?.isIn === true && this.#mirror.ports.has(port.name)) this.#copy(frame);
		if (port.isGuarded || port === this.#mirror?.to) return "disabled";
		const destination = readMac(frame, 0);
		if (destination === BRIDGE_GROUP_MAC && this.#stp !== undefined) {
			this.#stp.receive(port.number, frame);
			return undefined;
		}
		if (this.#isReserved(destination)) return "reserved";
		const state = this.#stp?.state(port.number) ?? "forwarding";
		if (state === "discarding") return "stp";
		const transit = this.#classify(port, frame);
		if (transit === undefined) return "vlan";
		const nowNs = this.#clock.nowNs;
		const ageNs = this.#currentAgeNs(nowNs);
		const source = readMac(frame, 6);
		if (!isGroupMac(source)) this.#stations.learn(transit.vlan, source, port.number, nowNs, ageNs);
		if (state !== "forwarding") return "stp";
		const known = isGroupMac(destination) ? undefined : this.#stations.lookup(transit.vlan, destination, nowNs, ageNs);
		if (known !== undefined) return this.#forward(port, this.#ports[known - 1] as SwitchPort, transit) ? undefined : "filtered";
		for (const to of this.#ports) this.#forward(port, to, transit);
		return undefined;
	}

	/** 01-80-C2-00-00-00 to -0F stay on their cable (IEEE 802.1D-2004 §7.12.6); BPDUs pass a switch that spans no tree. */
	#isReserved(destination: Mac): boolean {
		const offset = destination - BRIDGE_GROUP_MAC;
		return offset >= 1 && offset <= 15;
	}

	#currentAgeNs(nowNs: Ns): Ns {
		if (this.#shortAgeing === undefined) return this.#ageingNs;
		if (nowNs < this.#shortAgeing.untilNs) return this.#shortAgeing.ageNs;
		this.#shortAgeing = undefined;
		return this.#ageingNs;
	}

	#classify(port: SwitchPort, frame: Uint8Array): Transit | undefined {
		if (!this.#knowsVlans) return new Transit(frame, undefined, 1);
		const found = vlanTag(frame);
		// Another switch's service tag (0x88A8) is payload here.
		const tag = found?.tpid === ETHERTYPE_VLAN ? found : undefined;
		if (tag === undefined || tag.id === 0)
			return port.vlan.untagged === undefined ? undefined : new Transit(frame, tag, port.vlan.untagged);
		if (!port.vlan.isTrunk || tag.id === 4095 || !isMember(port.vlan, tag.id)) return undefined;
		return new Transit(frame, tag, tag.id);
	}

	#forward(from: SwitchPort, to: SwitchPort, transit: Transit): boolean {
		if (to === from || to.isGuarded || !to.jack.hasCarrier || to === this.#mirror?.to) return false;
		if (this.#stp !== undefined && this.#stp.state(to.number) !== "forwarding") return false;
		if (this.#knowsVlans && !isMember(to.vlan, transit.vlan)) return false;
		if (from.options.isIsolated === true && to.options.isIsolated === true) {
			from.counters.drops.isolated++;
			return false;
		}
		const isTagged = this.#knowsVlans && to.vlan.isTrunk && to.vlan.untagged !== transit.vlan;
		this.#output(to, isTagged ? transit.tagged : transit.untagged);
		return true;
	}

	#output(port: SwitchPort, frame: Uint8Array): void {
		port.counters.outFrames++;
		port.counters.outBytes += frame.length;
		port.jack.send(frame);
		if (this.#mirror?.isOut === true && this.#mirror.ports.has(port.name)) this.#copy(frame);
	}

	#copy(frame: Uint8Array): void {
		const to = (this.#mirror as { to: SwitchPort }).to;
		to.counters.outFrames++;
		to.counters.outBytes += frame.length;
		to.jack.send(frame);
	}

	save(): SwitchState {
		return {
			stations: this.#stations.save(),
			counters: this.#ports.map(({ name, counters, isGuarded }) => ({ name, counters: structuredCounters(counters), isGuarded })),
			shortAgeing: this.#shortAgeing === undefined ? null : { ...this.#shortAgeing },
			stp: this.#stp?.save() ?? null,
		};
	}

	/** Into a switch with the same ports. */
	load(state: SwitchState): void {
		this.#stations.load(state.stations);
		for (const saved of state.counters) {
			const port = this.#named(saved.name);
			port.counters = structuredCounters(saved.counters);
			port.isGuarded = saved.isGuarded;
		}
		this.#shortAgeing = state.shortAgeing === null ? undefined : { ...state.shortAgeing };
		if (state.stp !== null) this.#stp?.load(state.stp);
	}
}

/** IEEE 802.1D-1998 Table 8-5 and 802.1D-2004 Table 17-3; a cable without a rate counts as 10 Gbit/s. */
function pathCost(isRapid: boolean, speedBps: number | undefined): number {
	const speed = speedBps ?? 10e9;
	if (isRapid) return Math.max(1, Math.min(200_000_000, Math.round(2e13 / speed)));
	return speed >= 10e9 ? 2 : speed >= 1e9 ? 4 : speed >= 100e6 ? 19 : speed >= 10e6 ? 100 : 250;
}

function structuredCounters(counters: SwitchPortCounters): SwitchPortCounters {
	return { ...counters, drops: { ...counters.drops } };
}
