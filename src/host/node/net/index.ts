export * from "./node-network.ts";
export * from "./user-network.ts";
