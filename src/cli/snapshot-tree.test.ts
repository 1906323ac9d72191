import { expect, it } from "vitest";
import type { SnapshotInfo } from "../snapshot/tree.ts";
import { drawTree } from "./snapshot-tree.ts";

it("draws a tree a line a snapshot", () => {
	const info = (id: string, parent: string | undefined, isHere = false): SnapshotInfo => ({
		...{ id, name: id, note: id === "b" ? "a note" : "", parent, createdMs: 0, guestNs: 0, isAutomatic: id === "c", isHere },
		...{ ownedBytes: 4096, changedBytes: 0, screen: "" },
	});
	const text = drawTree([info("a", undefined), info("b", "a"), info("c", "b"), info("d", "a", true)], 90_000);
	expect(text).toBe(
		[
			"a        90 s ago  owns 4K",
			"├─ b     90 s ago  owns 4K  a note",
			"│  └─ c  90 s ago  owns 4K  automatic",
			"└─ d *   90 s ago  owns 4K\n",
		].join("\n"),
	);
});
