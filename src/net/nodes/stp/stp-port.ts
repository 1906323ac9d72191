import type { Ns } from "../../../base/units.ts";
import type { PriorityVector } from "./bpdu.ts";

export type StpRole = "disabled" | "root" | "designated" | "alternate" | "backup";
export type StpPortState = "discarding" | "learning" | "forwarding";

/** Timers that a bridge hands on from the root (IEEE 802.1D-2004 §17.13). */
export type StpTimes = { messageAgeS: number; maxAgeS: number; helloS: number; forwardDelayS: number };

/**
 * A port's variables, by the names of IEEE 802.1D-2004 §17.19. Timers are the moment at which they run out instead of
 * seconds left; one that has run out reads as 0 there.
 */
export type StpPort = {
	readonly number: number;
	readonly portId: number;
	pathCost: number;
	readonly hasOwnCost: boolean;
	adminEdge: boolean;
	autoEdge: boolean;
	bpduGuard: boolean;
	isPointToPoint: boolean;

	portEnabled: boolean;
	role: StpRole;
	selectedRole: StpRole;
	infoIs: "disabled" | "aged" | "mine" | "received";
	portPriority: PriorityVector;
	portTimes: StpTimes;
	designatedPriority: PriorityVector;
	updtInfo: boolean;

	learn: boolean;
	forward: boolean;
	learning: boolean;
	forwarding: boolean;
	proposing: boolean;
	proposed: boolean;
	agree: boolean;
	agreed: boolean;
	sync: boolean;
	synced: boolean;
	reRoot: boolean;
	disputed: boolean;
	operEdge: boolean;
	sendRstp: boolean;
	newInfo: boolean;
	tcAck: boolean;
	tcProp: boolean;
	/** The topology change machine takes part (§17.31: past INACTIVE and LEARNING). */
	tcActive: boolean;

	rcvdInfoWhileNs: Ns;
	fdWhileNs: Ns;
	rrWhileNs: Ns;
	rbWhileNs: Ns;
	tcWhileNs: Ns;
	helloWhenNs: Ns;
	mdelayWhileNs: Ns;
	edgeDelayWhileNs: Ns;
	txCount: number;
	txRefillNs: Ns;
};

const NO_VECTOR: PriorityVector = { root: 0xffff_ffff_ffff_ffffn, cost: 0xffff_ffff, bridge: 0xffff_ffff_ffff_ffffn, port: 0xffff };

export interface StpPortOptions {
	/** 0…240 in steps of 16; 128 by default. */
	readonly priority?: number;
	readonly pathCost?: number;
	/** Forwards at once, until a bridge is heard. */
	readonly isEdge?: boolean;
	/** An RSTP port that hears no bridge for 3 s becomes an edge port; true by default. */
	readonly isAutoEdge?: boolean;
	/** A bridge heard on this port disables it. */
	readonly bpduGuard?: boolean;
	/** False for a port on a hub; true by default. */
	readonly isPointToPoint?: boolean;
}

export function newStpPort(number: number, options: StpPortOptions): StpPort {
	return {
		number,
		portId: ((options.priority ?? 128) << 8) | number,
		pathCost: options.pathCost ?? 20_000,
		hasOwnCost: options.pathCost !== undefined,
		adminEdge: options.isEdge ?? false,
		autoEdge: options.isAutoEdge ?? true,
		bpduGuard: options.bpduGuard ?? false,
		isPointToPoint: options.isPointToPoint ?? true,
		portEnabled: false,
		role: "disabled",
		selectedRole: "disabled",
		infoIs: "disabled",
		portPriority: NO_VECTOR,
		portTimes: { messageAgeS: 0, maxAgeS: 20, helloS: 2, forwardDelayS: 15 },
		designatedPriority: NO_VECTOR,
		updtInfo: false,
		learn: false,
		forward: false,
		learning: false,
		forwarding: false,
		proposing: false,
		proposed: false,
		agree: false,
		agreed: false,
		sync: false,
		synced: false,
		reRoot: false,
		disputed: false,
		operEdge: false,
		sendRstp: false,
		newInfo: false,
		tcAck: false,
		tcProp: false,
		tcActive: false,
		rcvdInfoWhileNs: 0,
		fdWhileNs: 0,
		rrWhileNs: 0,
		rbWhileNs: 0,
		tcWhileNs: 0,
		helloWhenNs: 0,
		mdelayWhileNs: 0,
		edgeDelayWhileNs: 0,
		txCount: 0,
		txRefillNs: 0,
	};
}
