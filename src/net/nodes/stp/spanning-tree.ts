import { NS_PER_S, type Ns } from "../../../base/units.ts";
import type { Mac } from "../../frames/address.ts";
import type { Clock, Timer } from "../../time.ts";
import { type BridgeId, buildBpdu, compareVectors, macOf, makeBridgeId, type PriorityVector, parseBpdu } from "./bpdu.ts";
import { receiveConfiguration, updatePortInfo } from "./port-information.ts";
import { moveRole, type RoleContext } from "./port-roles.ts";
import { newStpPort, type StpPort, type StpPortOptions, type StpPortState, type StpRole, type StpTimes } from "./stp-port.ts";
import { runTopologyChange } from "./topology-change.ts";

export interface SpanningTreeHost {
	send(portNumber: number, frame: Uint8Array): void;
	stateChanged(portNumber: number, state: StpPortState): void;
	/** Forget what was learnt on this port: at once (RSTP), or by ageing it quickly until `untilNs` (STP). */
	flush(portNumber: number, shortAgeing: { readonly ageNs: Ns; readonly untilNs: Ns } | undefined): void;
	/** A bridge was heard on a guarded port. */
	guardTripped(portNumber: number): void;
}

export interface SpanningTreeOptions {
	readonly name: string;
	readonly clock: Clock;
	readonly mac: Mac;
	/** 0…61440 in steps of 4096; 32768 by default. */
	readonly priority?: number;
	/** RSTP; otherwise STP as it was in 1998. */
	readonly isRapid: boolean;
	readonly helloS?: number;
	readonly maxAgeS?: number;
	readonly forwardDelayS?: number;
}

export type SpanningTreeState = { readonly ports: StpPort[] };

/** §17.13.12, §17.13.9: most messages in a second; how long to stick to one protocol version. */
const TX_HOLD_COUNT = 6;
const MIGRATE_NS: Ns = 3 * NS_PER_S;
/** The machines settle in a few rounds; more would be a mistake in them. */
const MAX_ROUNDS = 64;

/** IEEE 802.1D-2004 clause 17, the Rapid Spanning Tree Protocol, with its version 0 for STP. One tree, any ports. */
export class SpanningTree {
	readonly bridgeId: BridgeId;
	readonly #options: SpanningTreeOptions;
	readonly #host: SpanningTreeHost;
	readonly #clock: Clock;
	readonly #timer: Timer;
	readonly #ports = new Map<number, StpPort>();
	readonly #bridgeTimes: StpTimes;
	#rootPriority: PriorityVector;
	#rootPort: StpPort | undefined;
	#rootTimes: StpTimes;
	#reselect = true;

