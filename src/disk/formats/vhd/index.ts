export { readVhdInfo, VhdDisk, type VhdInfo } from "./vhd-disk.ts";
export { VhdxDisk } from "./vhdx-disk.ts";
export { readVhdxInfo, type VhdxInfo } from "./vhdx-metadata.ts";
