#!/usr/bin/env node
// JavaScript, since Node takes 40 ms to get ready for the first line of TypeScript that it has not got kept.
import { mkdirSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { cacheDirectory } from "../host/node/paths.js";

// A third of a second of every start goes into reading our own sources, unless they are kept as Node understood them.
const kept = join(cacheDirectory(), "modules");
try {
	mkdirSync(kept, { recursive: true });
	enableCompileCache(kept);
} catch {
	// Without a place to keep them, starting takes longer.
}
// Our objects are few beside the guest's memory: V8 need not let dead ones double before it looks for them.
setFlagsFromString("--heap-growing-percent=20");
await import("./command.ts");
