import { dirname, extname, relative, resolve } from "node:path";
import type { ImageCheckReport } from "../disk/check-report.ts";
import type { VmdkType } from "../disk/formats/vmdk/descriptor.ts";
import { type DiskFormat, formatOfFile } from "../host/node/disk/attach.ts";
import { commitDiskFile, discardDiskFile, stepDiskFile } from "../host/node/disk/commit.ts";
import {
	checkDiskFile,
	convertDiskFile,
	createDiskFile,
	type DiskFileInfo,
	diskFileInfo,
	type NewDiskOptions,
	resizeDiskFile,
} from "../host/node/disk/disk-tools.ts";
import { compactDiskFile } from "../host/node/disk/rewrite.ts";
import { progressOn } from "../host/node/progress.ts";
import { formatSize, parseSize } from "../vm/quantity.ts";
import { UsageError } from "./failure.ts";
import { printJson } from "./output.ts";

type WritableFormat = "raw" | "qcow2" | "vmdk";

export interface FormatOptions {
	readonly json?: boolean;
	readonly format?: DiskFormat;
}

/** What a new image may be told. */
interface ImageOptions {
	readonly json?: boolean;
	readonly format?: WritableFormat;
	readonly clusterSize?: number;
	readonly compat?: "v2" | "v3";
	readonly compression?: "zlib" | "zstd";
	readonly lazyRefcounts?: boolean;
	readonly vmdkType?: Exclude<VmdkType, "streamOptimized">;
}

export interface CreateOptions extends ImageOptions {
	readonly backing?: string;
	readonly backingFormat?: DiskFormat;
}

export interface ConvertOptions extends ImageOptions {
	readonly fromFormat?: DiskFormat;
	readonly snapshot?: string;
	readonly compress?: boolean;
}

export interface CheckOptions extends FormatOptions {
	readonly repair?: boolean;
}

export interface ResizeOptions extends FormatOptions {
	readonly shrink?: boolean;
}

export interface CompactOptions extends FormatOptions {
	readonly compress?: boolean;
}

/** As `qemu-img check` has it, so that scripts need not learn anything new. */
const EXIT_ERRORS = 2;
const EXIT_LEAKS = 3;
/** What takes less is over before anybody has read a line about it. */
const QUIET_MS = 400;
/** How qcow2 headers call the formats. */
const BACKING_NAMES = { raw: "raw", qcow2: "qcow2", vmdk: "vmdk", vhd: "vpc", vhdx: "vhdx" } as const;

export async function createDisk(file: string, size: number | undefined, options: CreateOptions): Promise<void> {
	const format = options.format ?? newFormat(file);
	const below = options.backing === undefined ? undefined : await describeBacking(file, options.backing, options.backingFormat);
	const sizeBytes = size ?? below?.sizeBytes;
	if (sizeBytes === undefined) throw new UsageError(`disk create ${file}: a size is wanted, such as 8G, or --backing FILE`);
	const settings = { ...newImage(format, sizeBytes, options), ...overlay(file, format, below) };
	await createDiskFile(file, settings as NewDiskOptions);
	await answer(file, options.json, `${file}: ${format}, ${formatSize(sizeBytes)}${below === undefined ? "" : `, over ${options.backing}`}`);
}

interface Backing {
	/** As the new image is to call it. */
	readonly name: string;
	readonly format: DiskFormat;
	readonly sizeBytes: number;
}

async function describeBacking(file: string, backing: string, told: DiskFormat | undefined): Promise<Backing> {
	const format = told ?? (await formatOfFile(backing));
	const { sizeBytes } = await diskFileInfo(backing, { format });
	// Names inside images count from the folder they lie in.
	return { name: relative(dirname(resolve(file)), resolve(backing)), format, sizeBytes };
}

function overlay(file: string, format: WritableFormat, below: Backing | undefined): object {
	if (below === undefined) return {};
	if (format === "qcow2") return { backingFile: below.name, backingFormat: BACKING_NAMES[below.format] };
	if (format === "vmdk" && below.format === "vmdk") return { parentFile: below.name };
	throw new UsageError(`disk create ${file}: --backing is for qcow2, and for VMDK over VMDK, not for ${format} over ${below.format}`);
}

function newFormat(file: string): WritableFormat {
	const ending = extname(file).toLowerCase();
	if (ending === ".vhd" || ending === ".vhdx") throw new UsageError(`${file}: ${ending.slice(1)} is only read; make it raw, qcow2 or vmdk`);
	return ending === ".qcow2" ? "qcow2" : ending === ".vmdk" ? "vmdk" : "raw";
}

