import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { CODE_SOURCES, CodeFiles } from "./kept-code.ts";

const SOURCES = join(import.meta.dirname, "..", "..");

let folder: string;
let sources: string;

beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "basenji-code-"));
	sources = join(folder, "src");
	for (const project of CODE_SOURCES) mkdirSync(join(sources, project), { recursive: true });
	writeFileSync(join(sources, "cpu", "add.ts"), "export const add = 1;");
	later();
});

afterEach(() => {
	vi.restoreAllMocks();
	rmSync(folder, { recursive: true });
});

/** As a process sees it that began after the last change of the sources. */
function later(): void {
	vi.spyOn(performance, "timeOrigin", "get").mockReturnValue(Date.now() + 2000);
}

const open = (): CodeFiles => new CodeFiles(join(folder, "code"), sources);

it("finds what the same sources have written", () => {
	expect(open().read("core")).toBeUndefined();
	open().write("core", [Uint8Array.of(1, 2), Uint8Array.of(3)]);
	expect(open().read("core")).toEqual(Uint8Array.of(1, 2, 3));
	expect(open().read("other")).toBeUndefined();
});

it.each([
	["was edited", () => writeFileSync(join(sources, "cpu", "add.ts"), "export const add = 2;")],
	["was touched", () => utimesSync(join(sources, "cpu", "add.ts"), 1, 1)],
	["is new", () => writeFileSync(join(sources, "wasm", "new.ts"), "")],
	["went", () => rmSync(join(sources, "cpu", "add.ts"))],
])("finds nothing when a source %s", (_, change) => {
	open().write("core", [Uint8Array.of(1)]);
	change();
	later();
	expect(open().read("core")).toBeUndefined();
});

it("keeps and finds nothing when sources have changed since the process began", () => {
	open().write("core", [Uint8Array.of(1)]);
	vi.spyOn(performance, "timeOrigin", "get").mockReturnValue(Date.now() - 1);
	expect(open().read("core")).toBeUndefined();
	open().write("other", [Uint8Array.of(1)]);
	later();
	expect(open().read("other")).toBeUndefined();
});

it("finds nothing in a file that is not as it was written", () => {
	open().write("core", [Uint8Array.of(1, 2, 3)]);
	const [name] = readdirSync(join(folder, "code")) as [string];
	const path = join(folder, "code", name);
	const bytes = readFileSync(path);
	for (const damaged of [bytes.subarray(0, -1), Buffer.from(bytes).fill(9, bytes.length - 1), Buffer.alloc(0)]) {
		writeFileSync(path, damaged);
		expect(open().read("core")).toBeUndefined();
	}
});

it("looks at all that generated code can be made from", () => {
	const { references } = JSON.parse(readFileSync(join(SOURCES, "cpu", "tsconfig.json"), "utf8")) as { references: { path: string }[] };
	expect([...references.map(({ path }) => path.slice("../".length)), "cpu"].sort()).toEqual([...CODE_SOURCES].sort());
});