	constructor(options: SpanningTreeOptions, host: SpanningTreeHost) {
		this.#options = options;
		this.#host = host;
		this.#clock = options.clock;
		this.bridgeId = makeBridgeId(options.priority ?? 32_768, options.mac);
		this.#bridgeTimes = {
			messageAgeS: 0,
			maxAgeS: options.maxAgeS ?? 20,
			helloS: options.helloS ?? 2,
			forwardDelayS: options.forwardDelayS ?? 15,
		};
		this.#rootTimes = this.#bridgeTimes;
		this.#rootPriority = { root: this.bridgeId, cost: 0, bridge: this.bridgeId, port: 0 };
		this.#timer = options.clock.timer(`${options.name} stp`, () => this.#run());
	}

	get rootId(): BridgeId {
		return this.#rootPriority.root;
	}

	get rootPathCost(): number {
		return this.#rootPriority.cost;
	}

	get rootPortNumber(): number | undefined {
		return this.#rootPort?.number;
	}

	addPort(number: number, options: StpPortOptions): void {
		this.#ports.set(number, newStpPort(number, options));
	}

	role(number: number): StpRole {
		return this.#port(number).role;
	}

	state(number: number): StpPortState {
		const port = this.#port(number);
		return port.forwarding ? "forwarding" : port.learning ? "learning" : "discarding";
	}

	/** Carrier came or went. `pathCost` holds where the port has none of its own configured. */
	setEnabled(number: number, isEnabled: boolean, pathCost?: number): void {
		const port = this.#port(number);
		if (!port.hasOwnCost && pathCost !== undefined) port.pathCost = pathCost;
		if (port.portEnabled === isEnabled) return;
		const nowNs = this.#clock.nowNs;
		port.portEnabled = isEnabled;
		port.infoIs = isEnabled ? "aged" : "disabled";
		port.proposing = port.proposed = port.agree = port.agreed = port.disputed = false;
		port.operEdge = port.adminEdge;
		port.sendRstp = this.#options.isRapid;
		port.mdelayWhileNs = nowNs + MIGRATE_NS;
		port.helloWhenNs = nowNs;
		port.sync = port.reRoot = isEnabled;
		port.synced = false;
		this.#reselect = true;
		this.#run();
	}

	/** A frame to the bridge group address has come in. */
	receive(number: number, frame: Uint8Array): void {
		const port = this.#port(number);
		const bpdu = parseBpdu(frame);
		if (bpdu === undefined || !port.portEnabled) return;
		if (port.bpduGuard) {
			this.#host.guardTripped(number);
			return;
		}
		const nowNs = this.#clock.nowNs;
		const isRst = bpdu.type === "configuration" && bpdu.version >= 2;
		if (isRst && !this.#options.isRapid) return;
		port.operEdge = false;
		port.edgeDelayWhileNs = nowNs + MIGRATE_NS;
		if (port.sendRstp !== isRst && nowNs >= port.mdelayWhileNs && this.#options.isRapid) {
			port.sendRstp = isRst;
			port.mdelayWhileNs = nowNs + MIGRATE_NS;
		}
		if (bpdu.type === "topology-change") runTopologyChange(port, this.#context(nowNs), { isTcn: true });
		else {
			// Our own message, come back over a loop on one port, says nothing (§17.21.8: it makes a backup port elsewhere).
			if (receiveConfiguration(port, bpdu, this.#options.isRapid, nowNs)) this.#reselect = true;
			runTopologyChange(port, this.#context(nowNs), { isTc: bpdu.isTopologyChange, isTcAck: bpdu.isTopologyChangeAck });
		}
		this.#run();
	}

	#port(number: number): StpPort {
		return this.#ports.get(number) as StpPort;
	}

	#context(nowNs: Ns): RoleContext {
		return {
			nowNs,
			ports: [...this.#ports.values()],
			isRapid: this.#options.isRapid,
			forwardDelayNs: this.#rootTimes.forwardDelayS * NS_PER_S,
			helloNs: this.#rootTimes.helloS * NS_PER_S,
			maxAgeNs: this.#rootTimes.maxAgeS * NS_PER_S,
			stateChanged: (port) => this.#host.stateChanged(port.number, this.state(port.number)),
			flush: (port) => {
				const ageNs = this.#rootTimes.forwardDelayS * NS_PER_S;
				const untilNs = nowNs + ageNs + this.#rootTimes.maxAgeS * NS_PER_S;
				this.#host.flush(port.number, this.#options.isRapid ? undefined : { ageNs, untilNs });
			},
		};
	}

	#run(): void {
		const nowNs = this.#clock.nowNs;
		for (let round = 0, isMoving = true; isMoving && round < MAX_ROUNDS; round++) {
			isMoving = false;
			for (const port of this.#ports.values())
				if (port.infoIs === "received" && nowNs >= port.rcvdInfoWhileNs) {
					port.infoIs = "aged";
					this.#reselect = true;
				}
			if (this.#reselect) this.#selectRoles();
			const context = this.#context(nowNs);
			for (const port of this.#ports.values()) {
				if (moveRole(port, context)) isMoving = true;
				if (runTopologyChange(port, context, {})) isMoving = true;
				this.#detectEdge(port, nowNs);
			}
			isMoving ||= this.#reselect;
		}
		for (const port of this.#ports.values()) this.#transmit(port, nowNs);
		this.#arm(nowNs);
	}

	/** updtRolesTree (§17.21.25). */
	#selectRoles(): void {
		this.#reselect = false;
		this.#rootPort = undefined;
		this.#rootPriority = { root: this.bridgeId, cost: 0, bridge: this.bridgeId, port: 0 };
		for (const port of this.#ports.values()) {
			if (port.infoIs !== "received" || macOf(port.portPriority.bridge) === macOf(this.bridgeId)) continue;
			const path = { ...port.portPriority, cost: port.portPriority.cost + port.pathCost };
			const better = compareVectors(path, this.#rootPriority) || port.portId - (this.#rootPort?.portId ?? 0);
			if (better < 0) {
				this.#rootPriority = path;
				this.#rootPort = port;
			}
		}
		const received = this.#rootPort?.portTimes;
		this.#rootTimes = received === undefined ? this.#bridgeTimes : { ...received, messageAgeS: received.messageAgeS + 1 };
		for (const port of this.#ports.values()) {
			port.designatedPriority = { root: this.#rootPriority.root, cost: this.#rootPriority.cost, bridge: this.bridgeId, port: port.portId };
			port.selectedRole = this.#roleOf(port);
			if (port.updtInfo) updatePortInfo(port, this.#rootTimes);
		}
	}

	#roleOf(port: StpPort): StpRole {
		port.updtInfo = false;
		if (port.infoIs === "disabled") return "disabled";
		if (port.infoIs === "received") {
			if (port === this.#rootPort) return "root";
			if (compareVectors(port.designatedPriority, port.portPriority) >= 0)
				return macOf(port.portPriority.bridge) === macOf(this.bridgeId) ? "backup" : "alternate";
		}
		const isSame = compareVectors(port.portPriority, port.designatedPriority) === 0;
		const times = port.portTimes;
		const hasSameTimes = times.messageAgeS === this.#rootTimes.messageAgeS && times.forwardDelayS === this.#rootTimes.forwardDelayS;
		port.updtInfo = port.infoIs !== "mine" || !isSame || !hasSameTimes;
		return "designated";
	}

	/** The bridge detection machine (§17.25). */
	#detectEdge(port: StpPort, nowNs: Ns): void {
		if (port.portEnabled && port.autoEdge && port.sendRstp && port.proposing && !port.operEdge && nowNs >= port.edgeDelayWhileNs)
			if (port.role === "designated") port.operEdge = true;
	}

	/** The port transmit machine (§17.26). */
	#transmit(port: StpPort, nowNs: Ns): void {
		if (!port.portEnabled || port.role === "disabled") return;
		const isChanging = port.tcWhileNs > nowNs;
		if (nowNs >= port.helloWhenNs) {
			port.newInfo ||= port.role === "designated" || (port.role === "root" && isChanging);
			port.helloWhenNs = nowNs + this.#rootTimes.helloS * NS_PER_S;
		}
		if (nowNs >= port.txRefillNs) {
			port.txCount = 0;
			port.txRefillNs = nowNs + NS_PER_S;
		}
		if (!port.newInfo || port.txCount >= TX_HOLD_COUNT) return;
		port.newInfo = false;
		if (!port.sendRstp && port.role !== "designated") {
			if (port.role === "root" && isChanging) this.#send(port, buildBpdu({ type: "topology-change" }, this.#options.mac));
			return;
		}
		const role = port.role === "backup" ? "alternate" : port.role;
		const bpdu = buildBpdu(
			{
				type: "configuration",
				version: port.sendRstp ? 2 : 0,
				vector: port.designatedPriority,
				...this.#rootTimes,
				isTopologyChange: isChanging,
				isTopologyChangeAck: port.tcAck,
				role,
				isProposal: port.proposing,
				isAgreement: port.agree,
				isLearning: port.learning,
				isForwarding: port.forwarding,
			},
			this.#options.mac,
		);
		port.tcAck = false;
		this.#send(port, bpdu);
	}

	#send(port: StpPort, frame: Uint8Array): void {
		port.txCount++;
		this.#host.send(port.number, frame);
	}

	#arm(nowNs: Ns): void {
		let nextNs = Number.POSITIVE_INFINITY;
		const consider = (timeNs: Ns) => {
			if (timeNs > nowNs && timeNs < nextNs) nextNs = timeNs;
		};
		for (const port of this.#ports.values()) {
			if (!port.portEnabled) continue;
			consider(port.helloWhenNs);
			if (port.infoIs === "received") consider(port.rcvdInfoWhileNs);
			if (!port.forward) consider(port.fdWhileNs);
			consider(port.rrWhileNs);
			consider(port.rbWhileNs);
			consider(port.tcWhileNs);
			if (port.proposing) consider(port.edgeDelayWhileNs);
			if (port.newInfo) consider(port.txRefillNs);
		}
		if (nextNs === Number.POSITIVE_INFINITY) this.#timer.disarm();
		else this.#timer.arm(nextNs);
	}

	save(): SpanningTreeState {
		return { ports: [...this.#ports.values()].map((port) => structuredPort(port)) };
	}

	load(state: SpanningTreeState): void {
		for (const saved of state.ports) {
			const port = this.#ports.get(saved.number);
			if (port !== undefined) Object.assign(port, structuredPort(saved));
		}
		// Roles follow from the ports' information; nothing is sent for it.
		this.#selectRoles();
		this.#arm(this.#clock.nowNs);
	}
}

function structuredPort(port: StpPort): StpPort {
	return {
		...port,
		portPriority: { ...port.portPriority },
		designatedPriority: { ...port.designatedPriority },
		portTimes: { ...port.portTimes },
	};
}
