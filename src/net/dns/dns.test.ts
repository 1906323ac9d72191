import fc from "fast-check";
import { expect, test } from "vitest";
import { parseIpv4Address } from "../frames/address.ts";
import * as dns from "./message.ts";
import { DnsServer, type HostDnsAnswer } from "./server.ts";

function rig(answer?: HostDnsAnswer) {
	const asked: string[] = [];
	const server = new DnsServer({
		domain: "lab",
		...(answer === undefined
			? {}
			: {
					forward: (name, type, done) => {
						asked.push(`${name} ${type}`);
						done(answer);
					},
				}),
	});
	server.setName("srv", parseIpv4Address("10.0.0.5")!, new Uint8Array(16).fill(7));
	const ask = (name: string, type: number, edit: (bytes: Uint8Array) => void = () => {}) => {
		const query = dns.buildQuery(99, { name, type, class: 1 });
		edit(query);
		let response: Uint8Array | undefined;
		server.receive(query, true, (bytes) => {
			response = bytes;
		});
		return response === undefined ? undefined : dns.parseResponse(response);
	};
	return { ask, asked, server };
}

test("lab names, bare and in full, forward and back", () => {
	const { ask } = rig();
	for (const name of ["srv", "srv.lab", "SRV.Lab"]) {
		expect(ask(name, dns.DNS_TYPE_A)).toMatchObject({
			id: 99,
			rcode: 0,
			isAuthoritative: true,
			records: [{ type: 1, data: Uint8Array.of(10, 0, 0, 5) }],
		});
	}
	expect(ask("srv", dns.DNS_TYPE_AAAA)?.records[0]?.data).toEqual(new Uint8Array(16).fill(7));
	expect(ask("srv", dns.DNS_TYPE_MX)).toMatchObject({ rcode: 0, records: [] });
	const pointer = ask("5.0.0.10.in-addr.arpa", dns.DNS_TYPE_PTR)!;
	expect(dns.readName(pointer.records[0]!.data, 0)?.name).toBe("srv.lab");
	expect(ask("nobody.lab", dns.DNS_TYPE_A)?.rcode).toBe(dns.RCODE_NAME_ERROR);
	expect(ask("9.0.0.10.in-addr.arpa", dns.DNS_TYPE_PTR)?.rcode).toBe(dns.RCODE_NAME_ERROR);
	expect(ask("example.org", dns.DNS_TYPE_A)?.rcode).toBe(dns.RCODE_REFUSED);
});

test("other names are asked outside, lab names never", () => {
	const records = { kind: "records", records: [{ type: "A", address: Uint8Array.of(1, 2, 3, 4), ttlS: 77 }] } as const;
	const { ask, asked } = rig(records);
	expect(ask("example.org", dns.DNS_TYPE_A)).toMatchObject({
		rcode: 0,
		isAuthoritative: false,
		records: [{ ttlS: 77, data: Uint8Array.of(1, 2, 3, 4) }],
	});
	ask("nobody.lab", dns.DNS_TYPE_A);
	ask("1.2.168.192.in-addr.arpa", dns.DNS_TYPE_PTR);
	expect(ask("example.org", 999)).toMatchObject({ rcode: 0, records: [] });
	expect(asked).toEqual(["example.org A"]);
	expect(rig({ kind: "failure" }).ask("x.org", 1)?.rcode).toBe(dns.RCODE_SERVER_FAILURE);
	expect(rig({ kind: "no-such-name" }).ask("x.org", 1)?.rcode).toBe(dns.RCODE_NAME_ERROR);
	const mail = rig({ kind: "records", records: [{ type: "MX", priority: 5, target: "mail.x.org", ttlS: 1 }] }).ask(
		"x.org",
		dns.DNS_TYPE_MX,
	)!;
	expect([...mail.records[0]!.data.subarray(0, 2)]).toEqual([0, 5]);
});

test("RFC 1035 §4.2.1: an answer too long for UDP is cut and says so", () => {
	const texts = Array.from({ length: 10 }, () => ({ type: "TXT", texts: ["x".repeat(100)], ttlS: 1 }) as const);
	const { ask, server } = rig({ kind: "records", records: texts });
	expect(ask("x.org", dns.DNS_TYPE_TXT)).toMatchObject({ isTruncated: true, records: [] });
	let whole: Uint8Array | undefined;
	server.receive(dns.buildQuery(1, { name: "x.org", type: dns.DNS_TYPE_TXT, class: 1 }), false, (bytes) => {
		whole = bytes;
	});
	expect(dns.parseResponse(whole!)?.records).toHaveLength(10);
});

test("other operations and classes are refused, responses and nonsense ignored, pointer loops end", () => {
	const { ask, server } = rig();
	expect(ask("srv", 1, (bytes) => (bytes[2] = 0x28))?.rcode).toBe(dns.RCODE_NOT_IMPLEMENTED);
	expect(ask("srv", 1, (bytes) => (bytes[bytes.length - 1] = 3))?.rcode).toBe(dns.RCODE_REFUSED);
	expect(ask("srv", 1, (bytes) => (bytes[2] = 0x80))).toBeUndefined();
	expect(dns.readName(Uint8Array.of(0xc0, 0), 0)).toBeUndefined();
	expect(dns.readName(Uint8Array.of(1, 97, 0, 0xc0, 0), 3)).toEqual({ name: "a", next: 5 });
	expect(dns.readName(Uint8Array.of(0xc0, 2, 0xc0, 0), 2)).toBeUndefined();
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
			server.receive(bytes, true, () => {});
			dns.parseResponse(bytes);
		}),
	);
});
