import { HostError } from "../host-error.ts";

/** Names for addresses, as `nm` and Linux's System.map and /proc/kallsyms list them: address, type, name. */
export class SymbolTable {
	readonly #addresses: readonly bigint[];
	readonly #names: readonly string[];

	private constructor(entries: readonly (readonly [address: bigint, name: string])[]) {
		const sorted = [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
		this.#addresses = sorted.map(([address]) => address);
		this.#names = sorted.map(([, name]) => name);
	}

	/** @throws HostError when no line is a symbol's */
	static parse(text: string, file: string): SymbolTable {
		const entries: (readonly [bigint, string])[] = [];
		for (const line of text.split("\n")) {
			const [, address, name] = /^([0-9a-f]+) [a-zA-Z] (\S+)/.exec(line) ?? [];
			if (address !== undefined && name !== undefined) entries.push([BigInt(`0x${address}`), name]);
		}
		if (entries.length === 0) throw new HostError("bad-file", `${file}: no line says "address type name", as nm and System.map do`);
		return new SymbolTable(entries);
	}

	/** The symbol that an address lies behind, and how far; undefined before the first. */
	nameAt(address: bigint): string | undefined {
		let low = 0;
		let high = this.#addresses.length;
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((this.#addresses[middle] as bigint) <= address) low = middle + 1;
			else high = middle;
		}
		if (low === 0) return undefined;
		const offset = address - (this.#addresses[low - 1] as bigint);
		return `${this.#names[low - 1]}${offset === 0n ? "" : `+0x${offset.toString(16)}`}`;
	}
}
