import { createSocket } from "node:dgram";
import type { HostEndpoint, HostUdpEvents, HostUdpSocket } from "../../../net/nat/host-network.ts";
import { socketError } from "./errors.ts";

/** A UDP socket bound to `at`, or to any free port. */
export function openUdp(events: HostUdpEvents, at?: HostEndpoint): HostUdpSocket {
	const socket = createSocket("udp4");
	let isClosed = false;
	socket.on("message", (bytes, from) => {
		if (!isClosed) events.message({ address: from.address, port: from.port }, bytes);
	});
	socket.on("error", (error) => {
		if (!isClosed) events.failed(undefined, socketError(error));
	});
	socket.bind(at === undefined ? {} : { address: at.address, port: at.port });
	return {
		send: (to, bytes) => {
			if (isClosed) return;
			// Before it is bound, Node keeps datagrams until it is.
			socket.send(bytes, to.port, to.address, (error) => {
				if (error !== null && !isClosed) events.failed(to, socketError(error));
			});
		},
		close: () => {
			if (isClosed) return;
			isClosed = true;
			socket.close();
		},
	};
}
