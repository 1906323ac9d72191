#!/usr/bin/env node
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { cacheDirectory } from "../host/node/paths.ts";

// Half a second of every start goes into reading our own sources, unless they are kept as Node understood them.
enableCompileCache(join(cacheDirectory(), "modules"));
await import("./command.ts");
