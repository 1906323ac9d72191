import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const main = fileURLToPath(new URL("basenji.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "basenji-lab-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function basenji(...args: string[]): { code: number | null; stdout: string; stderr: string } {
	const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", cwd: folder });
	return { code: status, stdout, stderr };
}

function file(name: string, text: string): string {
	writeFileSync(join(folder, name), text);
	return name;
}

const PAIR = `lab: pair
nodes:
  a: { kind: host, ip: 10.0.0.1/24 }
  b: { kind: host, ip: 10.0.0.2/24 }
  s: { kind: switch, stp: rstp }
links:
  - a -- s: 100mbit
  - b -- s: { rate: 10mbit, delay: 5ms }
`;

test("validate: a line for each mistake, code 1; a right file in one line, code 0", () => {
	const wrong = file("wrong.yaml", "lab: x\nclok: virtual\nnodes:\n  a: { kind: hub, rate: 10 }\n");
	expect(basenji("lab", "validate", "-f", wrong)).toEqual({
		code: 1,
		stdout: "",
		stderr: expect.stringMatching(
			/^wrong\.yaml:2:1: clok: unknown key.*\nwrong\.yaml:4:25: nodes\.a\.rate: 10; expected a rate with its unit.*\n$/,
		),
	});
	expect(JSON.parse(basenji("validate", "-f", wrong, "--json").stdout)).toMatchObject({
		isValid: false,
		issues: [
			{ line: 2, kind: "unknown-key" },
			{ line: 4, column: 25 },
		],
	});
	expect(basenji("validate", "-f", file("lab.yaml", PAIR))).toEqual({
		code: 0,
		stdout: "lab.yaml: pair: 3 nodes (0 machines), 2 links\n",
		stderr: "",
	});
	expect(basenji("lab", "up", "-f", wrong).code).toBe(1);
	expect(basenji("lab", "validate", "-f", "nowhere.yaml")).toEqual({
		code: 125,
		stdout: "",
		stderr: "basenji: nowhere.yaml: no such lab file\n",
	});
});

test("graph and schema", () => {
	const name = file("lab.yaml", PAIR);
	expect(basenji("lab", "graph", "-f", name).stdout).toContain('"b" -- "s" [label="10mbit, 5ms"');
	expect(JSON.parse(basenji("graph", "-f", name, "--json").stdout).links[1]).toMatchObject({ name: "b--s", quality: "10mbit, 5ms" });
	expect(JSON.parse(basenji("lab", "schema").stdout)).toMatchObject({ title: "Basenji lab", required: ["lab", "nodes"] });
});

test("test: what was expected and what was seen; code 0 or 1", () => {
	const name = file("expect.yaml", `${PAIR}expect:\n  - ping a -> b rtt between 10ms and 11ms\n  - ping a -> b loss above 50%\n`);
	const { code, stdout } = basenji("lab", "test", "-f", name, "--captures", "captures");
	expect(code).toBe(1);
	expect(stdout).toMatch(/^ok {3}\S+s ping a -> b rtt.*\nFAIL \S+s ping a -> b loss above 50% \(3 of 3 came back.*\npair: 1 of 2 met/);
	expect(readdirSync(join(folder, "captures")).sort()).toEqual(["a--s.pcapng", "b--s.pcapng"]);
	expect(JSON.parse(basenji("test", "-f", name, "--json").stdout)).toMatchObject({
		isPassed: false,
		results: [{ isMet: true }, { isMet: false }],
	});
});

test("up in the background, live changes, a capture, redeploy, down: nothing is left behind", { timeout: 120_000 }, async () => {
	const name = file("live.yaml", PAIR);
	expect(basenji("lab", "up", "-d", "-f", name).stdout).toMatch(/^pair: up \(process \d+\)/);
	try {
		expect(statSync(join(folder, ".basenji/pair/control")).mode & 0o777).toBe(0o600);
		expect(basenji("up", "-f", name)).toMatchObject({ code: 125, stderr: expect.stringMatching(/pair is up already/) });
		expect(basenji("link", "set", "a--s", "rate=1mbit", "delay=20ms ±5ms", "--dir", "s>a", "-f", name).code).toBe(0);
		expect(basenji("link", "down", "b--s", "-f", name).code).toBe(0);
		expect(basenji("link", "set", "b--s", "rate=1", "-f", name).stderr).toMatch(/expected a rate with its unit/);
		const links = JSON.parse(basenji("link", "ls", "-f", name, "--json").stdout) as { name: string; state: string; quality: string }[];
		expect(links).toMatchObject([
			{ name: "a--s", state: "up", quality: "100mbit / 1mbit, 20ms ±5ms" },
			{ name: "b--s", state: "down", quality: "down, 10mbit, 5ms" },
		]);
		const recorded = basenji("lab", "recording", "-f", name).stdout;
		expect(recorded).toMatch(
			/^timeline:\n {2}\d+ns:\n {4}- "s:a -> a:lan rate 1mbit delay 20ms ±5ms"\n {2}\d+ns:\n {4}- "b:lan -- s:b state down"\n$/,
		);
		expect(basenji("lab", "validate", "-f", file("recorded.yaml", PAIR + recorded)).stdout).toMatch(/2 actions/);
		const recorder = spawn(process.execPath, [main, "capture", "a--s", "-w", "a.pcapng", "-f", name], { cwd: folder });
		await delay(4000);
		recorder.kill("SIGINT");
		await new Promise((resolve) => recorder.once("close", resolve));
		// A spanning tree's greeting comes every two seconds.
		expect(readFileSync(join(folder, "a.pcapng")).length).toBeGreaterThan(500);
		expect(basenji("redeploy", "-f", name).code).toBe(0);
		expect(basenji("link", "ls", "-f", name).stdout).toMatch(/b--s {2}up/);
	} finally {
		expect(basenji("lab", "down", "-f", name)).toMatchObject({ code: 0, stdout: "pair: down\n" });
	}
	expect(existsSync(join(folder, ".basenji"))).toBe(false);
	expect(basenji("link", "ls", "-f", name)).toMatchObject({ code: 125, stderr: expect.stringMatching(/pair is not up/) });
});
