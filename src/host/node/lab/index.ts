export * from "../../../lab/index.ts";
export { describeFileIssue, type FileIssue, type LabFile, parseLabText, readLabText } from "../../../labfile/index.ts";
export * from "./capture-file.ts";
export * from "./open.ts";
export * from "./tap.ts";
