import type { SnapshotInfo } from "../snapshot/tree.ts";
import { formatSize } from "../vm/quantity.ts";

/** The tree as text, a line each: children under their parent, where the machine is marked with a star. */
export function drawTree(infos: readonly SnapshotInfo[], nowMs: number): string {
	const lines: { left: string; right: string }[] = [];
	const known = new Set(infos.map(({ id }) => id));
	const visit = (info: SnapshotInfo, indent: string, isLast: boolean, isRoot: boolean): void => {
		const branch = isRoot ? "" : isLast ? "└─ " : "├─ ";
		const right = [
			age(nowMs - info.createdMs),
			`owns ${formatSize(info.ownedBytes)}`,
			...(info.isAutomatic ? ["automatic"] : []),
			info.note,
		];
		lines.push({ left: `${indent}${branch}${info.name}${info.isHere ? " *" : ""}`, right: right.filter((part) => part !== "").join("  ") });
		const children = infos.filter(({ parent }) => parent === info.id);
		const below = isRoot ? indent : `${indent}${isLast ? "   " : "│  "}`;
		children.forEach((child, index) => {
			visit(child, below, index === children.length - 1, false);
		});
	};
	for (const root of infos.filter(({ parent }) => parent === undefined || parent === null || !known.has(parent)))
		visit(root, "", true, true);
	const width = Math.max(...lines.map(({ left }) => left.length));
	return `${lines.map(({ left, right }) => `${left.padEnd(width)}  ${right}`).join("\n")}\n`;
}

function age(ms: number): string {
	const seconds = Math.max(0, Math.round(ms / 1000));
	if (seconds < 120) return `${seconds} s ago`;
	if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min ago`;
	return seconds < 2 * 86_400 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} d ago`;
}
