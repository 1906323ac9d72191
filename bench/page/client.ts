/** What the bench's page runs: `client.ts?guest={"kernel": …}` runs a guest and posts what came of it. */
import { createMachine } from "../../src/host/browser/index.ts";
import { measureGuest } from "./measure.ts";
import { reportOn } from "./report.ts";

await reportOn(import.meta.url, (guest) => measureGuest(() => createMachine({ ...guest, onReset: "stop" })));
