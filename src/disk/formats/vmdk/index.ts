export * from "./check.ts";
export * from "./create.ts";
export * from "./descriptor.ts";
export * from "./vmdk-disk.ts";
