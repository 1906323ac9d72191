export * from "./decode.ts";
export * from "./disassemble.ts";
export * from "./insn.ts";
export * from "./mnemonics.ts";
export { rows } from "./table.ts";
