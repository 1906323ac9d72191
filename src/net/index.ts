export * from "./capture/link-capture.ts";
export * from "./capture/pcapng.ts";
export * from "./frames/index.ts";
export * from "./link/index.ts";
export * from "./nodes/index.ts";
export * from "./port.ts";
export * from "./time.ts";
