import type { Ns } from "../../base/units.ts";
import { formatMac, type Mac } from "../frames/address.ts";

interface Entry {
	port: number;
	seenNs: Ns;
}

export type MacTableState = { readonly vlan: number; readonly mac: Mac; readonly port: number; readonly seenNs: Ns }[];

/** Which port a station was last heard on, per VLAN (independent learning). Full: nothing new is learnt, all is flooded. */
export class MacTable {
	readonly #vlans = new Map<number, Map<Mac, Entry>>();
	readonly #maxEntries: number;
	#size = 0;

	constructor(maxEntries: number) {
		this.#maxEntries = maxEntries;
	}

	get size(): number {
		return this.#size;
	}

	learn(vlan: number, mac: Mac, port: number, nowNs: Ns, ageNs: Ns): void {
		let table = this.#vlans.get(vlan);
		if (table === undefined) {
			table = new Map();
			this.#vlans.set(vlan, table);
		}
		const entry = table.get(mac);
		if (entry !== undefined) {
			entry.port = port;
			entry.seenNs = nowNs;
			return;
		}
		if (this.#size >= this.#maxEntries) this.#forget((each) => nowNs - each.seenNs >= ageNs);
		if (this.#size >= this.#maxEntries) return;
		table.set(mac, { port, seenNs: nowNs });
		this.#size++;
	}

	/** `undefined` when unknown or not heard for `ageNs`. */
	lookup(vlan: number, mac: Mac, nowNs: Ns, ageNs: Ns): number | undefined {
		const table = this.#vlans.get(vlan);
		const entry = table?.get(mac);
		if (table === undefined || entry === undefined) return undefined;
		if (nowNs - entry.seenNs < ageNs) return entry.port;
		table.delete(mac);
		this.#size--;
		return undefined;
	}

	flushPort(port: number): void {
		this.#forget((entry) => entry.port === port);
	}

	clear(): void {
		this.#vlans.clear();
		this.#size = 0;
	}

	entries(): { vlan: number; mac: string; port: number; seenNs: Ns }[] {
		return this.save().map((entry) => ({ ...entry, mac: formatMac(entry.mac) }));
	}

	#forget(isForgotten: (entry: Entry) => boolean): void {
		for (const table of this.#vlans.values())
			for (const [mac, entry] of table)
				if (isForgotten(entry)) {
					table.delete(mac);
					this.#size--;
				}
	}

	save(): MacTableState {
		return [...this.#vlans].flatMap(([vlan, table]) => [...table].map(([mac, entry]) => ({ vlan, mac, ...entry })));
	}

	load(state: MacTableState): void {
		this.clear();
		for (const { vlan, mac, port, seenNs } of state) this.learn(vlan, mac, port, seenNs, Number.POSITIVE_INFINITY);
	}
}
