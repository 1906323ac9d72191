import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compilePrograms } from "../../bench/guest.ts";
import { chromiumMissing, runScript } from "../../bench/page/chromium.ts";
import { servePage } from "../../bench/page/server.ts";
import { findTool } from "../../src/host/node/command.ts";
import { bootFiles, imageOrReason } from "./images.ts";
import { initrdWith } from "./overlay.ts";

test("a page runs the bench's smallest program, reads a disk, goes back to a snapshot and powers off", async ({ skip }) => {
	const missing = chromiumMissing() ?? (findTool("gcc") === undefined ? "no gcc on this host" : undefined);
	if (missing !== undefined) return skip(missing);
	const image = await imageOrReason("default");
	if (typeof image === "string") return skip(image);
	const folder = await mkdtemp(join(tmpdir(), "basenji-guest-"));
	try {
		const initrd = join(folder, "initrd");
		await writeFile(initrd, await initrdWith(image, { files: { bench: await readFile(compilePrograms(64, folder)) } }));
		const { kernel, append } = bootFiles(image, "quiet");
		const report = await runScript("tests/guest/browser-page.ts", { kernel, initrd, append, memory: "128M" }, { timeoutMs: 120_000 });
		expect(report).toMatchObject({
			refused: {
				memory: expect.stringMatching(/^config: memory: 7M is below/),
				address: expect.stringMatching(/^unavailable: kernel: http.*nothing: 404/),
			},
			ended: expect.stringMatching(/^BENCH alu end [\da-f]{8}$/),
			read: "\nfrom the page",
			snapshot: "kept",
			paused: "paused",
			gone: "No such file",
			early: expect.stringMatching(/^timeout: tab: 50ms passed before never appeared/),
			exit: { reason: "power-off", code: 0 },
			states: ["running", "paused", "running", "stopped"],
			late: expect.stringMatching(/^exited: tab/),
			stats: { engine: "translate", grew: true },
		});
		expect((report as { streamedBytes: number }).streamedBytes).toBeGreaterThan(100);
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
});

test("the page's server answers whoever has the token, and serves nothing but scripts and what it was given", async () => {
	await using server = await servePage("<p>page</p>");
	const at = (path: string): string => new URL(path, server.url).href;
	expect(await (await fetch(server.url)).text()).toBe("<p>page</p>");
	const script = await fetch(at("src/base/units.ts"));
	expect(script.headers.get("content-type")).toContain("javascript");
	expect(script.headers.get("cross-origin-embedder-policy")).toBe("require-corp");
	expect(await script.text()).not.toContain("export type");
	const statuses = [at("/"), at("/0123/src/base/units.ts"), at("package.json"), at("src/%2e%2e/package.json"), at("src/base/none.ts")].map(
		async (url) => (await fetch(url)).status,
	);
	expect(await Promise.all(statuses)).toEqual([403, 403, 404, 404, 404]);
});
