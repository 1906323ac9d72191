export * from "./board.ts";
export * from "./config.ts";
export * from "./console.ts";
export * from "./engine.ts";
export * from "./error.ts";
export * from "./host.ts";
export * from "./machine.ts";
export * from "./quantity.ts";
