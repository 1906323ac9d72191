export * from "./boot.ts";
export * from "./error.ts";
export * from "./isa-devices.ts";
export * from "./linux/entry.ts";
export * from "./linux/load.ts";
export * from "./pc.ts";
