/** What the page does, in Node: `node bench/page/node-guest.ts '{"kernel": …}'` prints the report. */
import { createMachine } from "../../src/host/node/machine.ts";
import { measureGuest } from "./measure.ts";

const guest = JSON.parse(process.argv[2] ?? "{}") as Parameters<typeof createMachine>[0];
console.log(JSON.stringify(await measureGuest(() => createMachine({ ...guest, onReset: "stop" }))));
