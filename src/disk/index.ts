export * from "./disk.ts";
