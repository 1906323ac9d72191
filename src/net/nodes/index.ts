export * from "./hub.ts";
export * from "./router.ts";
export * from "./station.ts";
export type { StpPortOptions, StpPortState, StpRole } from "./stp/stp-port.ts";
export * from "./switch.ts";
export type { SwitchDropReason, SwitchPortCounters, SwitchPortOptions, VlanSpec } from "./switch-ports.ts";
