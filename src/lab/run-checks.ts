import type { Ns } from "../base/units.ts";
import { formatRate } from "../net/link/quantity.ts";
import { DISCARD_PORT } from "../net/nodes/station.ts";
import type { Bounds, Check, Expectation } from "./expectations.ts";
import { GoodputMeter } from "./goodput.ts";
import { GuestShell } from "./guest-shell.ts";
import type { Lab } from "./lab.ts";

export interface CheckResult {
	/** As it was written. */
	readonly text: string;
	readonly isMet: boolean;
	/** What was seen. */
	readonly found: string;
	/** When it was asked, in lab time. */
	readonly atNs: Ns;
}

export interface RunChecksOptions {
	/** Lab time that machines have to come up; 10 minutes by default. */
	readonly startLimitNs?: Ns;
	readonly onResult?: (result: CheckResult) => void;
}

const START_LIMIT_NS: Ns = 600e9;
/** A spanning tree of old bridges has settled by then (IEEE 802.1D-2004 §17.14: 20 s and twice 15 s). */
const SETTLE_LIMIT_NS: Ns = 60e9;
const ADDRESS_LIMIT_NS: Ns = 300e9;
const PING_INTERVAL_NS: Ns = 1e9;
const PING_PATIENCE_NS: Ns = 2e9;
/** A connection has its speed after this long. */
const SLOW_START_NS: Ns = 2e9;
const GUEST_PORT = 5001;

/** Runs a lab through its timeline and asks for everything that it is to show, each at its time. */
export async function runChecks(lab: Lab, options: RunChecksOptions = {}): Promise<readonly CheckResult[]> {
	const results: CheckResult[] = [];
	const checks = new Checks(lab);
	const ask = async (expectation: Expectation): Promise<void> => {
		const atNs = lab.nowNs;
		const { isMet, found } = await checks.check(expectation.check).catch((error: unknown) => ({
			isMet: false,
			found: error instanceof Error ? error.message : String(error),
		}));
		const result = { text: expectation.text, isMet, found, atNs };
		results.push(result);
		options.onResult?.(result);
	};
	const timed = lab.model.expectations.filter(({ atNs }) => atNs !== undefined).sort((a, b) => (a.atNs as Ns) - (b.atNs as Ns));
	for (const expectation of timed) {
		await lab.run({ until: expectation.atNs as Ns });
		await ask(expectation);
	}
	const lastNs = lab.model.timeline.at(-1)?.timeNs ?? 0;
	const limitNs = Math.max(lastNs, lab.nowNs) + (options.startLimitNs ?? START_LIMIT_NS);
	await lab.run({ until: limitNs, isDone: () => lab.isUp && lab.nowNs > lastNs });
	await lab.run({ until: lab.nowNs + SETTLE_LIMIT_NS, isDone: () => lab.network.isSettled });
	for (const expectation of lab.model.expectations) if (expectation.atNs === undefined) await ask(expectation);
	return results;
}

interface Verdict {
	readonly isMet: boolean;
	readonly found: string;
}

class Checks {
	readonly #lab: Lab;
	readonly #shells = new Map<string, GuestShell>();

	constructor(lab: Lab) {
		this.#lab = lab;
	}

	check(check: Check): Promise<Verdict> {
		if (check.kind === "ping") return this.#ping(check);
		if (check.kind === "goodput") return this.#goodput(check);
		return check.kind === "prints" ? this.#prints(check) : this.#counter(check);
	}

	#shell(machine: string): GuestShell {
		let shell = this.#shells.get(machine);
		if (shell === undefined) {
			shell = new GuestShell(this.#lab, machine);
			this.#shells.set(machine, shell);
		}
		return shell;
	}

