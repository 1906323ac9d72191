export * from "./attach.ts";
export * from "./codecs.ts";
export * from "./commit.ts";
export * from "./disk-tools.ts";
export * from "./file-store.ts";
export * from "./files.ts";
export * from "./rewrite.ts";
export * from "./undo-folder.ts";
