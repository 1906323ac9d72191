import { execFile } from "node:child_process";
import { isIPv4 } from "node:net";
import type { HostPingResult } from "../../../net/nat/host-network.ts";
import { findTool } from "../command.ts";

const TIMEOUT_S = 5;
const MAX_BODY_BYTES = 65_507;

/**
 * One echo request. Node has no sockets for that, so the host's own ping sends it, which has the right to; without that
 * tool only the host itself, which is plainly there, answers.
 */
export function pingFromHost(to: string, body: Uint8Array, ttl: number, done: (result: HostPingResult) => void): void {
	if (to.startsWith("127.")) {
		setImmediate(() => done("reply"));
		return;
	}
	const tool = findTool("ping");
	if (tool === undefined || !isIPv4(to)) {
		setImmediate(() => done("not-permitted"));
		return;
	}
	const size = Math.min(body.length, MAX_BODY_BYTES);
	const args = ["-n", "-c", "1", "-W", String(TIMEOUT_S), "-t", String(Math.max(1, ttl)), "-s", String(size), to];
	execFile(tool, args, { timeout: (TIMEOUT_S + 1) * 1000, env: { ...process.env, LC_ALL: "C" } }, (error, stdout, stderr) => {
		if (error === null) done("reply");
		else if (/Time to live exceeded/i.test(stdout)) done("ttl-expired");
		else if (/unreachable/i.test(stdout + stderr)) done("unreachable");
		else if (/permitted|denied/i.test(stderr)) done("not-permitted");
		else done("timed-out");
	});
}
