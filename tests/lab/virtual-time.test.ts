import { expect, test } from "vitest";
import { horizonNs } from "../../src/lab/run/lookahead.ts";
import { type VirtualMember, VirtualTime } from "../../src/lab/run/virtual.ts";
import { Jack, Link } from "../../src/net/index.ts";
import type { PacedMachine } from "../../src/vm/pace.ts";

/** Runs in steps of 7 ns, rests when told to, sends at given times, and notes where its slices end. */
class FakeMachine implements PacedMachine {
	nowNs = 0;
	alarmNs: number;
	readonly slices: number[] = [];
	readonly log: string[] = [];
	readonly jack: Jack;
	readonly #sends: number[];
	member: VirtualMember | undefined;
	busyUntilNs = 0;

	constructor(name: string, sends: readonly number[]) {
		this.jack = new Jack(name);
		this.#sends = [...sends];
		this.alarmNs = this.#sends[0] ?? Number.POSITIVE_INFINITY;
	}

	get nextActionNs(): number {
		return this.nowNs < this.busyUntilNs ? this.nowNs : this.alarmNs;
	}

	advance(untilNs: number): void {
		while (this.nowNs < untilNs) {
			if (this.nowNs < this.busyUntilNs) this.nowNs += 7;
			else if (this.alarmNs > untilNs) this.nowNs = untilNs;
			else this.nowNs = Math.max(this.nowNs, this.alarmNs);
			while (this.#sends.length > 0 && (this.#sends[0] as number) <= this.nowNs) {
				this.#sends.shift();
				this.log.push(`send ${this.nowNs}`);
				this.member?.send(this.jack, new Uint8Array(60));
				this.busyUntilNs = this.nowNs + 40_000;
			}
			this.alarmNs = this.#sends[0] ?? Number.POSITIVE_INFINITY;
		}
		this.slices.push(this.nowNs);
	}

	pass(untilNs: number): void {
		if (this.nowNs >= this.busyUntilNs) this.nowNs = Math.max(this.nowNs, untilNs);
	}
}

const host = {
	nowNs: () => 0,
	wallMs: () => 0,
	random: () => {},
	yield: () => Promise.resolve(),
	sleep: () => ({ done: Promise.resolve(), wake: () => {} }),
};

async function run(isDisturbed: boolean, pausesNs: readonly number[] = []) {
	const incoming = new Map<string, Link>();
	const machines = new Map<string, FakeMachine>();
	const time: VirtualTime = new VirtualTime(
		host,
		({ name }, nowNs) => horizonNs(nowNs, [name === "a" ? (incoming.get("l") as Link).down : (incoming.get("l") as Link).up]),
		() => undefined,
	);
	const link = new Link({ name: "l", clock: time.clock, seed: 1, spec: { rate: "10mbit", delay: "50us" } });
	incoming.set("l", link);
	for (const [name, sends, end] of [
		["a", [1000, 5001, 300_003, 301_000], link.a],
		["b", [4000, 310_000, 900_000], link.b],
	] as const) {
		const machine = new FakeMachine(name, sends);
		const member = time.addMember(name);
		machine.member = member;
		machine.jack.plug(end);
		machine.jack.onFrame = () =>
			member.arrive(() => {
				machine.log.push(`got at ${time.clock.nowNs}, own time ${member.nowNs - time.clock.nowNs} later`);
				machine.busyUntilNs = Math.max(machine.busyUntilNs, machine.nowNs + 10_000);
			});
		member.join(machine);
		machines.set(name, machine);
	}
	if (isDisturbed) {
		const timer = time.clock.timer("elsewhere", () => timer.arm(time.clock.nowNs + 313));
		timer.arm(1);
	}
	for (const untilNs of pausesNs) await time.run(untilNs);
	await time.run(2_000_000);
	return [...machines.values()].map(({ slices, log }) => ({ slices: slices.filter((each) => each < 1_900_000), log }));
}

test("frames meet machines at exactly their time, however busy both are", async () => {
	const [a, b] = await run(false);
	// 84 bytes at 10 Mbit/s take 67 200 ns, the way 50 000.
	expect(b?.log).toContain("got at 118200, own time 0 later");
	expect(b?.log.filter((line) => line.startsWith("got")).every((line) => / [0-6] later/.test(line))).toBe(true);
	expect(a?.log.filter((line) => line.startsWith("got")).length).toBe(3);
	expect(b?.log.filter((line) => line.startsWith("got")).length).toBe(4);
});

test("neither what happens elsewhere nor a pause moves the end of a machine's slice", async () => {
	const plain = await run(false);
	expect(await run(true)).toEqual(plain);
	expect(await run(false, [3333, 5000, 306_000])).toEqual(plain);
});
