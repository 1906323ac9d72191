import { LineCounter, parseDocument, type YAMLError } from "yaml";
import { describeIssue, LabError, type LabIssue } from "../lab/issue.ts";
import type { LabModel } from "../lab/model.ts";
import { type ReadLabOptions, readLab } from "../lab/read-lab.ts";
import { type Position, positionOf } from "./positions.ts";

export type FileIssue = LabIssue & Position;

/** What a lab file says, and everything that is wrong with it, in order of lines. */
export interface LabFile {
	readonly fileName: string;
	/** `undefined` when there are errors. */
	readonly model: LabModel | undefined;
	readonly issues: readonly FileIssue[];
}

/** `lab.yaml:12:7: links.2.rate: 100; expected a rate with its unit, …` */
export function describeFileIssue(fileName: string, issue: FileIssue): string {
	const warning = issue.severity === "warning" ? "warning: " : "";
	return `${fileName}:${issue.line}:${issue.column}: ${warning}${describeIssue(issue)}`;
}

/** Reads the text of a lab file (YAML 1.2). Never throws for what stands in it. */
export function readLabText(text: string, fileName: string, options: ReadLabOptions = {}): LabFile {
	const lines = new LineCounter();
	const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, stringKeys: true, version: "1.2" });
	const syntax = document.errors.map((error) => syntaxIssue(error, text, lines));
	if (syntax.length > 0) return { fileName, model: undefined, issues: syntax };
	let value: unknown;
	try {
		value = document.toJS();
	} catch (error) {
		// An alias to nothing, or aliases that would unfold without end.
		const problem = error instanceof Error ? error.message : String(error);
		return {
			fileName,
			model: undefined,
			issues: [{ ...issueOf("syntax", problem, "aliases of anchors in this file"), line: 1, column: 1 }],
		};
	}
	const { model, issues } = readLab(value, options);
	const placed = issues.map((issue) => ({ ...issue, ...positionOf(document, lines, issue.path, issue.at) }));
	placed.sort((a, b) => a.line - b.line || a.column - b.column);
	return { fileName, model, issues: placed };
}

/** As `readLabText`. @throws LabError with a line for each error */
export function parseLabText(text: string, fileName: string, options: ReadLabOptions = {}): LabModel {
	const { model, issues } = readLabText(text, fileName, options);
	const errors = issues.filter(({ severity }) => severity === "error");
	if (model === undefined)
		throw new LabError(
			errors,
			errors.map((issue) => describeFileIssue(fileName, issue)),
		);
	return model;
}

function issueOf(kind: LabIssue["kind"], problem: string, expected: string): LabIssue {
	return { kind, severity: "error", path: [], at: "value", problem, expected };
}

function syntaxIssue(error: YAMLError, text: string, lines: LineCounter): FileIssue {
	const { line, col } = lines.linePos(error.pos[0]);
	const place = { line, column: col };
	if (error.code === "DUPLICATE_KEY") {
		const [, key = ""] = /^\s*(?:"([^"]*)")?/.exec(text.slice(error.pos[0])) ?? [];
		const name = key === "" ? (/^[^:\n]*/.exec(text.slice(error.pos[0]))?.[0] ?? "").trim() : key;
		return {
			...issueOf("duplicate", `${name} is there twice`, "each name once; several actions at one time are a list"),
			at: "key",
			...place,
		};
	}
	return { ...issueOf("syntax", error.message.replace(/\s+/g, " "), "YAML"), ...place };
}
