export * from "./assert.ts";
export * from "./json.ts";
export * from "./units.ts";
