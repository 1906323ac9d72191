import { type Mac, readMac } from "../../net/frames/address.ts";
import type { ReceiveFilter, ReceiveMode } from "./filter.ts";

// Virtio 1.2 §5.1.6.5, "Control Virtqueue": class and command
const RX = 0;
const RX_MODES: readonly ReceiveMode[] = ["promiscuous", "all-multicast", "all-unicast", "no-multicast", "no-unicast", "no-broadcast"];
const MAC = 1;
const MAC_TABLE_SET = 0;
const MAC_ADDR_SET = 1;
const VLAN = 2;
const VLAN_ADD = 0;
const VLAN_DEL = 1;
const MQ = 4;
const MQ_VQ_PAIRS_SET = 0;
const GUEST_OFFLOADS = 5;
const GUEST_OFFLOADS_SET = 0;

const COMMAND_BYTES = 2;
const MAC_BYTES = 6;
/** More addresses than this are not looked up one by one. */
const MAX_TABLE = 256;

/** Longest command worth reading. */
export const MAX_COMMAND_BYTES = 64 * 1024;

/** What commands act on besides the filter. */
export interface ControlTarget {
	readonly filter: ReceiveFilter;
	setMac(mac: Mac): void;
	/** False if that many are not there. */
	setPairs(count: number): boolean;
	/** False for bits that were not negotiated. */
	setOffloads(bits: bigint): boolean;
}

/** Carries out one command (class, command, data); false for one that is unknown or makes no sense. */
export function control(target: ControlTarget, bytes: Uint8Array): boolean {
	if (bytes.length < COMMAND_BYTES) return false;
	const [kind, command] = [bytes[0]!, bytes[1]!];
	const data = bytes.subarray(COMMAND_BYTES);
	const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
	switch (kind) {
		case RX:
			return setMode(target.filter, command, data);
		case MAC:
			if (command === MAC_TABLE_SET) return setTables(target.filter, data, view);
			if (command !== MAC_ADDR_SET || data.length !== MAC_BYTES) return false;
			target.setMac(readMac(data, 0));
			return true;
		case VLAN:
			return data.length === 2 && setVlan(target.filter, command, view.getUint16(0, true));
		case MQ:
			return command === MQ_VQ_PAIRS_SET && data.length === 2 && target.setPairs(view.getUint16(0, true));
		case GUEST_OFFLOADS:
			return command === GUEST_OFFLOADS_SET && data.length === 8 && target.setOffloads(view.getBigUint64(0, true));
		default:
			return false;
	}
}

function setMode(filter: ReceiveFilter, command: number, data: Uint8Array): boolean {
	const mode = RX_MODES[command];
	if (mode === undefined || data.length !== 1) return false;
	if (data[0] === 0) filter.modes.delete(mode);
	else filter.modes.add(mode);
	return true;
}

/** Two tables, each a count and that many addresses: unicast, then multicast. */
function setTables(filter: ReceiveFilter, data: Uint8Array, view: DataView): boolean {
	const tables: Set<Mac>[] = [];
	let at = 0;
	for (let table = 0; table < 2; table++) {
		if (at + 4 > data.length) return false;
		const count = view.getUint32(at, true);
		at += 4;
		if (count * MAC_BYTES > data.length - at) return false;
		const macs = new Set<Mac>();
		for (let index = 0; index < count; index++, at += MAC_BYTES) macs.add(readMac(data, at));
		tables.push(macs);
	}
	const [unicast, multicast] = tables as [Set<Mac>, Set<Mac>];
	filter.unicast = unicast.size <= MAX_TABLE ? unicast : "all";
	filter.multicast = multicast.size <= MAX_TABLE ? multicast : "all";
	return true;
}

function setVlan(filter: ReceiveFilter, command: number, id: number): boolean {
	if (id > 4094 || (command !== VLAN_ADD && command !== VLAN_DEL)) return false;
	filter.vlans ??= new Set();
	if (command === VLAN_ADD) filter.vlans.add(id);
	else filter.vlans.delete(id);
	return true;
}
