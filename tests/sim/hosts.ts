import { IpNode, type Jack, Link, type LinkSpecText, parseIpv4Address, TcpStack, type VirtualClock } from "../../src/net/index.ts";

/** A host of a simulated lab: addresses, UDP, TCP, and nothing else. */
export class SimHost {
	readonly node: IpNode;
	readonly tcp: TcpStack;
	readonly address: number;

	constructor(
		clock: VirtualClock,
		name: string,
		address: string,
		options: { readonly gateway?: string; readonly vlan?: number; readonly usesTimestamps?: boolean } = {},
	) {
		this.node = new IpNode({ name, clock, forwards: false });
		this.address = ip(address.split("/")[0] as string);
		const mac = 0x0200_0000_0000 + this.address;
		this.node.addInterface({ name: "eth0", mac, address, ...(options.vlan === undefined ? {} : { vlan: options.vlan }) });
		if (options.gateway !== undefined) this.node.addRoute("0.0.0.0/0", options.gateway);
		this.tcp = new TcpStack(this.node, { seed: 1, receiveBufferBytes: 4 << 20, usesTimestamps: options.usesTimestamps ?? true });
	}

	get jack(): Jack {
		return this.node.port("eth0");
	}

	/** Takes all data sent to `port` and counts it. */
	sink(port: number): { bytes: number } {
		const count = { bytes: 0 };
		this.tcp.listen(port, (connection) => ({
			data: (bytes) => {
				count.bytes += bytes.length;
				connection().consumed(bytes.length);
			},
			ended: () => connection().end(),
		}));
		return count;
	}

	/** Sends without end, always with something waiting. */
	flood(to: number, port: number): void {
		const chunk = new Uint8Array(1 << 18);
		this.tcp.connect(to, port, (connection) => ({
			established: () => {
				for (let count = 0; count < 16; count++) connection().write(chunk);
			},
			acknowledged: () => {
				while (connection().unsentBytes < 3 << 20) connection().write(chunk);
			},
		}));
	}
}

export function ip(text: string): number {
	return parseIpv4Address(text) as number;
}

export function cable(clock: VirtualClock, name: string, a: Jack, b: Jack, spec: LinkSpecText = {}, seed = 2026): Link {
	const link = new Link({ name, clock, seed, spec });
	a.plug(link.a);
	b.plug(link.b);
	return link;
}
