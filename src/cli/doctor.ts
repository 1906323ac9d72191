import { accessSync, constants, existsSync } from "node:fs";
import { availableParallelism, freemem, totalmem } from "node:os";
import { findTool, PACKAGE_OF_TOOL } from "../host/node/command.ts";
import { printJson } from "./output.ts";

type Verdict = "ok" | "missing" | "optional";

/** One thing that this host has or lacks. */
interface Finding {
	readonly name: string;
	readonly verdict: Verdict;
	readonly detail: string;
	/** What to do about it. */
	readonly remedy?: string;
}

/** The oldest Node that runs TypeScript as it is. */
const OLDEST_NODE = [22, 18] as const;

/**
 * The smallest modules that use each feature (WebAssembly Core Specification 3.0, §5 "Binary Format"): a header, one type,
 * one function, perhaps a memory, and a body.
 */
const WASM_FEATURES: readonly { readonly name: string; readonly isNeeded: boolean; readonly bytes: readonly number[] }[] = [
	// () -> v128: v128.const, all zeros.
	{ name: "SIMD", isNeeded: true, bytes: [...moduleOf("7b"), ...code([0xfd, 0x0c, ...new Array<number>(16).fill(0)])] },
	// A shared memory of one page, which also needs atomics.
	{ name: "threads", isNeeded: true, bytes: [...header(), 0x05, 0x04, 0x01, 0x03, 0x01, 0x01] },
	// () -> (): return_call 0.
	{ name: "tail calls", isNeeded: true, bytes: [...moduleOf(""), ...code([0x12, 0x00])] },
	// () -> i32: i32.const 0, i32.extend8_s.
	{ name: "sign extension", isNeeded: true, bytes: [...moduleOf("7f"), ...code([0x41, 0x00, 0xc0])] },
	// Memory 0 and memory 1.
	{ name: "multiple memories", isNeeded: false, bytes: [...header(), 0x05, 0x05, 0x02, 0x00, 0x01, 0x00, 0x01] },
	// A 64-bit memory of one page.
	{ name: "64-bit memory", isNeeded: false, bytes: [...header(), 0x05, 0x03, 0x01, 0x04, 0x01] },
	// () -> v128: three v128.const 0, f32x4.relaxed_madd.
	{
		name: "relaxed SIMD",
		isNeeded: false,
		bytes: [...moduleOf("7b"), ...code([...[0, 0, 0].flatMap(() => [0xfd, 0x0c, ...new Array<number>(16).fill(0)]), 0xfd, 0x85, 0x02])],
	},
];

function header(): number[] {
	return [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
}

/** Header, the type () -> `result` (a value type in hexadecimal, or nothing), and one function of that type. */
function moduleOf(result: string): number[] {
	const results = result === "" ? [0x00] : [0x01, Number.parseInt(result, 16)];
	return [...header(), 0x01, 3 + results.length, 0x01, 0x60, 0x00, ...results, 0x03, 0x02, 0x01, 0x00];
}

function code(body: readonly number[]): number[] {
	const size = body.length + 2;
	return [0x0a, size + 2, 0x01, size, 0x00, ...body, 0x0b];
}

/** `basenji doctor`: what this host can do, and why not. Resolves with the exit code: 1 if something needed is missing. */
export function doctor(isJson: boolean): number {
	const findings = [...nodeFindings(), ...wasmFindings(), ...hostFindings(), ...toolFindings()];
	const isHealthy = findings.every(({ verdict }) => verdict !== "missing");
	if (isJson) printJson({ isHealthy, findings });
	else {
		for (const { name, verdict, detail, remedy } of findings) {
			const mark = { ok: "ok     ", missing: "MISSING", optional: "no     " }[verdict];
			process.stdout.write(`${mark}  ${name}: ${detail}${remedy === undefined ? "" : ` → ${remedy}`}\n`);
		}
		process.stdout.write(isHealthy ? "\nEverything needed is here.\n" : "\nSomething needed is missing, see above.\n");
	}
	return isHealthy ? 0 : 1;
}

function nodeFindings(): Finding[] {
	const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
	const isNew = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
	const detail = `${process.versions.node} on ${process.platform} ${process.arch}`;
	return [
		isNew
			? { name: "Node", verdict: "ok", detail }
			: {
					name: "Node",
					verdict: "missing",
					detail,
					remedy: `run through npm (npm start), or install Node ${OLDEST_NODE.join(".")} or newer`,
				},
	];
}

function wasmFindings(): Finding[] {
	return WASM_FEATURES.map(({ name, isNeeded, bytes }) => {
		if (WebAssembly.validate(Uint8Array.from(bytes))) return { name: `WebAssembly ${name}`, verdict: "ok", detail: "there" };
		return isNeeded
			? { name: `WebAssembly ${name}`, verdict: "missing", detail: "this Node lacks it", remedy: "use a newer Node" }
			: { name: `WebAssembly ${name}`, verdict: "optional", detail: "this Node lacks it; nothing depends on it" };
	});
}

function hostFindings(): Finding[] {
	const limit = process.constrainedMemory();
	const memory = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
	const mebibytes = (bytes: number): string => `${Math.floor(bytes / 1024 ** 2)}M`;
	return [
		{ name: "processors", verdict: "ok", detail: String(availableParallelism()) },
		{ name: "memory", verdict: "ok", detail: `${mebibytes(memory)}, ${mebibytes(freemem())} of it free` },
		kvmFinding(),
	];
}

function kvmFinding(): Finding {
	const name = "/dev/kvm";
	if (!existsSync(name)) return { name, verdict: "optional", detail: "not there; needed for nothing but --engine kvm" };
	try {
		accessSync(name, constants.R_OK | constants.W_OK);
		return { name, verdict: "ok", detail: "may be opened" };
	} catch {
		return { name, verdict: "optional", detail: "may not be opened by this user", remedy: "join the group kvm" };
	}
}

/** Tools by what they are for. None is needed to run files of one's own. */
function toolFindings(): Finding[] {
	const isRoot = process.getuid?.() === 0;
	const uses: readonly { readonly tool: string; readonly use: string }[] = [
		...["apt-get", "apt-cache", "apt-config", "dpkg-deb"].map((tool) => ({ tool, use: "image build" })),
		...["mmdebstrap", "mke2fs", "tar", ...(isRoot ? [] : ["fakeroot", "newuidmap"])].map((tool) => ({
			tool,
			use: "image build debian-full",
		})),
		{ tool: "xz", use: "image build with kernels that have compressed modules" },
	];
	return uses.map(({ tool, use }) => {
		const path = findTool(tool);
		if (path !== undefined) return { name: tool, verdict: "ok", detail: `${path}, for ${use}` };
		return {
			name: tool,
			verdict: "optional",
			detail: `not there; needed for ${use}`,
			remedy: `apt-get install ${PACKAGE_OF_TOOL[tool] ?? tool}`,
		};
	});
}
