export * from "./access.ts";
export * from "./mmu.ts";
