import { NS_PER_S } from "../../../base/units.ts";
import type { RoleContext } from "./port-roles.ts";
import type { StpPort } from "./stp-port.ts";

export interface TopologyChangeEvent {
	readonly isTc?: boolean;
	readonly isTcn?: boolean;
	readonly isTcAck?: boolean;
}

/** The topology change machine (IEEE 802.1D-2004 §17.31); true when something has moved. */
export function runTopologyChange(port: StpPort, context: RoleContext, event: TopologyChangeEvent): boolean {
	const isInTree = port.role === "root" || port.role === "designated";
	if (!port.tcActive) {
		port.tcProp = false;
		if (!isInTree || !port.forward || port.operEdge) return false;
		port.tcActive = true;
		startTc(port, context);
		propagate(port, context);
		port.newInfo = true;
		return true;
	}
	if (!isInTree || port.operEdge) {
		port.tcActive = false;
		port.tcWhileNs = 0;
		port.tcAck = false;
		if (!isInTree) context.flush(port);
		return true;
	}
	if (event.isTcn === true || event.isTc === true) {
		if (event.isTcn === true) startTc(port, context);
		if (port.role === "designated") port.tcAck = true;
		if (event.isTcn === true) port.newInfo = true;
		propagate(port, context);
		return true;
	}
	if (event.isTcAck === true) {
		port.tcWhileNs = 0;
		return true;
	}
	if (port.tcProp) {
		startTc(port, context);
		context.flush(port);
		port.tcProp = false;
		return true;
	}
	return false;
}

/** newTcWhile (§17.21.7). */
function startTc(port: StpPort, context: RoleContext): void {
	if (port.tcWhileNs > context.nowNs) return;
	if (port.sendRstp) {
		port.tcWhileNs = context.nowNs + context.helloNs + NS_PER_S;
		port.newInfo = true;
	} else {
		port.tcWhileNs = context.nowNs + context.maxAgeNs + context.forwardDelayNs;
		if (port.role === "root") port.newInfo = true;
	}
}

function propagate(port: StpPort, context: RoleContext): void {
	for (const other of context.ports) if (other !== port) other.tcProp = true;
}
