/** A lab with something of everything. */
export const BRANCH_OFFICE = `lab: branch-office
seed: 7                        # same seed, same packets, on any machine
clock: virtual                 # realtime | virtual
profiles:                      # named cables; 10base-t, 1000base-t, dsl, lte, satellite are built in
  adsl: { down: 16mbit, up: 1mbit, delay: 12ms, queue: 64KB }
  radio: { rate: 54mbit, delay: 2ms ±3ms, loss: { model: gilbert, rate: 1%, burst: 6 } }
nodes:
  pc:    { image: default, memory: 64M, nic: ne2k-pci }
  phone: { image: default, memory: 64M, after: srv, delay: 2s }
  srv:   { image: debian-full, memory: 512M, ip: 10.0.30.9, ready: "login:", nics: { lan: virtio, spare: { model: e1000, mac: "02:00:00:00:00:09" } } }
  sw:    { kind: switch, stp: rstp, vlan: { pc: 10, phone: 20, gw: trunk, probe: { allowed: [10, 20], native: 10 } }, edge: [pc, phone] }
  gw:    { kind: router, ip: { sw.10: 10.0.10.1/24, sw.20: 10.0.20.1/24, dmz: 10.0.30.1/24 }, dhcp: true, dns: true }
  isp:   { kind: nat, allow: any internet, forward: "tcp 8080 -> 10.0.30.9:80" }
  probe: { kind: host, ip: 10.0.10.77/24, gateway: 10.0.10.1 }
  names: { kind: server, ip: 10.0.20.53/24, gateway: 10.0.20.1, dns: { names: { www: 10.0.30.9 } } }
  hub:   { kind: hub, rate: 10mbit }
links:
  - pc -- sw: 100mbit
  - phone -- sw: radio
  - gw -- sw: 1gbit
  - probe -- sw
  - names -- hub
  - gw:wan -- isp: adsl
  - gw:dmz -- srv:lan:
      rate: 10mbit
      delay: 40ms ±5ms normal
      loss: 0.5%
      queue: 100 packets, fq_codel
      mtu: 1500
      capture: dmz.pcapng
      up: { loss: 1% }
timeline:
  10s:  gw:wan -- isp down
  15s:  [gw:wan -- isp up, start phone, 'type pc "ls\\n"']
  20s:  gw:dmz -> srv loss 10% delay 30ms ±3ms mtu 1400
expect:
  - iperf pc -> srv for 5s between 9.2mbit and 9.5mbit
  - ping pc -> gw rtt below 20ms
  - at 12s ping pc -> 93.184.216.34 fails
  - srv prints "login:" within 120s
  - gw -- sw dropped below 10
layout:
  pc: { x: 10, y: 20 }
`;

