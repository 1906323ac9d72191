export * from "./host-error.ts";
export * from "./image/build.ts";
export * from "./image/recipes.ts";
export * from "./image/store.ts";
export * from "./paths.ts";
export * from "./progress.ts";
