/** For scripts that a page runs: the guest that their address names, and a way back. Also says there what went wrong. */
import type { PageGuest } from "./chromium.ts";

/** Runs `work` on the guest that the script at `url` was given, and posts what it comes to. */
export async function reportOn(url: string, work: (guest: PageGuest) => Promise<unknown>): Promise<void> {
	const post = (report: unknown): Promise<Response> => fetch("report", { method: "POST", body: JSON.stringify(report) });
	try {
		await post(await work(JSON.parse(new URL(url).searchParams.get("guest") ?? "{}") as PageGuest));
	} catch (error) {
		await post({ error: error instanceof Error ? `${error.name}: ${error.message}\n${error.stack}` : String(error) });
	}
}
