import type { HostSocketError } from "../../../net/nat/host-network.ts";

const BY_CODE: Readonly<Record<string, HostSocketError>> = {
	ECONNREFUSED: "refused",
	EHOSTUNREACH: "unreachable",
	ENETUNREACH: "unreachable",
	EADDRNOTAVAIL: "unreachable",
	ENETDOWN: "unreachable",
	EHOSTDOWN: "unreachable",
	ETIMEDOUT: "timed-out",
	ECONNRESET: "reset",
	ECONNABORTED: "reset",
	EPIPE: "reset",
	EACCES: "not-permitted",
	EPERM: "not-permitted",
	EADDRINUSE: "not-permitted",
};

/** What an error of Node's sockets means to a guest. */
export function socketError(error: NodeJS.ErrnoException): HostSocketError {
	return BY_CODE[error.code ?? ""] ?? "failed";
}
