import { DiskError } from "../../disk.ts";
import { decodeUtf8, encodeUtf8 } from "../../utf8.ts";

/** VMware's "Virtual Disk Format 5.0": a text that names the extents a disk is made of. */
export type VmdkType = "monolithicSparse" | "monolithicFlat" | "twoGbMaxExtentSparse" | "twoGbMaxExtentFlat" | "streamOptimized";

export interface VmdkExtentLine {
	readonly access: "RW" | "RDONLY" | "NOACCESS";
	readonly sectors: number;
	readonly kind: "FLAT" | "SPARSE" | "ZERO";
	readonly file: string | undefined;
	/** Where a flat extent begins in its file. */
	readonly offsetSectors: number;
}

export interface VmdkDescriptor {
	/** Changes when the contents do, so that children notice; eight hexadecimal digits. */
	readonly cid: number;
	readonly parentCid: number;
	readonly createType: string;
	readonly parentFile: string | undefined;
	readonly extents: readonly VmdkExtentLine[];
}

/** No parent. */
export const NO_PARENT_CID = 0xffff_ffff;
const MAX_EXTENTS = 4096;
const EXTENT = /^(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)")?(?:\s+(\d+))?/;

/**
 * @param at where in its file the descriptor begins
 * @throws DiskError corrupt or unsupported, naming the line and its place
 */
export function parseDescriptor(bytes: Uint8Array, name: string, at = 0): VmdkDescriptor {
	const end = bytes.indexOf(0);
	const text = decodeUtf8(end < 0 ? bytes : bytes.subarray(0, end));
	const fail = (kind: "corrupt" | "unsupported", line: number, message: string): never => {
		const offsetBytes = at + lineStart(bytes, line);
		throw new DiskError(kind, name, `descriptor line ${line + 1}: ${message}`, { offsetBytes });
	};
	const values = new Map<string, string>();
	const extents: VmdkExtentLine[] = [];
	const lines = text.split(/\r?\n/);
	if (lines[0]?.trim() !== "# Disk DescriptorFile") fail("corrupt", 0, "not a VMDK descriptor");
	for (const [number, raw] of lines.entries()) {
		const line = raw.trim();
		if (line === "" || line.startsWith("#")) continue;
		const extent = EXTENT.exec(line);
		if (extent !== null) {
			const [, access, sectors, kind, file, offset] = extent;
			if (kind !== "FLAT" && kind !== "SPARSE" && kind !== "ZERO") return fail("unsupported", number, `an extent of kind ${kind}`);
			if (kind !== "ZERO" && file === undefined) fail("corrupt", number, "an extent without a file");
			if (!Number.isSafeInteger(Number(sectors) * 512) || extents.length >= MAX_EXTENTS) fail("corrupt", number, "extents beyond reason");
			extents.push({ access: access as "RW", sectors: Number(sectors), kind, file, offsetSectors: Number(offset ?? 0) });
			continue;
		}
		const equals = line.indexOf("=");
		if (equals > 0)
			values.set(
				line.slice(0, equals).trim().toLowerCase(),
				line
					.slice(equals + 1)
					.trim()
					.replace(/^"(.*)"$/, "$1"),
			);
	}
	if (extents.length === 0) fail("corrupt", lines.length - 1, "no extents");
	const cid = (key: string) => Number.parseInt(values.get(key) ?? "ffffffff", 16) >>> 0;
	const parentFile = values.get("parentfilenamehint");
	return {
		cid: cid("cid"),
		parentCid: cid("parentcid"),
		createType: values.get("createtype") ?? "",
		parentFile: cid("parentcid") === NO_PARENT_CID ? undefined : parentFile,
		extents,
	};
}

function lineStart(bytes: Uint8Array, line: number): number {
	let start = 0;
	for (let i = 0; i < line; i++) start = bytes.indexOf(0x0a, start) + 1;
	return start;
}

export function encodeDescriptor(descriptor: VmdkDescriptor): Uint8Array {
	const hex = (cid: number) => cid.toString(16).padStart(8, "0");
	const sectors = descriptor.extents.reduce((sum, extent) => sum + extent.sectors, 0);
	const lines = [
		"# Disk DescriptorFile",
		"version=1",
		`CID=${hex(descriptor.cid)}`,
		`parentCID=${hex(descriptor.parentCid)}`,
		`createType="${descriptor.createType}"`,
		...(descriptor.parentFile === undefined ? [] : [`parentFileNameHint="${descriptor.parentFile}"`]),
		"",
		"# Extent description",
		...descriptor.extents.map(({ access, sectors: count, kind, file, offsetSectors }) =>
			`${access} ${count} ${kind}${file === undefined ? "" : ` "${file}"`}${kind === "FLAT" ? ` ${offsetSectors}` : ""}`.trim(),
		),
		"",
		"# The Disk Data Base",
		"#DDB",
		"",
		'ddb.virtualHWVersion = "4"',
		`ddb.geometry.cylinders = "${Math.min(16383, Math.floor(sectors / (16 * 63)))}"`,
		'ddb.geometry.heads = "16"',
		'ddb.geometry.sectors = "63"',
		'ddb.adapterType = "ide"',
		"",
	];
	return encodeUtf8(lines.join("\n"));
}

/** Where the eight digits of "CID=" stand in a descriptor. */
export function cidPosition(bytes: Uint8Array): number | undefined {
	const text = bytes.reduce((all, byte) => all + String.fromCharCode(byte), "");
	const match = /(^|\n)CID=[0-9a-fA-F]{8}/.exec(text);
	return match === null ? undefined : match.index + match[0].length - 8;
}