function newImage(format: WritableFormat, sizeBytes: number, options: ImageOptions): NewDiskOptions {
	const { clusterSize, compat, compression, lazyRefcounts, vmdkType } = options;
	if (format !== "qcow2" && [clusterSize, compat, compression, lazyRefcounts].some((value) => value !== undefined))
		throw new UsageError(`--cluster-size, --compat, --compression and --lazy-refcounts are for qcow2, not for ${format}`);
	if (format !== "vmdk" && vmdkType !== undefined) throw new UsageError(`--vmdk-type is for vmdk, not for ${format}`);
	if (format === "raw") return { format, sizeBytes };
	if (format === "vmdk") return { format, sizeBytes, ...(vmdkType === undefined ? {} : { type: vmdkType }) };
	return { format, sizeBytes, ...qcow2Options(options) };
}

function qcow2Options({ clusterSize, compat, compression, lazyRefcounts }: ImageOptions) {
	const clusterBits = clusterSize === undefined ? undefined : Math.log2(clusterSize);
	if (clusterBits !== undefined && !(Number.isInteger(clusterBits) && clusterBits >= 9 && clusterBits <= 21))
		throw new UsageError(`--cluster-size ${clusterSize}: a power of two from 512 to 2M is wanted`);
	return {
		...(clusterBits === undefined ? {} : { clusterBits }),
		...(compat === undefined ? {} : { version: compat === "v2" ? (2 as const) : (3 as const) }),
		...(compression === undefined ? {} : { compression }),
		...(lazyRefcounts === undefined ? {} : { lazyRefcounts }),
	};
}

export async function diskInfo(file: string, options: FormatOptions): Promise<void> {
	const format = options.format ?? (await formatOfFile(file));
	const info = await diskFileInfo(file, { format });
	if (options.json === true) printJson({ file, ...info });
	else for (const line of describe(file, info)) process.stdout.write(`${line}\n`);
}

function describe(file: string, info: DiskFileInfo): string[] {
	const { qcow2 } = info;
	const lines = [
		`file       ${file}`,
		`format     ${info.format}${info.subformat === undefined ? "" : `, ${info.subformat}`}`,
		`disk       ${formatSize(info.sizeBytes)} (${info.sizeBytes} bytes)`,
		`takes up   ${formatSize(info.allocatedBytes)} of a file of ${formatSize(info.fileBytes)}`,
	];
	if (qcow2 !== undefined) {
		const flags = [
			`version ${qcow2.version}`,
			`clusters of ${formatSize(qcow2.clusterBytes)}`,
			`reference counts of ${qcow2.refcountBits} bits`,
			qcow2.compression,
			...(qcow2.hasLazyRefcounts ? ["lazy reference counts"] : []),
			...(qcow2.isDirty ? ["DIRTY: not closed by its last writer"] : []),
			...(qcow2.isMarkedCorrupt ? ["MARKED CORRUPT"] : []),
		];
		lines.push(`qcow2      ${flags.join(", ")}`);
	}
	for (const { place, format, sizeBytes } of info.layers.slice(1)) lines.push(`stands on  ${place} (${format}, ${formatSize(sizeBytes)})`);
	for (const snapshot of info.snapshots)
		lines.push(`snapshot   ${snapshot.id} ${snapshot.name} (${new Date(snapshot.dateS * 1000).toISOString()})`);
	if (info.undoLayers > 0) lines.push(`undoable   ${info.undoLayers} layers in ${file}.undo`);
	return lines;
}

/** Resolves with the exit code. */
export async function checkDisk(file: string, options: CheckOptions): Promise<number> {
	const format = options.format === undefined ? {} : { format: options.format };
	const first = await checkDiskFile(file, { ...format, isRepairing: options.repair === true });
	const isBad = first.errorCount + first.leakCount > 0;
	const report = options.repair === true && isBad ? await checkDiskFile(file, format) : first;
	if (options.json === true) printJson({ file, ...report, ...(report === first ? {} : { before: first }) });
	else {
		for (const { kind, offsetBytes, message } of first.problems) process.stdout.write(`${kind} at offset ${offsetBytes}: ${message}\n`);
		process.stdout.write(`${file}: ${verdict(first)}${report === first ? "" : `; after the repair: ${verdict(report)}`}\n`);
	}
	return report.errorCount > 0 ? EXIT_ERRORS : report.leakCount > 0 ? EXIT_LEAKS : 0;
}

