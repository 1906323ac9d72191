import { type Command, InvalidArgumentError } from "commander";
import { DISK_FORMATS } from "../host/node/disk/disk-file.ts";
import { parseSize } from "../vm/quantity.ts";
import type { CheckOptions, CompactOptions, ConvertOptions, CreateOptions, FormatOptions, ResizeOptions } from "./disk-command.ts";
import { option } from "./option.ts";

const WRITABLE = ["raw", "qcow2", "vmdk"];
const VMDK_TYPES = ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"];

function parseBytes(text: string): number {
	const bytes = parseSize(text);
	if (bytes === undefined) throw new InvalidArgumentError("a size such as 8G is wanted.");
	return bytes;
}

const json = () => option("--json", "print JSON");
const format = () => option("--format <name>", "the image's format; by its name's ending unless told").choices(DISK_FORMATS);

/** Options that a new image takes. */
function addImageOptions(command: Command): Command {
	return command
		.addOption(option("--cluster-size <size>", "of qcow2: 512 to 2M (64K)").argParser(parseBytes))
		.addOption(option("--compat <version>", "of qcow2: v2 for QEMU before 1.1").choices(["v2", "v3"]))
		.addOption(option("--compression <kind>", "of qcow2's compressed clusters").choices(["zlib", "zstd"]))
		.addOption(option("--lazy-refcounts", "of qcow2: other writers may put off their reference counts"))
		.addOption(option("--vmdk-type <type>", "of VMDK").choices(VMDK_TYPES));
}

/** `basenji disk …`: tools for image files. What they do is loaded when it is asked for. */
export function addDisk(program: Command, onExit: (code: number) => void): void {
	const disk = program.command("disk").description("disk images: make, look at, check, convert, resize, compact, commit, discard");
	const load = () => import("./disk-command.ts");
	addImageOptions(
		disk
			.command("create")
			.description("make an empty disk image, or an overlay over another")
			.argument("<file>", "the new file; it must not exist")
			.argument("[size]", "such as 8G; an overlay's is its backing file's unless told", parseBytes),
	)
		.addOption(option("--format <name>", "by the name's ending unless told").choices(WRITABLE))
		.addOption(option("--backing <file>", "make an overlay of this image (qcow2), or a child of this disk (VMDK)"))
		.addOption(option("--backing-format <name>", "its format; by its name's ending unless told").choices(DISK_FORMATS))
		.addOption(json())
		.action(async (file: string, size: number | undefined, options: CreateOptions) => (await load()).createDisk(file, size, options));
	disk
		.command("info")
		.description("say what an image is, what it stands on, and what snapshots and undo layers it has")
		.argument("<file>")
		.addOption(format())
		.addOption(json())
		.action(async (file: string, options: FormatOptions) => (await load()).diskInfo(file, options));
	disk
		.command("check")
		.description("look an image over (qcow2, VMDK); ends with 0 if it is clean, 2 for errors, 3 for leaks alone")
		.argument("<file>")
		.addOption(option("--repair", "count references afresh (qcow2), once the check is done"))
		.addOption(format())
		.addOption(json())
		.action(async (file: string, options: CheckOptions) => onExit(await (await load()).checkDisk(file, options)));
	addImageOptions(
		disk
			.command("convert")
			.description("copy a disk into a new image of its own, of the same format or another")
			.argument("<from>")
			.argument("<to>", "the new file; it must not exist"),
	)
		.addOption(option("--from-format <name>", "by the name's ending unless told").choices(DISK_FORMATS))
		.addOption(option("--format <name>", "of the new image; by its name's ending unless told").choices(WRITABLE))
		.addOption(option("--snapshot <name>", "what the disk was at this snapshot inside a qcow2 image"))
		.addOption(option("--compress", "store clusters compressed (qcow2)"))
		.addOption(json())
		.action(async (from: string, to: string, options: ConvertOptions) => (await load()).convertDisk(from, to, options));
	disk
		.command("resize")
		.description("give a disk another size (raw, qcow2; larger, VMDK in one sparse file)")
		.argument("<file>")
		.argument("<size>", "such as 8G, or +2G to grow by that much")
		.addOption(option("--shrink", "allow a smaller size: what lies behind it is lost"))
		.addOption(format())
		.addOption(json())
		.action(async (file: string, size: string, options: ResizeOptions) => (await load()).resizeDisk(file, size, options));
	disk
		.command("compact")
		.description("write an image again without free clusters and zeros (qcow2, raw, VMDK in one sparse file)")
		.argument("<file>")
		.addOption(option("--compress", "store clusters compressed (qcow2)"))
		.addOption(format())
		.addOption(json())
		.action(async (file: string, options: CompactOptions) => (await load()).compactDisk(file, options));
	for (const [name, description] of [
		["commit", "write an undoable disk's layers into its image, or an overlay into its backing file"],
		["discard", "throw an undoable disk's layers away, or what an overlay holds"],
	] as const)
		disk
			.command(name)
			.description(description)
			.argument("<file>", "the image itself, not a layer")
			.addOption(format())
			.addOption(json())
			.action(async (file: string, options: FormatOptions) => (await load()).endLayers(file, name, options));
	for (const [name, description] of [
		["mark", "end a step of an undoable disk: undo comes back to here"],
		["undo", "take the last step of an undoable disk back"],
		["redo", "bring the step taken back last again"],
	] as const)
		disk
			.command(name)
			.description(description)
			.argument("<file>")
			.addOption(format())
			.addOption(json())
			.action(async (file: string, options: FormatOptions) => onExit(await (await load()).stepDisk(file, name, options)));
}
