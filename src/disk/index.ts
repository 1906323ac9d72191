export * from "./codecs.ts";
export * from "./disk.ts";
export * from "./formats/qcow2/index.ts";
export * from "./memory-store.ts";
export * from "./raw.ts";
