import { execFileSync, spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { host, lab, openLab, sw, TapDevice, tap } from "../../src/host/node/lab/index.ts";

const missing = await TapDevice.open("basenji-probe").then(
	(device) => {
		device.close();
		return ["ip", "ping"].find((program) => spawnSync(program, ["-V"]).status !== 0);
	},
	() => "TAP interface for us",
);

test.skipIf(missing !== undefined)(
	`the host pings a lab's host through a TAP, and the cable's delay is in it${missing === undefined ? "" : ` (skipped: no ${missing} here)`}`,
	async () => {
		const draft = lab("outside", { clock: "realtime" });
		const s = draft.add(sw("s"));
		draft.link(draft.add(tap("t", { device: "basenji-tap" })), s);
		draft.link(draft.add(host("a", { ip: "10.231.7.2/24" })), s, { delay: "20ms" });
		await using running = await openLab(draft);
		execFileSync("ip", ["addr", "add", "10.231.7.1/24", "dev", "basenji-tap"]);
		running.start();
		const { execFile } = await import("node:child_process");
		const output = await new Promise<string>((resolve) =>
			execFile("ping", ["-c", "3", "-i", "0.3", "-W", "2", "10.231.7.2"], (_error, stdout) => resolve(stdout)),
		);
		const times = [...output.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
		expect(times.length, output).toBe(3);
		expect(Math.min(...times)).toBeGreaterThan(40);
		expect(Math.min(...times)).toBeLessThan(80);
	},
);

test("a TAP in virtual time is refused", async () => {
	const draft = lab("outside");
	draft.add(tap("t"));
	await expect(openLab(draft)).rejects.toThrow(/no virtual time; clock: realtime/);
});
