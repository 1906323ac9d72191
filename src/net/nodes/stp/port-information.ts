import { NS_PER_S, type Ns } from "../../../base/units.ts";
import { type ConfigurationBpdu, compareVectors, macOf, type PriorityVector } from "./bpdu.ts";
import type { StpPort, StpTimes } from "./stp-port.ts";

/** The port information machine's UPDATE (IEEE 802.1D-2004 §17.27): this port now speaks for its LAN. */
export function updatePortInfo(port: StpPort, rootTimes: StpTimes): void {
	const isBetterOrSame = port.infoIs === "mine" && compareVectors(port.designatedPriority, port.portPriority) <= 0;
	port.proposing = false;
	port.proposed = false;
	port.agreed &&= isBetterOrSame;
	port.synced &&= port.agreed;
	port.portPriority = port.designatedPriority;
	port.portTimes = { ...rootTimes };
	port.updtInfo = false;
	port.infoIs = "mine";
	port.newInfo = true;
}

/** The machine's RECEIVE and what follows from it; true when roles have to be selected anew. */
export function receiveConfiguration(port: StpPort, bpdu: ConfigurationBpdu, isRapid: boolean, nowNs: Ns): boolean {
	const order = compareVectors(bpdu.vector, port.portPriority);
	if (bpdu.role === "designated") {
		if (order < 0 || (order > 0 && isFromSameDesignated(bpdu.vector, port.portPriority) && isRapid && port.infoIs === "received")) {
			takeSuperior(port, bpdu, isRapid, nowNs);
			return true;
		}
		if (order === 0 && port.infoIs === "received") {
			if (!sameTimes(port.portTimes, bpdu)) {
				takeSuperior(port, bpdu, isRapid, nowNs);
				return true;
			}
			recordProposal(port, bpdu);
			keepInfo(port, isRapid, nowNs);
			return false;
		}
		// §17.21.10: a designated port that hears a worse one forwarding is in dispute over the LAN.
		if (bpdu.isLearning) {
			port.disputed = true;
			port.agreed = false;
		}
		// Tell a bridge that does not know better at once (802.1D-1998 §8.6.3.3), not at the next hello.
		if (port.role === "designated") port.newInfo = true;
		return false;
	}
	if (order >= 0) recordAgreement(port, bpdu, isRapid);
	return false;
}

function isFromSameDesignated(a: PriorityVector, b: PriorityVector): boolean {
	return macOf(a.bridge) === macOf(b.bridge) && (a.port & 0xff) === (b.port & 0xff);
}

function sameTimes(a: StpTimes, b: StpTimes): boolean {
	return a.messageAgeS === b.messageAgeS && a.maxAgeS === b.maxAgeS && a.helloS === b.helloS && a.forwardDelayS === b.forwardDelayS;
}

function takeSuperior(port: StpPort, bpdu: ConfigurationBpdu, isRapid: boolean, nowNs: Ns): void {
	const isBetterOrSame = port.infoIs === "received" && compareVectors(bpdu.vector, port.portPriority) <= 0;
	port.agreed = false;
	port.proposing = false;
	recordProposal(port, bpdu);
	port.agree &&= isBetterOrSame;
	port.portPriority = bpdu.vector;
	const { messageAgeS, maxAgeS, helloS, forwardDelayS } = bpdu;
	// §17.21.12: a hello time of less than a second is not believed.
	port.portTimes = { messageAgeS, maxAgeS, helloS: Math.max(1, helloS), forwardDelayS };
	port.infoIs = "received";
	keepInfo(port, isRapid, nowNs);
}

function recordProposal(port: StpPort, bpdu: ConfigurationBpdu): void {
	if (bpdu.isProposal && port.isPointToPoint) port.proposed = true;
}

function recordAgreement(port: StpPort, bpdu: ConfigurationBpdu, isRapid: boolean): void {
	if (isRapid && port.isPointToPoint && bpdu.isAgreement) {
		port.agreed = true;
		port.proposing = false;
	} else port.agreed = false;
}

/**
 * How long what was heard holds: three hellos in RSTP (§17.21.23), what is left of max age in STP (802.1D-1998
 * §8.5.5.1). Information that has come too far is not used at all.
 */
function keepInfo(port: StpPort, isRapid: boolean, nowNs: Ns): void {
	const { messageAgeS, maxAgeS, helloS } = port.portTimes;
	const holdS = messageAgeS + 1 > maxAgeS ? 0 : isRapid ? 3 * helloS : maxAgeS - messageAgeS;
	port.rcvdInfoWhileNs = nowNs + holdS * NS_PER_S;
}
