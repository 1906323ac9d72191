import { BROADCAST_MAC, isGroupMac, type Mac, readMac, readU16 } from "../../net/frames/address.ts";
import { ETHERTYPE_VLAN } from "../../net/frames/ethernet.ts";

export type ReceiveFilterState = {
	readonly modes: readonly string[];
	readonly unicast: readonly Mac[] | "all";
	readonly multicast: readonly Mac[] | "all";
	/** `null`: VLANs are not filtered. */
	readonly vlans: readonly number[] | null;
};

export type ReceiveMode = "promiscuous" | "all-multicast" | "all-unicast" | "no-multicast" | "no-unicast" | "no-broadcast";

/** "all": more addresses than are looked up one by one, so everything of that kind comes through, as with cards of silicon. */
export type MacTable = ReadonlySet<Mac> | "all";

/** Which frames from the cable are the guest's (Virtio 1.2 §5.1.6.5.1, "Packet Receive Filtering", to .3, "VLAN Filtering"). */
export class ReceiveFilter {
	mac: Mac;
	readonly modes = new Set<ReceiveMode>();
	unicast: MacTable = new Set();
	multicast: MacTable = new Set();
	vlans: Set<number> | undefined;

	constructor(mac: Mac) {
		this.mac = mac;
	}

	reset(mac: Mac): void {
		this.mac = mac;
		this.modes.clear();
		this.unicast = new Set();
		this.multicast = new Set();
		this.vlans = undefined;
	}

	accepts(frame: Uint8Array): boolean {
		if (this.modes.has("promiscuous")) return true;
		if (this.vlans !== undefined && readU16(frame, 12) === ETHERTYPE_VLAN) {
			const id = readU16(frame, 14) & 0xfff;
			// Tag 0 is a priority, not a VLAN (IEEE 802.1Q-2018 §9.6).
			if (id !== 0 && !this.vlans.has(id)) return false;
		}
		const destination = readMac(frame, 0);
		if (destination === BROADCAST_MAC) return !this.modes.has("no-broadcast");
		if (isGroupMac(destination)) {
			if (this.modes.has("no-multicast")) return false;
			return this.modes.has("all-multicast") || isIn(this.multicast, destination);
		}
		if (this.modes.has("no-unicast")) return false;
		return destination === this.mac || this.modes.has("all-unicast") || isIn(this.unicast, destination);
	}

	save(): ReceiveFilterState {
		return {
			modes: [...this.modes].sort(),
			unicast: this.unicast === "all" ? "all" : [...this.unicast],
			multicast: this.multicast === "all" ? "all" : [...this.multicast],
			vlans: this.vlans === undefined ? null : [...this.vlans],
		};
	}

	load(state: ReceiveFilterState, mac: Mac): void {
		this.reset(mac);
		for (const mode of state.modes) this.modes.add(mode as ReceiveMode);
		this.unicast = state.unicast === "all" ? "all" : new Set(state.unicast);
		this.multicast = state.multicast === "all" ? "all" : new Set(state.multicast);
		this.vlans = state.vlans === null ? undefined : new Set(state.vlans);
	}
}

function isIn(table: MacTable, mac: Mac): boolean {
	return table === "all" || table.has(mac);
}
