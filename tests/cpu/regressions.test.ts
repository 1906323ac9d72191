import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BASENJI_MODES, BasenjiEngine } from "./basenji.ts";
import { compare } from "./compare.ts";
import { isOpenRegression, knownFailureOf } from "./known.ts";
import { fromRegression, type Regression } from "./regression.ts";

const folder = new URL("regressions/", import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith(".json"));

/** What a host's processor once did with code that an engine got wrong. */
describe.each(BASENJI_MODES)("regressions, engine %s", (engineName) => {
	const engine = new BasenjiEngine(engineName);

	test.each(names)("%s", (name) => {
		const regression = JSON.parse(readFileSync(new URL(name, folder), "utf8")) as Regression;
		const { testCase, expected } = fromRegression(regression);
		const [actual] = engine.run([testCase]);
		const differences = compare(testCase, expected, actual!);
		const what = `${regression.assembly.join("; ")}\n${[...engine.crashes.values()].map(({ stack }) => stack).join("\n")}`;
		engine.crashes.clear();
		if (isOpenRegression(engineName, name)) expect(differences, `${name} agrees now: take it off known-failures.json`).not.toEqual([]);
		else if (knownFailureOf(engineName, testCase, differences) === undefined) expect(differences, what).toEqual([]);
	});
});
