export * from "./checksums.ts";
export * from "./join.ts";
export * from "./locate.ts";
export * from "./segment.ts";
