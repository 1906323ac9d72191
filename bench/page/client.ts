/** What the bench's page runs: `client.ts?guest={"kernel": …}` runs a guest and posts what came of it. */
import { createMachine } from "../../src/host/browser/index.ts";
import type { PageGuest } from "./chromium.ts";
import { measureGuest } from "./measure.ts";

const post = (report: unknown): Promise<Response> => fetch("report", { method: "POST", body: JSON.stringify(report) });

try {
	const guest = JSON.parse(new URL(import.meta.url).searchParams.get("guest") ?? "{}") as PageGuest;
	await post(await measureGuest(() => createMachine({ ...guest, onReset: "stop" })));
} catch (error) {
	await post({ error: error instanceof Error ? `${error.name}: ${error.message}\n${error.stack}` : String(error) });
}
