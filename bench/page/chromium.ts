import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GuestReport } from "./measure.ts";
import { servePage } from "./server.ts";

/** Where Debian's package chromium puts it. */
const CHROMIUM = "/usr/bin/chromium";

/** Files, and after them what the machine is told. */
export interface PageGuest {
	readonly kernel: string;
	readonly initrd: string;
	readonly append: string;
	readonly memory: string;
}

export interface PageOptions {
	readonly timeoutMs: number;
	/** For V8, as --js-flags gives them: a page itself has no way to set them. */
	readonly jsFlags?: string | undefined;
}

/** Why there is no browser to be had; undefined: there is one. */
export function chromiumMissing(): string | undefined {
	try {
		accessSync(CHROMIUM, constants.X_OK);
		return undefined;
	} catch {
		return `no ${CHROMIUM} on this host (Debian's package chromium)`;
	}
}

/** Runs the bench's guest in a page of its own. @throws Error with what the page said, or the browser */
export async function runInPage(guest: PageGuest, options: PageOptions): Promise<GuestReport> {
	return (await runScript("bench/page/client.ts", guest, options)) as GuestReport;
}

/**
 * Runs a script of the project's in a page of its own in a browser of its own, and answers what it posts to "report". It finds the guest,
 * as JSON, in its address.
 * @throws Error with the page's `error`, or the browser's
 */
export async function runScript(script: string, guest: PageGuest, options: PageOptions): Promise<unknown> {
	const profile = await mkdtemp(join(tmpdir(), "basenji-chromium-"));
	const query = encodeURIComponent(JSON.stringify({ ...guest, kernel: "files/kernel", initrd: "files/initrd" }));
	await using server = await servePage(
		`<!doctype html><meta charset="utf-8"><title>Basenji</title><script type="module" src="${script}?guest=${query}"></script>`,
	);
	server.offer("files/kernel", guest.kernel);
	server.offer("files/initrd", guest.initrd);
	const child = startChromium(profile, server.url, options.jsFlags);
	let complaints = "";
	child.stderr?.setEncoding("utf8").on("data", (text: string) => {
		complaints = (complaints + text).slice(-2000);
	});
	const ended = new Promise<never>((_, reject) => {
		child.on("error", reject);
		child.on("close", (code) => reject(new Error(`${CHROMIUM} ended with ${code}: ${complaints}`)));
	});
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(
			() => reject(new Error(`${options.timeoutMs / 1000} s passed without a report from the page: ${complaints}`)),
			options.timeoutMs,
		);
	});
	try {
		const report = (await Promise.race([server.report(), ended, late])) as { readonly error?: string };
		if (report.error !== undefined) throw new Error(`the page: ${report.error}`);
		return report;
	} finally {
		clearTimeout(timer);
		ended.catch(() => {});
		if (child.exitCode === null) {
			const closed = new Promise((resolve) => child.on("close", resolve));
			// Its renderers are of its process group.
			process.kill(-(child.pid as number), "SIGKILL");
			await closed;
		}
		await rm(profile, { recursive: true, force: true, maxRetries: 5 });
	}
}

function startChromium(profile: string, url: string, jsFlags: string | undefined): ChildProcess {
	return spawn(
		CHROMIUM,
		[
			...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
			...["--disable-component-update", "--disable-sync", `--user-data-dir=${profile}`],
			...(jsFlags === undefined ? [] : [`--js-flags=${jsFlags}`]),
			url,
		],
		{ stdio: ["ignore", "ignore", "pipe"], detached: true },
	);
}
