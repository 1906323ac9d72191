import type { LossConfig } from "./config.ts";
import { SpecError } from "./errors.ts";
import { gilbert } from "./loss.ts";
import { parseRatio, type Ratio } from "./quantity.ts";

export type LossSpec =
	| { model: "random"; rate: Ratio }
	/** Losses in bursts of mean length `burst` frames, `rate` of all frames in the long run. */
	| { model: "gilbert"; rate: Ratio; burst: number }
	/** Gilbert–Elliott: `p` good to bad, `r` back; delivered share `h` while bad (0 %), `k` while good (100 %). */
	| { model: "ge"; p: Ratio; r: Ratio; h?: Ratio; k?: Ratio }
	| { model: "markov4"; p13: Ratio; p31?: Ratio; p32?: Ratio; p23?: Ratio; p14?: Ratio }
	/** `x` lost, `.` delivered, over and over: `.........x`. */
	| { model: "pattern"; pattern: string };

const KEYS: Record<LossSpec["model"], readonly string[]> = {
	random: ["rate"],
	gilbert: ["rate", "burst"],
	ge: ["p", "r", "h", "k"],
	markov4: ["p13", "p31", "p32", "p23", "p14"],
	pattern: ["pattern"],
};

export function parseLoss(value: unknown, path: readonly string[]): LossConfig {
	if (typeof value === "string" || typeof value === "number") return random(parseRatio(value, path));
	const models = Object.keys(KEYS).join(", ");
	const fields = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
	const model = fields.model as LossSpec["model"];
	if (!Object.hasOwn(KEYS, model)) throw new SpecError("bad-value", [...path, "model"], model, `a share such as 1%, or a model: ${models}`);
	for (const key of Object.keys(fields))
		if (key !== "model" && !KEYS[model].includes(key))
			throw new SpecError("unknown-key", [...path, key], key, `one of ${KEYS[model].join(", ")}`);
	const ratio = (key: string, otherwise?: number) =>
		fields[key] === undefined && otherwise !== undefined ? otherwise : parseRatio(fields[key], [...path, key]);
	switch (model) {
		case "random":
			return random(ratio("rate"));
		case "gilbert":
			return parseGilbert(fields, ratio("rate"), path);
		case "ge": {
			const p = ratio("p");
			return { model, p, r: ratio("r", 1 - p), h: ratio("h", 0), k: ratio("k", 1) };
		}
		case "markov4": {
			const p13 = ratio("p13");
			const config = { model, p13, p31: ratio("p31", 1 - p13), p32: ratio("p32", 0), p23: ratio("p23", 1), p14: ratio("p14", 0) } as const;
			if (config.p13 + config.p14 > 1 || config.p31 + config.p32 > 1)
				throw new SpecError("contradiction", path, value, "p13 + p14 and p31 + p32 of at most 100%");
			return config;
		}
		case "pattern":
			return parsePattern(fields.pattern, [...path, "pattern"]);
	}
}

function random(ratio: number): LossConfig {
	return ratio === 0 ? { model: "none" } : { model: "random", ratio };
}

function parseGilbert(fields: Record<string, unknown>, rate: number, path: readonly string[]): LossConfig {
	const burst = fields.burst;
	if (typeof burst !== "number" || !(burst >= 1 && burst < 1e9))
		throw new SpecError("bad-value", [...path, "burst"], burst, "the mean number of frames lost in a row, at least 1");
	const config = gilbert(rate, burst);
	if (config === undefined)
		throw new SpecError(
			"contradiction",
			path,
			fields,
			`a longer burst: ${rate * 100}% cannot be lost in bursts of ${burst} with frames in between`,
		);
	return config;
}

function parsePattern(value: unknown, path: readonly string[]): LossConfig {
	if (typeof value !== "string" || !/^[.x]+$/.test(value))
		throw new SpecError("bad-value", path, value, "x for a lost and . for a delivered frame, such as .........x");
	return { model: "pattern", lost: [...value].map((each) => each === "x") };
}