	async #ping(check: Extract<Check, { kind: "ping" }>): Promise<Verdict> {
		const to = await this.#address(check.to);
		const isStation = this.#lab.network.stations.has(check.from);
		const times = isStation
			? await this.#pingFromStation(check.from, to, check.count)
			: await this.#pingFromMachine(check.from, to, check.count);
		const loss = 1 - Math.min(times.length, check.count) / check.count;
		const range = times.length === 0 ? "" : `, ${milliseconds(Math.min(...times))} to ${milliseconds(Math.max(...times))}`;
		const found = `${times.length} of ${check.count} came back${range}`;
		if (check.fails) return { isMet: times.length === 0, found };
		const isInTime = check.rttNs === undefined || (times.length > 0 && times.every((time) => isWithin(time, check.rttNs as Bounds)));
		const isWhole = check.loss === undefined ? times.length > 0 : isWithin(loss, check.loss);
		return { isMet: isInTime && isWhole, found };
	}

	/** One goes ahead, and finds out addresses: its time is not that of the way. */
	async #pingFromStation(from: string, to: string, count: number): Promise<number[]> {
		await this.#echoes(from, to, 1);
		return this.#echoes(from, to, count);
	}

	async #echoes(from: string, to: string, count: number): Promise<number[]> {
		const times: number[] = [];
		const end = this.#lab.station(from).ping(numberOf(to), { count, intervalNs: PING_INTERVAL_NS }, ({ rttNs }) => times.push(rttNs));
		const untilNs = this.#lab.nowNs + count * PING_INTERVAL_NS + PING_PATIENCE_NS;
		await this.#lab.run({ until: untilNs, isDone: () => times.length === count });
		end();
		return times;
	}

	async #pingFromMachine(from: string, to: string, count: number): Promise<number[]> {
		const command = `ping -c 1 -W 2 ${to} >/dev/null 2>&1; ping -c ${count} -W 2 ${to}`;
		const { output } = await this.#shell(from).run(command, count * PING_INTERVAL_NS + 60e9);
		return [...output.matchAll(/time[=<]([\d.]+) ?ms/g)].map((match) => Number(match[1]) * 1e6);
	}

	async #goodput(check: Extract<Check, { kind: "goodput" }>): Promise<Verdict> {
		const { from, to, durationNs } = check;
		const lab = this.#lab;
		const access = lab.model.links.find(({ a, b }) => a.node === to || b.node === to);
		if (access === undefined) return { isMet: false, found: `${to} has no cable` };
		const link = lab.link(access.name);
		const isStation = lab.network.stations.has(to);
		const port = isStation ? DISCARD_PORT : GUEST_PORT;
		const address = await this.#address(to);
		if (!isStation) await this.#shell(to).run(`nc -l -p ${port} >/dev/null </dev/null &`);
		const meter = new GoodputMeter(access.b.node === to ? link.forth : link.back, port);
		const stop = await this.#send(from, address, port);
		await lab.run({ until: lab.nowNs + SLOW_START_NS });
		const [beforeBytes, beforeNs] = [meter.bytes, lab.nowNs];
		await lab.run({ until: lab.nowNs + durationNs });
		const bps = Math.round(((meter.bytes - beforeBytes) * 8e9) / (lab.nowNs - beforeNs));
		meter.close();
		await stop();
		return { isMet: isWithin(bps, check.bps), found: `${formatRate(Math.round(bps / 1000) * 1000)} of TCP payload` };
	}

	/** Has `from` send without end; what is returned ends that. */
	async #send(from: string, address: string, port: number): Promise<() => Promise<void>> {
		const station = this.#lab.network.stations.get(from);
		if (station !== undefined) {
			const stop = station.flood(numberOf(address), port);
			return async () => stop?.();
		}
		await this.#shell(from).run(`nc ${address} ${port} </dev/zero >/dev/null &`);
		return async () => void (await this.#shell(from).run("kill $!"));
	}

	async #prints({ node, text, withinNs }: Extract<Check, { kind: "prints" }>): Promise<Verdict> {
		const { console } = this.#lab.machine(node).machine;
		const isThere = (): boolean => console.text.includes(text);
		await this.#lab.run({ until: this.#lab.nowNs + withinNs, isDone: isThere });
		const last = console.text.trimEnd().split("\n").at(-1)?.trim() ?? "";
		return { isMet: isThere(), found: isThere() ? "printed" : `not printed; last line: ${JSON.stringify(last)}` };
	}

	async #counter({ link: name, side, counter, frames }: Extract<Check, { kind: "counter" }>): Promise<Verdict> {
		const link = this.#lab.link(name);
		const directions = side === undefined ? [link.forth, link.back] : [side === "up" ? link.forth : link.back];
		let sum = 0;
		for (const { stats } of directions)
			sum +=
				counter === "dropped"
					? Object.values(stats.drops).reduce((total, each) => total + each, 0)
					: ((stats as unknown as Readonly<Record<string, number>>)[`${counter}Frames`] ?? 0);
		return { isMet: isWithin(sum, frames), found: `${sum} frames` };
	}

	/** A guest may have to boot before it asks for one. */
	async #address(name: string): Promise<string> {
		if (/^[\d.]+$/.test(name)) return name;
		const lab = this.#lab;
		await lab.run({ until: lab.nowNs + ADDRESS_LIMIT_NS, isDone: () => lab.addressOf(name) !== undefined });
		const address = lab.addressOf(name);
		if (address === undefined)
			throw new Error(`${name} has no address: none is written down, and no DHCP server of the lab has given it one`);
		return address;
	}
}

function isWithin(figure: number, { least, most }: Bounds): boolean {
	return figure >= least && figure <= most;
}

function milliseconds(ns: number): string {
	return `${Number((ns / 1e6).toFixed(3))} ms`;
}

function numberOf(address: string): number {
	return address.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
}
