import { NS_PER_S, type Ns } from "../../../base/units.ts";
import type { StpPort } from "./stp-port.ts";

export interface RoleContext {
	readonly nowNs: Ns;
	readonly ports: readonly StpPort[];
	readonly isRapid: boolean;
	readonly forwardDelayNs: Ns;
	readonly helloNs: Ns;
	readonly maxAgeNs: Ns;
	stateChanged(port: StpPort): void;
	flush(port: StpPort): void;
}

const MIGRATE_NS: Ns = 3 * NS_PER_S;

/** The port role and state transition machines (IEEE 802.1D-2004 §17.29, §17.30); true when something has moved. */
export function moveRole(port: StpPort, context: RoleContext): boolean {
	if (port.role !== port.selectedRole) {
		changeRole(port, context);
		return true;
	}
	switch (port.role) {
		case "disabled":
			return settle(port) || setState(port, false, false, context);
		case "root":
			return moveRoot(port, context);
		case "designated":
			return moveDesignated(port, context);
		default:
			return moveBlocked(port, context);
	}
}

/** Timers that the standard keeps topped up while a port has a role start to run when it loses it. */
function changeRole(port: StpPort, context: RoleContext): void {
	const { nowNs, forwardDelayNs, helloNs } = context;
	if (port.role === "root") port.rrWhileNs = nowNs + forwardDelayNs;
	else if (port.role === "backup") port.rbWhileNs = nowNs + 2 * helloNs;
	if (!port.learn) port.fdWhileNs = nowNs + forwardDelayNs;
	port.role = port.selectedRole;
	if (port.role === "disabled" || port.role === "alternate" || port.role === "backup") {
		setState(port, false, false, context);
		settle(port);
	}
}

function setState(port: StpPort, learn: boolean, forward: boolean, context: RoleContext): boolean {
	port.learn = learn;
	port.forward = forward;
	if (port.learning === learn && port.forwarding === forward) return false;
	port.learning = learn;
	port.forwarding = forward;
	context.stateChanged(port);
	return true;
}

function isAllSynced(context: RoleContext): boolean {
	return context.ports.every((port) => port.role === port.selectedRole && (port.synced || port.role === "root"));
}

function agreeOrPropagate(port: StpPort, context: RoleContext): boolean {
	if (port.proposed && !port.agree && !isAllSynced(context)) {
		for (const other of context.ports) if (other !== port) other.sync = true;
		port.proposed = false;
		return true;
	}
	if ((isAllSynced(context) && !port.agree) || (port.proposed && port.agree)) {
		port.proposed = false;
		port.sync = false;
		port.agree = true;
		port.newInfo = true;
		return true;
	}
	return false;
}

function moveRoot(port: StpPort, context: RoleContext): boolean {
	if (agreeOrPropagate(port, context)) return true;
	const { nowNs } = context;
	if (!port.forward && !port.reRoot) {
		for (const other of context.ports) other.reRoot = true;
		return true;
	}
	const hasRerooted = context.ports.every((other) => other === port || !other.reRoot);
	const mayGoOn = nowNs >= port.fdWhileNs || (context.isRapid && hasRerooted && nowNs >= port.rbWhileNs);
	if (!port.learn && mayGoOn) {
		port.fdWhileNs = nowNs + context.forwardDelayNs;
		return setState(port, true, false, context);
	}
	if (port.learn && !port.forward && mayGoOn) return setState(port, true, true, context);
	if (port.reRoot && port.forward) {
		port.reRoot = false;
		return true;
	}
	return false;
}

function moveDesignated(port: StpPort, context: RoleContext): boolean {
	const { nowNs } = context;
	if (!port.forward && !port.agreed && !port.proposing && !port.operEdge) {
		port.proposing = true;
		port.edgeDelayWhileNs = nowNs + (port.isPointToPoint ? MIGRATE_NS : context.maxAgeNs);
		port.newInfo = true;
		return true;
	}
	const isQuiet = !port.learning && !port.forwarding;
	if (((isQuiet || port.agreed || port.operEdge) && !port.synced) || (port.sync && port.synced)) {
		port.rrWhileNs = 0;
		port.synced = true;
		port.sync = false;
		return true;
	}
	const isRecentRoot = nowNs < port.rrWhileNs;
	const mustDiscard = (port.sync && !port.synced) || (port.reRoot && isRecentRoot) || port.disputed;
	if (mustDiscard && !port.operEdge && (port.learn || port.forward)) {
		port.disputed = false;
		port.fdWhileNs = nowNs + context.forwardDelayNs;
		return setState(port, false, false, context);
	}
	port.disputed = false;
	const mayGoOn = (nowNs >= port.fdWhileNs || port.agreed || port.operEdge) && !(isRecentRoot && port.reRoot) && !port.sync;
	if (!port.learn && mayGoOn) {
		port.fdWhileNs = nowNs + context.forwardDelayNs;
		return setState(port, true, false, context);
	}
	if (port.learn && !port.forward && mayGoOn) {
		port.agreed = port.sendRstp;
		return setState(port, true, true, context);
	}
	if (port.reRoot && !isRecentRoot) {
		port.reRoot = false;
		return true;
	}
	return false;
}

/** Alternate and backup ports. */
function moveBlocked(port: StpPort, context: RoleContext): boolean {
	return settle(port) || agreeOrPropagate(port, context);
}

/** A port that blocks has nothing to synchronise. */
function settle(port: StpPort): boolean {
	port.rrWhileNs = 0;
	if (!port.sync && !port.reRoot && port.synced) return false;
	port.synced = true;
	port.sync = false;
	port.reRoot = false;
	return true;
}