/** Wrong files: what is in them, and where and what the error has to be. */
export const WRONG_FILES: readonly (readonly [name: string, text: string, line: number, column: number, says: RegExp])[] = [
	["an unknown key", "lab: a\nclok: virtual\nnodes: {}\n", 2, 1, /unknown key clok; expected one of lab, .*did you mean clock/],
	[
		"an unknown key of a node",
		"lab: a\nnodes:\n  s: { kind: switch, spt: rstp }\n",
		3,
		22,
		/nodes\.s\.spt: unknown key .*did you mean stp/,
	],
	[
		"an unknown key of a link",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks:\n  - a -- b:\n      dely: 5ms\n",
		5,
		7,
		/unknown key dely; .*did you mean delay/,
	],
	[
		"a missing unit",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks:\n  - a -- b: { rate: 100 }\n",
		4,
		21,
		/rate: 100; expected a rate with its unit, such as 56kbit/,
	],
	[
		"a missing unit of memory",
		"lab: a\nnodes:\n  pc:\n    image: default\n    memory: 64\n",
		5,
		13,
		/memory: 64; expected a size with its unit/,
	],
	[
		"a wrong unit",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks:\n  - a -- b: 10mbps\n",
		4,
		13,
		/expected mbit or MB\/s instead of mbps/,
	],
	[
		"a link to nowhere",
		"lab: a\nnodes:\n  sw1: { kind: switch }\nlinks:\n  - sw1 -- sw2: 10mbit\n",
		5,
		5,
		/there is no node sw2; expected one of sw1 \(did you mean sw1\?\)/,
	],
	["a node twice", "lab: a\nnodes:\n  a: { kind: hub }\n  b: { kind: hub }\n  a: { kind: switch }\n", 5, 3, /a is there twice/],
	[
		"two cables in one socket",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks: [a -- b, a -- b]\n",
		3,
		17,
		/a--b is plugged into a:b already; expected another port, such as a:b-2/,
	],
	[
		"an address twice",
		"lab: a\nnodes:\n  a: { kind: host, ip: 10.0.0.1/24 }\n  b: { kind: host, ip: 10.0.0.1/24 }\n",
		4,
		24,
		/10\.0\.0\.1; expected an address that a does not have/,
	],
	[
		"an order that goes round",
		"lab: a\nnodes:\n  a: { image: default, after: b }\n  b: { image: default, after: c }\n  c:\n    image: default\n    after: a\n",
		7,
		12,
		/a waits for b waits for c waits for a/,
	],
	["an order after nobody", "lab: a\nnodes:\n  a: { image: default, after: [q] }\n", 3, 32, /there is no machine q/],
	["an unknown kind", "lab: a\nnodes:\n  a: { kind: swich }\n", 3, 14, /"swich"; expected one of machine, .*did you mean switch/],
	["a port without a cable", "lab: a\nnodes:\n  s: { kind: switch, vlan: { pc: 10 } }\n", 3, 30, /s has no port pc/],
	[
		"an unknown profile",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks:\n  - a -- b: ltee\n",
		4,
		13,
		/"ltee".*did you mean lte/,
	],
	[
		"a VLAN that is none",
		"lab: a\nnodes: { h: {kind: hub}, s: { kind: switch, vlan: { h: 4095 } } }\nlinks: [h -- s]\n",
		2,
		56,
		/4095; expected a VLAN from 1 to 4094/,
	],
	["a wrong address", "lab: a\nnodes:\n  h: { kind: host, ip: 10.0.0.300/24 }\n", 3, 24, /expected an address with its prefix length/],
	["a node without what it needs", "lab: a\nnodes:\n  h: { kind: host }\n", 3, 3, /no ip; expected ip in a host/],
	["nothing to boot", "lab: a\nnodes:\n  m: { memory: 64M }\n", 3, 3, /nothing to boot; expected image, kernel or bios/],
	["no name", "nodes: {}\n", 1, 1, /no lab; expected the lab's name/],
	[
		"a wrong NAT rule",
		"lab: a\nnodes:\n  n: { kind: nat, allow: [any internet, everything] }\n",
		3,
		41,
		/"everything"; expected a rule such as/,
	],
	[
		"a timeline's wrong time",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks: [a -- b]\ntimeline:\n  10: a -- b down\n",
		5,
		3,
		/timeline\.10: "10"; expected a time with its unit/,
	],
	[
		"a timeline's wrong link",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks: [a -- b]\ntimeline:\n  10s: a -- c down\n",
		5,
		8,
		/"a -- c"; expected one of the links a--b/,
	],
	[
		"a timeline's wrong value",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks: [a -- b]\ntimeline:\n  10s:\n    - a -- b los 5%\n",
		6,
		7,
		/did you mean loss/,
	],
	[
		"an expectation of nobody",
		"lab: a\nnodes: { a: {kind: host, ip: 10.0.0.1/24} }\nexpect:\n  - ping a -> zebra\n",
		4,
		5,
		/"zebra"; expected a node or an IPv4 address/,
	],
	[
		"values beside a cable",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks:\n  - a -- b:\n    rate: 10mbit\n",
		5,
		5,
		/rate beside a -- b; expected a link's values indented further/,
	],
	["what is no YAML", "lab: a\nnodes: { a: {kind: hub}\n", 3, 1, /expected YAML/],
	["a TAP in virtual time", "lab: a\nclock: virtual\nnodes:\n  t: { kind: tap }\n", 4, 14, /expected clock: realtime/],
	[
		"an impossible burst",
		"lab: a\nnodes: { a: {kind: hub}, b: {kind: hub} }\nlinks:\n  - a -- b:\n      loss: { model: gilbert, rate: 90%, burst: 2 }\n",
		5,
		13,
		/expected a longer burst/,
	],
];
