import { assert } from "../base/assert.ts";
import { ByteSink } from "./byte-sink.ts";
import type { FunctionBody } from "./function-code.ts";
import { TYPE_CODE, type ValueType } from "./opcodes.ts";
import { giveBack, takeSink } from "./value-writer.ts";

const UNLIKELY = 0;

/**
 * Assembles a module (WebAssembly Core 2.0 §5.5, "Modules"). Function imports come before functions; both are called by
 * the numbers that `importFunction` and `declare` return.
 */
export class ModuleBuilder {
	readonly #types: string[] = [];
	readonly #typeBytes: ByteSink[] = [];
	readonly #imports = new ByteSink();
	#importCount = 0;
	#functionImports = 0;
	readonly #functionTypes: number[] = [];
	readonly #bodies: (FunctionBody | undefined)[] = [];
	readonly #exports: { name: string; index: number }[] = [];
	readonly #names: { name: string; index: number }[] = [];

	type(params: readonly ValueType[], result?: ValueType): number {
		const key = `${params.join()}>${result ?? ""}`;
		const known = this.#types.indexOf(key);
		if (known >= 0) return known;
		const bytes = new ByteSink();
		bytes.u8(0x60);
		bytes.u32(params.length);
		for (const param of params) bytes.u8(TYPE_CODE[param]);
		bytes.u32(result === undefined ? 0 : 1);
		if (result !== undefined) bytes.u8(TYPE_CODE[result]);
		this.#types.push(key);
		this.#typeBytes.push(bytes);
		return this.#types.length - 1;
	}

	#import(module: string, name: string): ByteSink {
		this.#imports.name(module);
		this.#imports.name(name);
		this.#importCount++;
		return this.#imports;
	}

	/** A shared memory of so many pages of 64 KiB, or up to `maxPages` of them. */
	importMemory(module: string, name: string, pages: number, maxPages = pages): void {
		const sink = this.#import(module, name);
		sink.u8(2);
		sink.u8(3);
		sink.u32(pages);
		sink.u32(maxPages);
	}

	importTable(module: string, name: string): void {
		const sink = this.#import(module, name);
		sink.u8(1);
		sink.u8(0x70);
		sink.u8(0);
		sink.u32(0);
	}

	importFunction(module: string, name: string, params: readonly ValueType[], result?: ValueType): number {
		assert(this.#functionTypes.length === 0, "imports come before functions");
		const type = this.type(params, result);
		const sink = this.#import(module, name);
		sink.u8(0);
		sink.u32(type);
		return this.#functionImports++;
	}

	/** Reserves a number for a function whose body comes later (`define`). */
	declare(params: readonly ValueType[], result?: ValueType): number {
		this.#functionTypes.push(this.type(params, result));
		this.#bodies.push(undefined);
		return this.#functionImports + this.#functionTypes.length - 1;
	}

	define(index: number, body: FunctionBody): void {
		this.#bodies[index - this.#functionImports] = body;
	}

	function(body: FunctionBody): number {
		const index = this.declare(body.paramTypes, body.resultType);
		this.define(index, body);
		return index;
	}

	export(name: string, index: number): void {
		this.#exports.push({ name, index });
	}

	/** What profilers and debuggers call a function (the name section); in order of their numbers. */
	nameFunction(index: number, name: string): void {
		this.#names.push({ name, index });
	}

	finish(): Uint8Array {
		const out = takeSink();
		out.raw([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
		this.#section(out, 1, this.#typeBytes.length, (sink) => {
			for (const type of this.#typeBytes) sink.append(type);
		});
		this.#section(out, 2, this.#importCount, (sink) => sink.append(this.#imports));
		this.#section(out, 3, this.#functionTypes.length, (sink) => {
			for (const type of this.#functionTypes) sink.u32(type);
		});
		this.#section(out, 7, this.#exports.length, (sink) => {
			for (const { name, index } of this.#exports) {
				sink.name(name);
				sink.u8(0);
				sink.u32(index);
			}
		});
		const code = takeSink();
		code.u32(this.#bodies.length);
		const unlikely = this.#bodies.map((body) => {
			assert(body !== undefined, "a declared function has no body");
			return body.finish(code);
		});
		this.#branchHints(out, unlikely);
		out.u8(10);
		out.u32(code.length);
		out.append(code);
		giveBack(code);
		if (this.#names.length > 0) this.#nameSection(out);
		const bytes = out.take();
		giveBack(out);
		return bytes;
	}

	/** Branch Hinting proposal, "Branch Hint Section": functions by number, and for each the places of its branches with a hint. */
	#branchHints(out: ByteSink, unlikely: readonly (readonly number[])[]): void {
		const hinted = unlikely.flatMap((places, n) => (places.length > 0 ? [{ places, index: this.#functionImports + n }] : []));
		if (hinted.length === 0) return;
		const content = takeSink();
		content.name("metadata.code.branch_hint");
		content.u32(hinted.length);
		for (const { places, index } of hinted) {
			content.u32(index);
			content.u32(places.length);
			for (const place of places) {
				content.u32(place);
				content.pair(1, UNLIKELY);
			}
		}
		out.u8(0);
		out.u32(content.length);
		out.append(content);
		giveBack(content);
	}

	/** WebAssembly Core 2.0 §7.4.1, "Name Section": subsection 1 has the functions' names. */
	#nameSection(out: ByteSink): void {
		const map = new ByteSink();
		map.u32(this.#names.length);
		for (const { name, index } of this.#names) {
			map.u32(index);
			map.name(name);
		}
		const content = new ByteSink();
		content.name("name");
		content.u8(1);
		content.u32(map.length);
		content.append(map);
		out.u8(0);
		out.u32(content.length);
		out.append(content);
	}

	#section(out: ByteSink, id: number, count: number, write: (sink: ByteSink) => void): void {
		if (count === 0) return;
		const sink = new ByteSink();
		sink.u32(count);
		write(sink);
		out.u8(id);
		out.u32(sink.length);
		out.append(sink);
	}
}
