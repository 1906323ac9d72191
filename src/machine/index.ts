export * from "./bus.ts";
export * from "./clock.ts";
export * from "./device.ts";
export * from "./memory.ts";
export * from "./processor.ts";
export * from "./wire.ts";
