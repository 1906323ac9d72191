import { readU16, writeU16 } from "../frames/address.ts";
import type { IpNode } from "../ip/node.ts";
import type { TcpStack } from "../tcp/stack.ts";
import type { DnsServer } from "./server.ts";

const DNS_PORT = 53;
/** Of one TCP connection's unread questions. */
const MAX_BUFFERED_BYTES = 16 * 1024;

/** Puts a DNS server behind port 53 of a node, by UDP and, for long answers, TCP (RFC 7766). */
export function serveDns(node: IpNode, stack: TcpStack | undefined, server: DnsServer): void {
	node.onUdp(DNS_PORT, ({ source, sourcePort, destination, payload, from }) =>
		server.receive(payload, true, (response) =>
			node.sendUdp({
				source: node.isOwn(destination) ? destination : from.address,
				sourcePort: DNS_PORT,
				destination: source,
				destinationPort: sourcePort,
				payload: response,
			}),
		),
	);
	stack?.listen(DNS_PORT, (connection) => {
		let buffered = new Uint8Array(0);
		return {
			data: (bytes) => {
				const joined = new Uint8Array(buffered.length + bytes.length);
				joined.set(buffered);
				joined.set(bytes, buffered.length);
				buffered = joined;
				connection().consumed(bytes.length);
				if (buffered.length > MAX_BUFFERED_BYTES) connection().abort();
				while (buffered.length >= 2 && buffered.length >= 2 + readU16(buffered, 0)) {
					const question = buffered.slice(2, 2 + readU16(buffered, 0));
					buffered = buffered.slice(2 + question.length);
					server.receive(question, false, (response) => {
						const framed = new Uint8Array(2 + response.length);
						writeU16(framed, 0, response.length);
						framed.set(response, 2);
						connection().write(framed);
					});
				}
			},
			ended: () => connection().end(),
		};
	});
}
