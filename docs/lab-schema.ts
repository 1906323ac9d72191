/** Writes docs/lab.schema.json: what editors check lab files by. */
import { writeFile } from "node:fs/promises";
import { labSchema } from "../src/lab/read-lab.ts";

await writeFile(new URL("lab.schema.json", import.meta.url), `${JSON.stringify(labSchema(), null, "\t")}\n`);
