export * from "./check.ts";
export * from "./compact.ts";
export * from "./create.ts";
export type { Qcow2Header } from "./header.ts";
export { readHeader } from "./metadata.ts";
export * from "./qcow2-disk.ts";
export * from "./resize.ts";
export { type Qcow2Snapshot, readSnapshots } from "./snapshots.ts";
