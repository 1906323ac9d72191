export * from "./assert.ts";
export * from "./json.ts";
export * from "./units.ts";
export * from "./utf8.ts";
