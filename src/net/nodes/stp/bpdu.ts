import { BROADCAST_MAC, type Mac, readMac, readU16, writeMac, writeU16 } from "../../frames/address.ts";
import { ETHERNET_HEADER_BYTES, MIN_FRAME_BYTES } from "../../frames/ethernet.ts";

/** The bridge group address (IEEE 802.1D-2004 §7.12.3). */
export const BRIDGE_GROUP_MAC: Mac = 0x0180_c200_0000;

/** A bridge's or port's place in an election: lower is better. A bridge's is priority and address, 64 bits. */
export type BridgeId = bigint;

/** A spanning tree priority vector (§17.5), compared component by component. */
export interface PriorityVector {
	readonly root: BridgeId;
	readonly cost: number;
	readonly bridge: BridgeId;
	readonly port: number;
}

export type BpduRole = "unknown" | "alternate" | "root" | "designated";
const ROLES: readonly BpduRole[] = ["unknown", "alternate", "root", "designated"];

export interface ConfigurationBpdu {
	readonly type: "configuration";
	/** 0: STP, 2: RSTP. */
	readonly version: number;
	readonly vector: PriorityVector;
	readonly messageAgeS: number;
	readonly maxAgeS: number;
	readonly helloS: number;
	readonly forwardDelayS: number;
	readonly isTopologyChange: boolean;
	readonly isTopologyChangeAck: boolean;
	/** RSTP only; a version 0 message is always a designated port's. */
	readonly role: BpduRole;
	readonly isProposal: boolean;
	readonly isAgreement: boolean;
	readonly isLearning: boolean;
	readonly isForwarding: boolean;
}

export type Bpdu = ConfigurationBpdu | { readonly type: "topology-change" };

const LLC_BYTES = 3;
const CONFIGURATION_BYTES = 35;
const RST_BYTES = 36;

/** `undefined` unless it is an STP or RSTP message (§9.3.4: what is too short or of another protocol is ignored). */
export function parseBpdu(frame: Uint8Array): Bpdu | undefined {
	const at = ETHERNET_HEADER_BYTES + LLC_BYTES;
	if (frame.length < at + 4 || readU16(frame, 12) >= 1536) return undefined;
	if (frame[14] !== 0x42 || frame[15] !== 0x42 || frame[16] !== 3 || readU16(frame, at) !== 0) return undefined;
	const version = frame[at + 2]!;
	const type = frame[at + 3]!;
	if (type === 0x80) return { type: "topology-change" };
	if (frame.length < at + CONFIGURATION_BYTES || !(type === 0 || (type === 2 && version >= 2))) return undefined;
	const isRst = type === 2;
	const flags = frame[at + 4]!;
	const seconds = (offset: number) => readU16(frame, at + offset) / 256;
	return {
		type: "configuration",
		version: isRst ? 2 : 0,
		vector: { root: readId(frame, at + 5), cost: readCost(frame, at + 13), bridge: readId(frame, at + 17), port: readU16(frame, at + 25) },
		messageAgeS: seconds(27),
		maxAgeS: seconds(29),
		helloS: seconds(31),
		forwardDelayS: seconds(33),
		isTopologyChange: (flags & 1) !== 0,
		isTopologyChangeAck: (flags & 0x80) !== 0,
		role: isRst ? ROLES[(flags >> 2) & 3]! : "designated",
		isProposal: isRst && (flags & 2) !== 0,
		isAgreement: isRst && (flags & 0x40) !== 0,
		isLearning: isRst && (flags & 0x10) !== 0,
		isForwarding: isRst && (flags & 0x20) !== 0,
	};
}

export function buildBpdu(bpdu: Bpdu, source: Mac): Uint8Array {
	const frame = new Uint8Array(MIN_FRAME_BYTES);
	writeMac(frame, 0, BRIDGE_GROUP_MAC);
	writeMac(frame, 6, source);
	frame.set([0x42, 0x42, 3], 14);
	const at = ETHERNET_HEADER_BYTES + LLC_BYTES;
	if (bpdu.type === "topology-change") {
		writeU16(frame, 12, LLC_BYTES + 4);
		frame[at + 3] = 0x80;
		return frame;
	}
	const isRst = bpdu.version >= 2;
	writeU16(frame, 12, LLC_BYTES + (isRst ? RST_BYTES : CONFIGURATION_BYTES));
	frame[at + 2] = isRst ? 2 : 0;
	frame[at + 3] = isRst ? 2 : 0;
	frame[at + 4] = flagsOf(bpdu, isRst);
	writeId(frame, at + 5, bpdu.vector.root);
	writeU16(frame, at + 13, bpdu.vector.cost >>> 16);
	writeU16(frame, at + 15, bpdu.vector.cost);
	writeId(frame, at + 17, bpdu.vector.bridge);
	writeU16(frame, at + 25, bpdu.vector.port);
	for (const [index, seconds] of [bpdu.messageAgeS, bpdu.maxAgeS, bpdu.helloS, bpdu.forwardDelayS].entries())
		writeU16(frame, at + 27 + 2 * index, Math.round(seconds * 256));
	return frame;
}

function flagsOf(bpdu: ConfigurationBpdu, isRst: boolean): number {
	const common = (bpdu.isTopologyChange ? 1 : 0) | (!isRst && bpdu.isTopologyChangeAck ? 0x80 : 0);
	if (!isRst) return common;
	const rapid = (bpdu.isProposal ? 2 : 0) | (bpdu.isLearning ? 0x10 : 0) | (bpdu.isForwarding ? 0x20 : 0) | (bpdu.isAgreement ? 0x40 : 0);
	return common | rapid | (ROLES.indexOf(bpdu.role) << 2);
}

function readCost(frame: Uint8Array, offset: number): number {
	return readU16(frame, offset) * 0x1_0000 + readU16(frame, offset + 2);
}

function readId(frame: Uint8Array, offset: number): BridgeId {
	return makeBridgeId(readU16(frame, offset), readMac(frame, offset + 2));
}

function writeId(frame: Uint8Array, offset: number, id: BridgeId): void {
	writeU16(frame, offset, Number(id >> 48n));
	writeMac(frame, offset + 2, macOf(id));
}

export function makeBridgeId(priority: number, mac: Mac): BridgeId {
	return (BigInt(priority) << 48n) | BigInt(mac);
}

export function macOf(id: BridgeId): Mac {
	return Number(id & BigInt(BROADCAST_MAC));
}

/** Below 0: `a` is better. */
export function compareVectors(a: PriorityVector, b: PriorityVector): number {
	if (a.root !== b.root) return a.root < b.root ? -1 : 1;
	if (a.cost !== b.cost) return a.cost - b.cost;
	if (a.bridge !== b.bridge) return a.bridge < b.bridge ? -1 : 1;
	return a.port - b.port;
}
