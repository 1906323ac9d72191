import type { KeptCode } from "../kept-code.ts";
import { PATTERNS_BYTES } from "./decoded-area.ts";
import type { HandlerFactory } from "./handlers.ts";
import type { Patterns } from "./patterns.ts";

/** What was kept: a module of handlers for each time that something new was learnt, and the patterns, which name those handlers by their slots. */
interface Learnt {
	readonly bytes: readonly Uint8Array[];
	readonly modules: readonly WebAssembly.Module[];
	readonly patterns: Uint8Array;
}

/** As few new handlers as this are not worth writing everything anew. */
const MIN_NEW_HANDLERS = 16;
/** When so many modules are full of handlers, most of them for other guests, the next run begins with nothing. */
const MAX_MODULES = 8;
const MAX_PATTERNS_BYTES = (PATTERNS_BYTES / 8) * 7;

/** Compiled once for all machines of a process. */
const recalled = new WeakMap<KeptCode, Learnt>();

/**
 * An interpreter begins with what earlier ones have learnt: the handlers of the instructions that they met, and the patterns by which generated code
 * decodes them. Both follow from the sources and an instruction's bytes alone, so nobody can tell but by the time it takes (docs/decisions/0017).
 */
export class Learning {
	readonly #kept: KeptCode;
	readonly #name: string;
	readonly #handlers: HandlerFactory;
	readonly #patterns: Patterns;
	readonly #begun: Learnt;

	/** The interpreter has met no instruction yet. */
	constructor(kept: KeptCode, isNamed: boolean, handlers: HandlerFactory, patterns: Patterns) {
		this.#kept = kept;
		this.#name = isNamed ? "learnt-named" : "learnt";
		this.#handlers = handlers;
		this.#patterns = patterns;
		this.#begun = this.#recall();
		handlers.remember();
		if (this.#begun.modules.length === 0) return;
		handlers.adopt(this.#begun.modules);
		if (this.#begun.patterns.length > 0) patterns.load(this.#begun.patterns);
	}

	#recall(): Learnt {
		const known = recalled.get(this.#kept);
		if (known !== undefined) return known;
		const kept = this.#kept.read(this.#name);
		const [patterns = new Uint8Array(), ...bytes] = kept === undefined ? [] : unpack(kept);
		const learnt = { patterns, bytes, modules: bytes.map((each) => new WebAssembly.Module(each)) };
		recalled.set(this.#kept, learnt);
		return learnt;
	}

	/** Keeps what has been learnt since, if that is worth it. */
	keep(): void {
		const { bytes, patterns } = this.#begun;
		// Patterns that leave little room would be in the way of another guest's: those that this run began with stay.
		const leaveRoom = this.#patterns.usedBytes <= MAX_PATTERNS_BYTES;
		const isNew =
			this.#handlers.madeCount >= MIN_NEW_HANDLERS || (leaveRoom && patterns.length === 0 && this.#handlers.count >= MIN_NEW_HANDLERS);
		if (!isNew) return;
		const parts = [leaveRoom ? this.#patterns.save() : patterns, ...bytes, this.#handlers.made()];
		this.#kept.write(this.#name, [pack(bytes.length < MAX_MODULES ? parts : [])]);
		recalled.delete(this.#kept);
	}
}

/** Parts one after another, each behind its length. */
function pack(parts: readonly Uint8Array[]): Uint8Array {
	const packed = new Uint8Array(parts.reduce((sum, { length }) => sum + 4 + length, 0));
	const view = new DataView(packed.buffer);
	let at = 0;
	for (const part of parts) {
		view.setUint32(at, part.length, true);
		packed.set(part, at + 4);
		at += 4 + part.length;
	}
	return packed;
}

function unpack(packed: Uint8Array): Uint8Array[] {
	const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
	const parts: Uint8Array[] = [];
	for (let at = 0; at < packed.length; ) {
		const length = view.getUint32(at, true);
		parts.push(packed.subarray(at + 4, at + 4 + length));
		at += 4 + length;
	}
	return parts;
}
