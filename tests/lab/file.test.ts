import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { LabError, labSchema, parseLab } from "../../src/lab/index.ts";
import { describeFileIssue, parseLabText, readLabText } from "../../src/labfile/index.ts";
import { BRANCH_OFFICE, WRONG_FILES } from "./files.ts";
import { violations } from "./schema-check.ts";

test("a lab file is read whole", () => {
	const { model, issues } = readLabText(BRANCH_OFFICE, "lab.yaml");
	expect(issues.filter(({ severity }) => severity === "error").map((issue) => describeFileIssue("lab.yaml", issue))).toEqual([]);
	expect(model?.links.map(({ name, a, b }) => `${name} ${a.port} ${b.port}`)).toEqual([
		"pc--sw nic0 pc",
		"phone--sw nic0 phone",
		"gw--sw sw gw",
		"probe--sw lan probe",
		"names--hub lan names",
		"gw:wan--isp wan lan",
		"gw:dmz--srv:lan dmz lan",
	]);
	expect(model?.links[6]).toMatchObject({ spec: { rate: "10mbit", up: { loss: "1%" } }, capture: { file: "dmz.pcapng" } });
	expect(model?.timeline.map(({ timeNs, action }) => [timeNs / 1e9, action.kind])).toEqual([
		[10, "link"],
		[15, "link"],
		[15, "machine"],
		[15, "type"],
		[20, "link"],
	]);
	expect(model?.timeline.at(-1)?.action).toMatchObject({
		link: "gw:dmz--srv:lan",
		side: "up",
		spec: { loss: "10%", delay: "30ms ±3ms", mtu: 1400 },
	});
	expect(model?.expectations.map(({ check }) => check.kind)).toEqual(["goodput", "ping", "ping", "prints", "counter"]);
	expect(parseLab(parse(BRANCH_OFFICE))).toEqual(model);
});

test.each(WRONG_FILES)("%s: line, column, what was expected", (_name, text, line, column, says) => {
	const { model, issues } = readLabText(text, "lab.yaml");
	expect(model).toBeUndefined();
	const errors = issues.filter(({ severity }) => severity === "error");
	expect(errors.map((issue) => describeFileIssue("lab.yaml", issue))).toHaveLength(1);
	expect(describeFileIssue("lab.yaml", errors[0]!)).toMatch(says);
	expect(errors[0]).toMatchObject({ line, column });
	expect(() => parseLabText(text, "lab.yaml")).toThrow(LabError);
});

test("all mistakes are told at once, in order of lines", () => {
	const text = "lab: a\nseed: 1.5\nnodes:\n  a: { kind: hub, x: 1 }\n  b: { kind: hub }\nlinks:\n  - a -- b: { rate: 1 }\n";
	expect(readLabText(text, "f").issues.map(({ line }) => line)).toEqual([2, 4, 7]);
});

test("the JSON Schema accepts what we accept, and sees the mistakes that a schema can see", () => {
	const schema = labSchema();
	expect(violations(schema, parse(BRANCH_OFFICE))).toEqual([]);
	expect(violations(schema, { lab: "a", clok: 1, nodes: {} })).toEqual(["$.clok is unknown"]);
	const caught = WRONG_FILES.filter(([, text]) => {
		try {
			return violations(schema, parse(text)).length > 0;
		} catch {
			return false;
		}
	}).map(([name]) => name);
	expect(caught).toEqual(
		expect.arrayContaining([
			"an unknown key",
			"an unknown key of a node",
			"an unknown key of a link",
			"a missing unit",
			"a missing unit of memory",
			"an unknown kind",
			"a VLAN that is none",
			"a timeline's wrong time",
		]),
	);
});

test("the lab in docs/labs.md is right", () => {
	const text = readFileSync(new URL("../../docs/labs.md", import.meta.url), "utf8");
	const [, example = ""] = /```yaml\n([\s\S]*?)```/.exec(text) ?? [];
	const { model, issues } = readLabText(example, "labs.md");
	expect(issues.map((issue) => describeFileIssue("labs.md", issue))).toEqual([]);
	expect(model?.nodes.size).toBe(5);
});

test("the schema in docs is the one that files are read by", () => {
	const text = readFileSync(new URL("../../docs/lab.schema.json", import.meta.url), "utf8");
	expect(JSON.parse(text), "node docs/lab-schema.ts writes it anew").toEqual(labSchema());
});

test("whatever a file holds, reading it ends with a list of mistakes", () => {
	for (const text of [
		"",
		"- 1\n",
		"null",
		"lab: [1]\nnodes: 7\nlinks: {}\ntimeline: []\nexpect: 3\nlayout: x\nprofiles: 1\n",
		"a: &a [*a]\n",
		"x: *y\n",
		"? [1,2]\n: 3\n",
		"lab: a\nnodes: {1: {kind: hub}, 2: null}\nlinks: [1 -- 2, {}, [], 7]\n",
	]) {
		const { model, issues } = readLabText(text, "f");
		expect([text, model, issues.length > 0]).toEqual([text, undefined, true]);
	}
});
