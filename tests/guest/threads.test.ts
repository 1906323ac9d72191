import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { GuestShell, lab, openLab, sw, vm } from "../../src/host/node/lab/index.ts";
import { imageOrReason } from "./images.ts";

test("guests of a realtime lab, each on its thread: carried whole where nobody looks, live changes, captures, an end", {
	timeout: 240_000,
}, async ({ skip }) => {
	const image = await imageOrReason("default");
	if (typeof image === "string") return skip(image);
	const draft = lab("threads", { seed: 5, clock: "realtime" });
	const [a, b] = ["a", "b"].map((name, index) => draft.add(vm(name, { image: "default", memory: "128M", ip: `10.0.0.${index + 1}/24` })));
	const s = draft.add(sw("s"));
	if (a === undefined || b === undefined) return;
	draft.link(a, b);
	draft.link(a, s);
	await using running = await openLab(draft);
	const shell = new GuestShell(running, "a");
	const peer = new GuestShell(running, "b");
	const cable = running.link("a -- b");
	expect((await shell.run("ping -c 2 10.0.0.2")).output).toContain("2 packets transmitted, 2 packets received");
	const transfer = async () => {
		// BusyBox's nc ends with the first of its two inputs.
		await peer.run("rm -f /tmp/sum; sleep 100 | nc -l -p 80 | md5sum >/tmp/sum &");
		await shell.run("sleep 1; dd if=/dev/zero bs=1k count=2048 2>/dev/null | nc 10.0.0.2 80", 120e9);
		return (await peer.run("while [ ! -s /tmp/sum ]; do sleep 0.1; done; cat /tmp/sum")).output;
	};
	const zeroes = createHash("md5")
		.update(new Uint8Array(2048 * 1024))
		.digest("hex");
	expect(await transfer()).toContain(zeroes);
	const { sentFrames, deliveredFrames } = cable.forth.stats;
	expect(sentFrames).toBe(deliveredFrames);
	expect(sentFrames).toBeGreaterThan((2048 * 1024) / 1448);
	let [largest, frames] = [0, 0];
	const end = cable.forth.tap(({ frame }) => {
		frames++;
		largest = Math.max(largest, frame.length);
	});
	expect(await transfer()).toContain(zeroes);
	expect([largest, frames > 1448], "recorded frames are those of a cable").toEqual([1514, true]);
	end();
	cable.set({ delay: "40ms" });
	const slow = await shell.run("ping -c 5 -i 0.3 10.0.0.2");
	const times = [...slow.output.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
	expect(Math.min(...times)).toBeGreaterThan(80);
	expect(Math.min(...times)).toBeLessThan(110);
	cable.down();
	expect((await shell.run("sleep 0.1; cat /sys/class/net/eth0/carrier")).output.trim()).toBe("0");
	cable.up();
	expect((await shell.run("sleep 0.1; cat /sys/class/net/eth0/carrier")).output.trim()).toBe("1");
	const { machine } = running.machine("b");
	expect(machine.stats.guestInstructions).toBeGreaterThan(1e6);
	running.start();
	machine.console.write("poweroff\n");
	expect((await machine.finished()).reason).toBe("power-off");
});