function verdict({ errorCount, leakCount }: ImageCheckReport): string {
	if (errorCount + leakCount === 0) return "clean";
	return `${errorCount} errors, ${leakCount} leaks`;
}

export async function convertDisk(from: string, to: string, options: ConvertOptions): Promise<void> {
	const format = options.format ?? newFormat(to);
	const sourceFormat = options.fromFormat ?? (await formatOfFile(from));
	newImage(format, 0, options);
	await withProgress(`converting ${from} to ${format}`, (onProgress) =>
		convertDiskFile(from, to, {
			format,
			sourceFormat,
			onProgress,
			...(options.snapshot === undefined ? {} : { snapshot: options.snapshot }),
			...(options.compress === undefined ? {} : { isCompressing: options.compress }),
			...(options.vmdkType === undefined ? {} : { vmdkType: options.vmdkType }),
			...(format === "qcow2" ? { qcow2: qcow2Options(options) } : {}),
		}),
	);
	await answer(to, options.json, `${to}: ${format}`);
}

export async function resizeDisk(file: string, size: string, options: ResizeOptions): Promise<void> {
	const format = options.format ?? (await formatOfFile(file));
	const amount = parseSize(size.replace(/^\+/, ""));
	if (amount === undefined) throw new UsageError(`disk resize ${file}: ${size}: a size such as 8G or +2G is wanted`);
	const before = (await diskFileInfo(file, { format })).sizeBytes;
	const sizeBytes = size.startsWith("+") ? before + amount : amount;
	if (sizeBytes < before && options.shrink !== true)
		throw new UsageError(`${file} has ${formatSize(before)}: what lies behind ${formatSize(sizeBytes)} would be lost; --shrink allows it`);
	await resizeDiskFile(file, sizeBytes, { format, allowShrink: options.shrink === true });
	await answer(file, options.json, `${file}: ${formatSize(sizeBytes)}`);
}

export async function compactDisk(file: string, options: CompactOptions): Promise<void> {
	const format = options.format ?? (await formatOfFile(file));
	const before = await diskFileInfo(file, { format });
	await withProgress(`compacting ${file}`, (onProgress) =>
		compactDiskFile(file, { format, onProgress, ...(options.compress === undefined ? {} : { isCompressing: options.compress }) }),
	);
	const after = await diskFileInfo(file, { format });
	if (options.json === true) printJson({ file, ...after, before: { fileBytes: before.fileBytes, allocatedBytes: before.allocatedBytes } });
	else process.stdout.write(`${file}: ${formatSize(before.allocatedBytes)} before, ${formatSize(after.allocatedBytes)} now\n`);
}

export async function endLayers(file: string, verb: "commit" | "discard", options: FormatOptions): Promise<void> {
	const format = options.format === undefined ? {} : { format: options.format };
	const report = await (verb === "commit"
		? withProgress(`committing ${file}`, (onProgress) => commitDiskFile(file, { ...format, onProgress }))
		: discardDiskFile(file, format));
	if (options.json === true) printJson({ file, verb, ...report });
	else process.stdout.write(verb === "commit" ? `${file}: committed into ${report.into}\n` : `${file}: changes discarded\n`);
}

/** Resolves with 1 where there is no step to take. */
export async function stepDisk(file: string, step: "mark" | "undo" | "redo", options: FormatOptions): Promise<number> {
	const report = await stepDiskFile(file, step, options.format === undefined ? {} : { format: options.format });
	if (options.json === true) printJson({ file, step, ...report });
	else
		process.stdout.write(
			`${file}: ${report.isDone ? `${step} done` : `nothing to ${step}`}; ${report.undoSteps} steps to undo, ${report.redoSteps} to redo\n`,
		);
	return report.isDone ? 0 : 1;
}

/** A bar, or lines, for work that takes longer than a moment. */
export async function withProgress<Result>(
	label: string,
	work: (onProgress: (done: number, total: number) => void) => Promise<Result>,
): Promise<Result> {
	const progress = progressOn(process.stderr);
	const startMs = performance.now();
	let isShown = false;
	const result = await work((done, total) => {
		if (!isShown && performance.now() - startMs < QUIET_MS) return;
		if (!isShown) progress.step(label);
		isShown = true;
		progress.update(total === 0 ? 1 : done / total);
	});
	if (isShown) progress.done();
	return result;
}

async function answer(file: string, isJson: boolean | undefined, text: string): Promise<void> {
	if (isJson === true) printJson({ file, ...(await diskFileInfo(file)) });
	else process.stdout.write(`${text}\n`);
}
