import { createHash } from "node:crypto";
import { type CaptureSink, LabDraft as Draft, Lab, type LabDraft, type LabModel } from "../../src/lab/index.ts";
import { FakeHost } from "../../src/net/index.ts";
import { PlainRuntime } from "./plain-runtime.ts";

/** A capture kept in memory. */
export class MemorySink implements CaptureSink {
	readonly blocks: Uint8Array[] = [];

	write(bytes: Uint8Array): void {
		this.blocks.push(bytes.slice());
	}

	async close(): Promise<void> {}

	get bytes(): Uint8Array {
		return Buffer.concat(this.blocks);
	}

	get hash(): string {
		return createHash("sha256").update(this.bytes).digest("hex");
	}
}

export interface PlainLab {
	readonly lab: Lab;
	readonly host: FakeHost;
	readonly captures: ReadonlyMap<string, MemorySink>;
}

/** A lab without machines, every link of it recorded. */
export async function plainLab(source: LabDraft | LabModel, options: { readonly records?: boolean } = {}): Promise<PlainLab> {
	const model = source instanceof Draft ? source.read() : source;
	const runtime = new PlainRuntime(model.name, model.seed);
	const host = new FakeHost(runtime.clock);
	const lab = await Lab.create(model, runtime, {
		machineSpec: () => Promise.reject(new Error("no machines here")),
		network: host,
		capture: () => new MemorySink(),
	});
	const captures = new Map<string, MemorySink>();
	if (options.records === true)
		for (const name of lab.links.keys()) {
			const sink = new MemorySink();
			captures.set(name, sink);
			lab.capture(name, sink);
		}
	return { lab, host, captures };
}

/** Round-trip times of some pings between two hosts, or to an address. */
export async function ping(lab: Lab, from: string, to: string, count = 3, intervalNs = 200e6): Promise<number[]> {
	const times: number[] = [];
	const octets = (lab.addressOf(to) ?? to).split(".").map(Number);
	const address = octets.reduce((sum, octet) => sum * 256 + octet, 0);
	const end = lab.station(from).ping(address, { count, intervalNs }, ({ rttNs }) => times.push(rttNs));
	await lab.run({ until: lab.nowNs + count * intervalNs + 3e9 });
	end();
	return times;
}
