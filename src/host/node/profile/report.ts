import type { FunctionTime } from "./cpu-profile.ts";
import type { SymbolTable } from "./symbols.ts";

/** Where the host's time went while a guest ran. */
export interface ProfileReport {
	readonly seconds: number;
	/** Largest first. */
	readonly categories: readonly { readonly name: string; readonly seconds: number; readonly share: number }[];
	/** Translated code that took most, by the linear address of its entry. */
	readonly regions: readonly { readonly address: string; readonly symbol?: string; readonly tier: number; readonly seconds: number }[];
}

const REGIONS_TOLD = 40;
/** As the translator names its functions when it is asked to. */
const REGION = /^region([12]) ([0-9a-f]+)$/;
const HANDLER = /^[A-Z0-9_.#]+ \d+ \d+$/;
const INTERPRETER: ReadonlySet<string> = new Set(["head", "end", "dispatch", "enterBlock", "stale"]);

/** Parts of the sources, by what their time counts as; the first that fits. */
const PARTS: readonly (readonly [pattern: RegExp, category: string])[] = [
	[/\/cpu\/mmu\//, "memory, slow path"],
	[/\/cpu\/system\//, "system instructions"],
	[/\/cpu\/interpreter\/|\/x86\/decode\//, "decoding and looking code up"],
	[/\/cpu\/(translator|emit|semantics)\/|\/wasm\//, "translating"],
	[/\/cpu\//, "run loop"],
	[/\/(chips|pc|virtio|machine)\//, "devices"],
	[/\/(disk|net|snapshot)\//, "disks, networks, snapshots"],
	[/\/(vm|host|cli)\//, "host"],
];

function categoryOf({ name, url }: FunctionTime): string {
	if (url.startsWith("wasm:")) {
		if (REGION.test(name)) return "translated code";
		return HANDLER.test(name) || INTERPRETER.has(name) ? "interpreted code" : "core functions";
	}
	// WebAssembly's own compiler and instantiation, called from the translator and the interpreter.
	if (url === "" && (name === "Module" || name === "Instance")) return "translating";
	if (name === "(garbage collector)") return "garbage collection";
	if (name === "(idle)") return "idle";
	return PARTS.find(([pattern]) => pattern.test(url))?.[1] ?? "Node itself";
}

/** Sums what a profile of a machine with named code tells. */
export function reportOf(times: readonly FunctionTime[], symbols?: SymbolTable): ProfileReport {
	const seconds = times.reduce((sum, time) => sum + time.seconds, 0);
	const byCategory = new Map<string, number>();
	const regions: { address: string; tier: number; seconds: number; symbol?: string }[] = [];
	for (const time of times) {
		const category = categoryOf(time);
		byCategory.set(category, (byCategory.get(category) ?? 0) + time.seconds);
		const [, tier, address] = REGION.exec(time.name) ?? [];
		if (tier === undefined || address === undefined) continue;
		const symbol = symbols?.nameAt(BigInt(`0x${address}`));
		regions.push({ address, tier: Number(tier), seconds: time.seconds, ...(symbol === undefined ? {} : { symbol }) });
	}
	return {
		seconds,
		categories: [...byCategory]
			.map(([name, spent]) => ({ name, seconds: spent, share: seconds === 0 ? 0 : spent / seconds }))
			.sort((a, b) => b.seconds - a.seconds),
		regions: regions.sort((a, b) => b.seconds - a.seconds).slice(0, REGIONS_TOLD),
	};
}

/** The report for a person. */
export function renderReport({ seconds, categories, regions }: ProfileReport): string {
	const lines = [`${seconds.toFixed(2)} s of the host's main thread:`];
	for (const { name, seconds: spent, share } of categories)
		lines.push(`${spent.toFixed(2).padStart(8)} s  ${(100 * share).toFixed(1).padStart(5)} %  ${name}`);
	if (regions.length > 0) lines.push("translated code that took most:");
	for (const { address, symbol, tier, seconds: spent } of regions.slice(0, 15))
		lines.push(
			`${spent.toFixed(2).padStart(8)} s  ${address.padStart(16, "0")}  ${tier === 2 ? "wide " : "first"}  ${symbol ?? ""}`.trimEnd(),
		);
	return `${lines.join("\n")}\n`;
}
