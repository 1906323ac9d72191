import { BOOT, LOGIN } from "./guest.ts";
import { aligned, geometricMean, type Measured, speedups } from "./table.ts";
import { WIDE } from "./wide.ts";

/** What is measured for one line of the table of what the engine is to reach. */
export interface Verdict {
	readonly what: string;
	/** The least, or for memory the most, that is accepted. */
	readonly wanted: number;
	readonly isMost: boolean;
	readonly unit: "×" | "MB";
	/** undefined: this run has not measured it. */
	readonly got: number | undefined;
	readonly isMet: boolean | undefined;
}

const MAX_BEYOND_RAM_MB = 300;
const MAX_PAGE_SLOWDOWN = 1.3;

function verdict(what: string, wanted: number, got: number | undefined, isMost = false, unit: Verdict["unit"] = "×"): Verdict {
	return { what, wanted, isMost, unit, got, isMet: got === undefined ? undefined : isMost ? got <= wanted : got >= wanted };
}

/**
 * Holds what was measured to what is asked for: speeds as multiples of a peer's, each the ratio of medians.
 * @param subject the engine that is judged
 */
export function judge(measured: readonly Measured[], subject: string, programs: readonly string[]): Verdict[] {
	const find = (engine: string, bits: number): Measured | undefined => measured.find((one) => one.engine === engine && one.bits === bits);
	const ratios = (bits: number, peerName: string, which: readonly string[]): number[] => {
		const [own, peer] = [find(subject, bits), find(peerName, bits)];
		return own === undefined || peer === undefined ? [] : Object.values(speedups(own, peer, which));
	};
	const mean = (values: readonly number[]): number | undefined => (values.length === 0 ? undefined : geometricMean(values));
	const least = (values: readonly number[]): number | undefined => (values.length === 0 ? undefined : Math.min(...values));
	const [long, narrow, v86] = ["QEMU TCG x86-64", "QEMU TCG i386", "v86"];
	const bytes = measured.filter(({ engine }) => engine === subject).flatMap(({ beyondRamBytes }) => beyondRamBytes ?? []);
	return [
		verdict("64-bit programs against QEMU TCG, geometric mean", 1, mean(ratios(64, long, programs))),
		verdict("64-bit programs against QEMU TCG, the slowest", 0.5, least(ratios(64, long, programs))),
		verdict("32-bit programs against v86, geometric mean", 3, mean(ratios(32, v86, programs))),
		verdict("32-bit programs against v86, the slowest", 1, least(ratios(32, v86, programs))),
		verdict("32-bit programs against QEMU TCG, geometric mean", 1, mean(ratios(32, narrow, programs))),
		verdict("boot to power-off against QEMU TCG", 1, mean(ratios(64, long, [BOOT]))),
		verdict("debian-full to login against QEMU TCG", 1, mean(ratios(64, long, [LOGIN]))),
		verdict("50 MB of code against QEMU TCG", 0.7, mean(ratios(64, long, [WIDE]))),
		verdict("memory beyond the guest's", MAX_BEYOND_RAM_MB, bytes.length === 0 ? undefined : Math.max(...bytes) / 1024 ** 2, true, "MB"),
	];
}

/** Holds a page's times to Node's. */
export function judgePage(measured: readonly Measured[], page: string, node: string, programs: readonly string[]): Verdict {
	const [own, peer] = [page, node].map((name) => measured.find(({ engine }) => engine === name));
	const ratios = own === undefined || peer === undefined ? [] : Object.values(speedups(peer, own, programs));
	const slowdown = ratios.length === 0 ? undefined : geometricMean(ratios);
	return verdict("time in a page of Chromium as a multiple of Node's, geometric mean", MAX_PAGE_SLOWDOWN, slowdown, true);
}

export function renderVerdicts(verdicts: readonly Verdict[]): string {
	const rows = verdicts.map(({ what, wanted, isMost, unit, got, isMet }) => [
		what,
		got === undefined ? "–" : `${unit === "MB" ? got.toFixed(0) : got.toFixed(2)} ${unit}`,
		`${isMost ? "at most" : "at least"} ${wanted} ${unit}`,
		isMet === undefined ? "not measured" : isMet ? "met" : "SHORT",
	]);
	return aligned([["", "measured", "wanted", ""], ...rows]);
}
