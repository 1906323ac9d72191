import { buildImage } from "../host/node/image/build.ts";
import { findRecipe, RECIPES } from "../host/node/image/recipes.ts";
import { ImageStore } from "../host/node/image/store.ts";
import { progressOn } from "../host/node/progress.ts";
import { parseSize } from "../vm/quantity.ts";
import { UsageError } from "./failure.ts";
import { printJson, printTable } from "./output.ts";

/** Lists images that are here and those that could be built. */
export async function listImages(isJson: boolean): Promise<void> {
	const images = await new ImageStore().list();
	const built = new Map(images.map((image) => [image.manifest.name, image]));
	if (isJson) {
		printJson([
			...images.map(({ manifest, directory, sizeBytes }) => ({ ...manifest, isBuilt: true, directory, sizeBytes })),
			...RECIPES.filter(({ name }) => !built.has(name)).map(({ name, summary, architecture }) => ({
				name,
				description: summary,
				architecture,
				isBuilt: false,
			})),
		]);
		return;
	}
	const rows = RECIPES.map(({ name, architecture, summary }) => {
		const image = built.get(name);
		return [name, architecture, image === undefined ? "not built" : megabytes(image.sizeBytes), summary];
	});
	printTable(["NAME", "ARCH", "SIZE", "WHAT"], rows);
}

export interface BuildCommandOptions {
	readonly json: boolean;
	readonly include?: readonly string[];
	readonly diskSize?: string;
}

export async function buildImages(names: readonly string[], options: BuildCommandOptions): Promise<void> {
	const recipes = names.map(findRecipe);
	const diskBytes = options.diskSize === undefined ? undefined : parseSize(options.diskSize);
	if (options.diskSize !== undefined && diskBytes === undefined)
		throw new UsageError(`--disk-size ${options.diskSize}: a size such as 8G is wanted`);
	const forDisk = options.include !== undefined || diskBytes !== undefined;
	const without = recipes.find((recipe) => recipe.kind !== "debian");
	if (forDisk && without !== undefined)
		throw new UsageError(`image ${without.name} has no disk: --include and --disk-size are for debian-full`);
	const results = [];
	for (const recipe of recipes) {
		const image = await buildImage(recipe, {
			progress: progressOn(process.stderr),
			...(options.include === undefined ? {} : { include: options.include }),
			...(diskBytes === undefined ? {} : { diskBytes }),
		});
		results.push({ ...image.manifest, directory: image.directory, sizeBytes: image.sizeBytes });
		if (!options.json) process.stdout.write(`${recipe.name}: ${image.directory}, ${megabytes(image.sizeBytes)}\n`);
	}
	if (options.json) printJson(results);
}

export async function removeImages(names: readonly string[], isJson: boolean): Promise<void> {
	const store = new ImageStore();
	for (const name of names) await store.remove(name);
	if (isJson) printJson(names.map((name) => ({ name, isRemoved: true })));
}

function megabytes(sizeBytes: number): string {
	return `${(sizeBytes / 1024 ** 2).toFixed(0)}M`;
}
