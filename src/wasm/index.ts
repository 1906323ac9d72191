export * from "./byte-sink.ts";
export * from "./expr.ts";
export * from "./function-builder.ts";
export * from "./module-builder.ts";
export * from "./opcodes.ts";
