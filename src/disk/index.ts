export * from "./disk.ts";
export * from "./memory-store.ts";
export * from "./raw.ts";
