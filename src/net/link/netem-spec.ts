import { SpecError } from "./errors.ts";
import { DEFAULT_NETEM, type NetemConfig, type NetemDistribution, type NetemLoss } from "./netem-config.ts";
import { parseRate, parseRatio, parseTime } from "./quantity.ts";

/** `tc`'s words after `netem`, such as `delay 10ms 2ms distribution normal loss 1%`; or the numbers themselves. */
export type NetemSpec = Partial<NetemConfig>;

export function parseNetem(value: unknown, path: readonly string[]): NetemConfig {
	if (typeof value === "string") return new NetemWords(value, path).parse();
	if (typeof value !== "object" || value === null)
		throw new SpecError("bad-value", path, value, "tc's netem words, such as delay 10ms 2ms loss 1%");
	for (const key of Object.keys(value))
		if (!Object.hasOwn(DEFAULT_NETEM, key))
			throw new SpecError("unknown-key", [...path, key], key, `one of ${Object.keys(DEFAULT_NETEM).join(", ")}`);
	return { ...DEFAULT_NETEM, ...value };
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** tc-netem(8)'s grammar, as of iproute2 6.1. */
class NetemWords {
	readonly #words: string[];
	readonly #path: readonly string[];
	readonly #text: string;
	readonly #config: Writable<NetemConfig> = { ...DEFAULT_NETEM };

	constructor(text: string, path: readonly string[]) {
		this.#text = text;
		this.#path = path;
		this.#words = text.split(/\s+/).filter((word) => word !== "");
		if (this.#words[0] === "netem") this.#words.shift();
	}

	parse(): NetemConfig {
		const config = this.#config;
		for (let word = this.#words.shift(); word !== undefined; word = this.#words.shift()) {
			if (word === "limit") config.limitPackets = this.#count();
			else if (word === "delay" || word === "latency") this.#delay();
			else if (word === "distribution") config.distribution = this.#distribution();
			else if (word === "loss" || word === "drop") this.#loss();
			else if (word === "ecn") config.ecn = true;
			else if (word === "corrupt") config.corrupt = this.#chance();
			else if (word === "duplicate") config.duplicate = this.#chance();
			else if (word === "reorder") config.reorder = this.#chance();
			else if (word === "gap") config.gap = this.#count();
			else if (word === "rate") this.#rate();
			else if (word === "slot") this.#slot();
			else throw this.#error(word, "delay, distribution, loss, ecn, corrupt, duplicate, reorder, gap, rate, slot or limit");
		}
		if (config.reorder.ratio > 0) {
			if (config.delayNs === 0) throw this.#error("reorder", "a delay with it: undelayed packets cannot be overtaken");
			if (config.gap === 0) config.gap = 1;
		} else if (config.gap > 0) throw this.#error("gap", "reorder with it");
		return config;
	}

	#error(found: string, expected: string): SpecError {
		return new SpecError("bad-value", this.#path, `${found} in ${this.#text}`, expected);
	}

	#next(): string {
		const word = this.#words.shift();
		if (word === undefined) throw this.#error("nothing", "a value");
		return word;
	}

	#count(): number {
		const word = this.#next();
		if (!/^\d+$/.test(word)) throw this.#error(word, "a whole number");
		return Number(word);
	}

	#isNumber(unit: RegExp): boolean {
		const word = this.#words[0];
		return word !== undefined && /^-?[\d.]/.test(word) && unit.test(word);
	}

	/** The word after, if it is a percentage; tc takes it without its sign too. */
	#percent(otherwise?: number): number {
		if (!this.#isNumber(/^[\d.]+%?$/)) {
			if (otherwise === undefined) throw this.#error(this.#words[0] ?? "nothing", "a percentage");
			return otherwise;
		}
		const word = this.#next();
		return parseRatio(word.endsWith("%") ? word : `${word}%`, this.#path);
	}

	#time(): number {
		return parseTime(this.#next(), this.#path);
	}

	#chance(): { ratio: number; correlation: number } {
		return { ratio: this.#percent(), correlation: this.#percent(0) };
	}

	#delay(): void {
		this.#config.delayNs = this.#time();
		if (this.#isNumber(/s$/)) {
			this.#config.jitterNs = this.#time();
			this.#config.delayCorrelation = this.#percent(0);
		}
	}

	#distribution(): NetemDistribution {
		const name = this.#next();
		if (name === "uniform" || name === "normal" || name === "pareto" || name === "paretonormal") return name;
		throw this.#error(name, "uniform, normal, pareto or paretonormal");
	}

	#loss(): void {
		this.#config.loss = this.#lossModel();
	}

	#lossModel(): NetemLoss {
		if (this.#words[0] === "random") this.#words.shift();
		if (this.#words[0] === "state") {
			this.#words.shift();
			const p13 = this.#percent();
			return { model: "state", p13, p31: this.#percent(1 - p13), p32: this.#percent(0), p23: this.#percent(1), p14: this.#percent(0) };
		}
		if (this.#words[0] === "gemodel") {
			this.#words.shift();
			const p = this.#percent();
			return { model: "gemodel", p, r: this.#percent(1 - p), h: this.#percent(1), k: this.#percent(0) };
		}
		return { model: "random", ...this.#chance() };
	}

	#rate(): void {
		this.#config.rateBps = parseRate(this.#next(), this.#path);
		if (/^\d+$/.test(this.#words[0] ?? "")) this.#config.packetOverheadBytes = this.#count();
		if (/^\d+$/.test(this.#words[0] ?? "")) this.#config.cellBytes = this.#count();
		if (/^\d+$/.test(this.#words[0] ?? "")) this.#config.cellOverheadBytes = this.#count();
	}

	#slot(): void {
		let first: { minNs: number; maxNs: number } | { delayNs: number; jitterNs: number; distribution: NetemDistribution };
		if (this.#words[0] === "distribution") {
			this.#words.shift();
			const distribution = this.#distribution();
			first = { delayNs: this.#time(), jitterNs: this.#time(), distribution };
		} else {
			const minNs = this.#time();
			first = { minNs, maxNs: this.#isNumber(/s$/) ? this.#time() : minNs };
		}
		const limits = { packets: 0, bytes: 0 };
		while (this.#words[0] === "packets" || this.#words[0] === "bytes") limits[this.#next() as "packets" | "bytes"] = this.#count();
		this.#config.slot = { ...first, ...limits };
	}
}
