import { expect, test } from "vitest";
import { formatAction, host, type LabDraft, type LabModel, lab, parseAction, sw } from "../../src/lab/index.ts";
import { plainLab } from "./plain-lab.ts";

function busy(more?: (draft: LabDraft) => void): LabModel {
	const draft = lab("busy", { seed: 3 });
	const s = draft.add(sw("s"));
	const a = draft.add(host("a", { ip: "10.0.0.1/24" }));
	const b = draft.add(host("b", { ip: "10.0.0.2/24" }));
	draft.link(a, s, "wifi");
	draft.link(b, s, { rate: "10mbit", delay: "10ms ±2ms normal 30%", loss: "0.5%", queue: "50 packets, codel" });
	more?.(draft);
	return draft.read();
}

/** Two seconds of a transfer; `live` is called at 0.7 s and 1.1 s, as if somebody had moved a slider. */
async function outcome(model: LabModel, live?: (round: number, running: Awaited<ReturnType<typeof plainLab>>["lab"]) => void) {
	const { lab: running, captures } = await plainLab(model, { records: true });
	running.station("a").flood(running.network.addressOf("b")!);
	for (const [round, until] of [0.7e9 + 1, 1.1e9].entries()) {
		await running.run({ until });
		live?.(round, running);
	}
	await running.run({ until: 2e9 });
	const recording = running.recording;
	await running[Symbol.asyncDispose]();
	return { hashes: Object.fromEntries([...captures].map(([name, sink]) => [name, sink.hash])), recording };
}

test("the same lab twice gives the same bytes; an unrelated cable changes no other; another seed does", async () => {
	const first = await outcome(busy());
	expect(await outcome(busy())).toEqual(first);
	const withStranger = await outcome(
		busy((draft) => {
			draft.link(draft.add(host("x", { ip: "10.9.0.1/24" })), draft.add(host("y", { ip: "10.9.0.2/24" })), "lte");
		}),
	);
	for (const [name, hash] of Object.entries(first.hashes)) expect(withStranger.hashes[name]).toBe(hash);
	expect((await outcome({ ...busy(), seed: 4 })).hashes).not.toEqual(first.hashes);
});

test("what was changed while it ran is recorded, and replays to the last byte", async () => {
	const live = await outcome(busy(), (round, running) => {
		if (round === 0) running.link("b -- s").set({ loss: "5%", rate: "2mbit" }, { direction: "b>a" });
		else running.link("a--s").down();
	});
	expect(live.recording.map(({ timeNs }) => timeNs)).toEqual([0.7e9 + 2, 1.1e9 + 1]);
	expect(live.hashes).not.toEqual((await outcome(busy())).hashes);
	const replayed = await outcome({ ...busy(), timeline: live.recording });
	expect(replayed.hashes).toEqual(live.hashes);
});

test("a recording as lines reads back as what it was", () => {
	const { links } = busy();
	const context = { links, machines: new Set(["m"]) };
	for (const line of [
		"a -- s state down",
		"s -> b loss 5% rate 2mbit",
		"b -- s reset",
		"a -> s delay 40ms ±5ms mtu 1400 queue default",
		"start m",
		'type m "ls\\n"',
	]) {
		const action = parseAction(line, [], context);
		const again = formatAction(action, links) as string;
		expect(parseAction(again, [], context)).toEqual(action);
	}
});

test("a timeline of a file does what the same changes do by hand", async () => {
	const written = await outcome(busy((draft) => draft.at("700000002ns", "s -> b loss 5% rate 2mbit")));
	const live = await outcome(busy(), (round, running) => {
		if (round === 0) running.link("b -- s").set({ loss: "5%", rate: "2mbit" }, { direction: "b>a" });
	});
	expect(written.hashes).toEqual(live.hashes);
});
