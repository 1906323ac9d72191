import { expect, test } from "vitest";
import { buildQuery, type DnsResponse, parseResponse } from "../dns/message.ts";
import { formatIpv4, parseIpv4Address } from "../frames/address.ts";
import { IpNode } from "../ip/node.ts";
import { Link } from "../link/link.ts";
import { FakeHost } from "../nat/fake-host.ts";
import { Nat } from "../nat/nat.ts";
import { VirtualClock } from "../time.ts";
import { Router, type RouterState } from "./router.ts";

const ip = (text: string) => parseIpv4Address(text) as number;

/** pc — router — nat, with DNS handed on. */
function rig() {
	const clock = new VirtualClock();
	const host = new FakeHost(clock);
	host.names.set("example.org A", { kind: "records", records: [{ type: "A", address: Uint8Array.of(93, 184, 216, 34), ttlS: 5 }] });
	host.pings.set("93.184.216.34", "reply");
	const nat = new Nat({ name: "isp", clock, host, seed: 1, mac: 0x0200_0000_0001, allow: ["any internet"] });
	const router = new Router({
		name: "gw",
		clock,
		seed: 1,
		domain: "lab",
		interfaces: [
			{ name: "lan", mac: 0x0200_0000_0002, address: "10.0.10.1/24", dhcp: true },
			{ name: "wan", mac: 0x0200_0000_0003, address: "10.0.2.2/24" },
		],
		routes: { "0.0.0.0/0": "10.0.2.1" },
		dns: { upstream: "10.0.2.1", names: { printer: "10.0.10.200" } },
	});
	nat.node.addRoute("10.0.10.0/24", "10.0.2.2");
	const pc = new IpNode({ name: "pc", clock, forwards: false });
	pc.addInterface({ name: "eth0", mac: 0x0200_0000_0004, address: "10.0.10.5/24" });
	pc.addRoute("0.0.0.0/0", "10.0.10.1");
	for (const [name, a, b] of [
		["lan", pc.port("eth0"), router.port("lan")],
		["wan", router.port("wan"), nat.port()],
	] as const) {
		const link = new Link({ name, clock, seed: 1 });
		a.plug(link.a);
		b.plug(link.b);
	}
	const answers: DnsResponse[] = [];
	pc.onUdp(999, ({ payload }) => answers.push(parseResponse(payload)!));
	const ask = (name: string) => {
		pc.sendUdp({ sourcePort: 999, destination: ip("10.0.10.1"), destinationPort: 53, payload: buildQuery(5, { name, type: 1, class: 1 }) });
		clock.advance(10e9);
		return answers.pop();
	};
	return { clock, host, nat, router, pc, ask };
}

test("a lab name is answered by the router, another by the NAT behind it, and pings go all the way", () => {
	const { clock, pc, ask, host, router } = rig();
	expect([...ask("printer.lab")!.records[0]!.data]).toEqual([10, 0, 10, 200]);
	expect([...ask("gw")!.records[0]!.data]).toEqual([10, 0, 10, 1]);
	expect([...ask("example.org")!.records[0]!.data]).toEqual([93, 184, 216, 34]);
	expect(ask("nowhere.org")!.rcode).toBe(3);
	expect(ask("nowhere.lab")!.rcode).toBe(3);
	expect(host.log).toEqual(["dns example.org A", "dns nowhere.org A"]);
	const icmp: string[] = [];
	pc.onIcmp = (message, packet) => icmp.push(`${formatIpv4(packet.source)} ${message.type}`);
	pc.ping(ip("93.184.216.34"), 1, 1);
	clock.advance(1e9);
	expect(icmp).toEqual(["93.184.216.34 0"]);
	router.port("wan").unplug();
	expect(ask("example.org")!.rcode).toBe(2);
});

test("leases become names, before and after a restore", () => {
	const { router, ask } = rig();
	router.dhcp("lan")!.onLease({ mac: 9, address: ip("10.0.10.77"), expiresNs: 1e18, hostName: "laptop", isOffer: false });
	expect([...ask("laptop.lab")!.records[0]!.data]).toEqual([10, 0, 10, 77]);
	const state = structuredClone(router.save()) as RouterState;
	state.dhcp[0]!.state.leases.push({ mac: 8, address: ip("10.0.10.78"), expiresNs: 1e18, hostName: "desk", isOffer: false });
	const other = rig();
	other.router.load(state);
	expect([...other.ask("desk")!.records[0]!.data]).toEqual([10, 0, 10, 78]);
	expect(other.router.dhcp("wan")).toBeUndefined();
});

test("wrong descriptions name what is wrong", () => {
	const make = (more: object) => () =>
		new Router({ name: "gw", clock: new VirtualClock(), seed: 1, interfaces: [{ name: "lan", mac: 2, address: "10.0.10.1/24" }], ...more });
	expect(make({ routes: { "0.0.0.0/0": "192.168.1.1" } })).toThrow('gw.routes.0.0.0.0/0: "192.168.1.1"');
	expect(make({ dns: { upstream: "dns.lab" } })).toThrow("an IPv4 address");
	expect(make({ interfaces: [{ name: "lan", mac: 2, address: "10.0.10" }] })).toThrow("prefix length");
});
