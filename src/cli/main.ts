#!/usr/bin/env node
import { mkdirSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { cacheDirectory } from "../host/node/paths.ts";

// A third of a second of every start goes into reading our own sources, unless they are kept as Node understood them.
const kept = join(cacheDirectory(), "modules");
try {
	mkdirSync(kept, { recursive: true });
	enableCompileCache(kept);
} catch {
	// Without a place to keep them, starting takes longer.
}
await import("./command.ts");
