export * from "./lab-file.ts";
export type { Position } from "./positions.ts";
