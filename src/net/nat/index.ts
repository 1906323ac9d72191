export * from "./fake-host.ts";
export * from "./host-network.ts";
export * from "./nat.ts";
export * from "./policy.ts";
