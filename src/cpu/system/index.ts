export { cpuid } from "./cpuid.ts";
export * from "./debug.ts";
export * from "./helpers.ts";
export * from "./interrupts.ts";
export * from "./mode.ts";
export { MSR, readModelSpecific, writeModelSpecific } from "./msr.ts";
export * from "./reset.ts";
export * from "./rflags.ts";
export * from "./segments.ts";
