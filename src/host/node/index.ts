export * from "../../vm/index.ts";
export * from "./host.ts";
export * from "./host-error.ts";
export * from "./image/build.ts";
export * from "./image/recipes.ts";
export * from "./image/store.ts";
export { createMachine, type DiskFile, type DiskFormat, type DiskMode, Machine, type NodeMachineOptions, openDisk } from "./machine.ts";
export * from "./paths.ts";
export * from "./progress.ts";
