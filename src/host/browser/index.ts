export * from "../../vm/index.ts";
export * from "./host.ts";
export { type BrowserMachineOptions, createMachine, Machine } from "./machine.ts";
export type { Source } from "./sources.ts";
