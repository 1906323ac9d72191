import type { HostNetwork } from "../../../net/nat/host-network.ts";
import { pingFromHost } from "./ping.ts";
import { resolveOnHost } from "./resolve.ts";
import { connectTcp, listenTcp } from "./tcp.ts";
import { openUdp } from "./udp.ts";

/** The host's network by Node's sockets: no privilege is needed, and guests get no further than this process could. */
export const nodeNetwork: HostNetwork = {
	connectTcp,
	listenTcp,
	udpSocket: openUdp,
	resolve: resolveOnHost,
	ping: pingFromHost,
};
