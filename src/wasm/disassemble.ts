import { OP, TYPE_CODE } from "./opcodes.ts";

/** What a function's text calls things by. */
export interface Names {
	local(n: number): string;
	call(index: number): string;
}

/** Instructions by code, as `OP` calls them. */
const NAMES = new Map<number, string>(Object.entries(OP).map(([name, code]) => [code, name]));
const TYPES = new Map<number, string>(Object.entries(TYPE_CODE).map(([name, code]) => [code, name]));

const EMPTY_BLOCK = 0x40;
/** A statement ends with one of these: the next instruction stands on a line of its own. */
const ENDS_LINE: ReadonlySet<number> = new Set<number>([
	...[OP.unreachable, OP.block, OP.loop, OP.if, OP.else, OP.end, OP.br, OP.brIf, OP.brTable, OP.return, OP.returnCall],
	...[OP.returnCallIndirect, OP.drop, OP.localSet, OP.globalSet, OP.memoryCopy, OP.memoryFill],
]);

/** Reads bytes as WebAssembly writes numbers (WebAssembly Core 2.0 §5.2.2, "Integers"). */
class Reader {
	readonly #bytes: Uint8Array;
	at = 0;

	constructor(bytes: Uint8Array) {
		this.#bytes = bytes;
	}

	get isAtEnd(): boolean {
		return this.at >= this.#bytes.length;
	}

	u8(): number {
		const byte = this.#bytes[this.at++];
		if (byte === undefined) throw new RangeError("the code ends within an instruction");
		return byte;
	}

	unsigned(): number {
		let value = 0;
		for (let shift = 0; ; shift += 7) {
			const byte = this.u8();
			value += (byte & 0x7f) * 2 ** shift;
			if (byte < 0x80) return value;
		}
	}

	signed(): bigint {
		let value = 0n;
		for (let shift = 0n; ; shift += 7n) {
			const byte = this.u8();
			value |= BigInt(byte & 0x7f) << shift;
			if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value);
		}
	}

	take(count: number): Uint8Array {
		this.at += count;
		return this.#bytes.subarray(this.at - count, this.at);
	}
}

/** One instruction and what follows from it for the lines of the text. */
interface Read {
	readonly text: string;
	readonly opcode: number;
}

function readInstruction(code: Reader, names: Names): Read {
	let opcode = code.u8();
	if (opcode >= 0xfc) opcode = (opcode << 12) | code.unsigned();
	const name = NAMES.get(opcode);
	if (name === undefined) throw new RangeError(`no instruction has the code 0x${opcode.toString(16)}`);
	return { opcode, text: `${name}${immediates(code, opcode, names)}` };
}

function immediates(code: Reader, opcode: number, names: Names): string {
	switch (opcode) {
		case OP.block:
		case OP.loop:
		case OP.if: {
			const type = code.u8();
			return type === EMPTY_BLOCK ? "" : ` ${TYPES.get(type)}`;
		}
		case OP.br:
		case OP.brIf:
		case OP.globalGet:
		case OP.globalSet:
			return ` ${code.unsigned()}`;
		case OP.brTable: {
			const targets = Array.from({ length: code.unsigned() + 1 }, () => code.unsigned());
			return ` ${targets.join(" ")}`;
		}
		case OP.call:
		case OP.returnCall:
			return ` ${names.call(code.unsigned())}`;
		case OP.callIndirect:
		case OP.returnCallIndirect:
			return ` type${code.unsigned()} table${code.unsigned()}`;
		case OP.localGet:
		case OP.localSet:
		case OP.localTee:
			return ` ${names.local(code.unsigned())}`;
		case OP.i32Const:
		case OP.i64Const:
			return ` ${constant(code.signed())}`;
		case OP.f32Const:
		case OP.f64Const: {
			const bytes = code.take(opcode === OP.f32Const ? 4 : 8);
			const view = new DataView(bytes.buffer, bytes.byteOffset);
			return ` ${opcode === OP.f32Const ? view.getFloat32(0, true) : view.getFloat64(0, true)}`;
		}
		case OP.memoryCopy:
			code.take(2);
			return "";
		case OP.memoryFill:
			code.take(1);
			return "";
		case OP.v128Const:
		case OP.i8x16Shuffle:
			return ` ${[...code.take(16)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
		default:
			return isMemory(opcode) ? memory(code) : isLane(opcode) ? ` ${code.u8()}` : "";
	}
}

/** Small numbers as they are, masks and addresses in hexadecimal. */
function constant(value: bigint): string {
	if (value > -1024n && value < 1024n) return String(value);
	return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

function memory(code: Reader): string {
	code.unsigned();
	return ` +${code.unsigned()}`;
}

function isMemory(opcode: number): boolean {
	if (opcode < 0x100) return opcode >= OP.i32Load && opcode <= OP.i64Store32;
	return (
		(opcode >= OP.v128Load && opcode <= OP.v128Store) ||
		opcode === OP.v128Load32Zero ||
		opcode === OP.v128Load64Zero ||
		opcode >> 12 === 0xfe
	);
}

const isLane = (opcode: number): boolean => /Lane/.test(NAMES.get(opcode) ?? "");
const isStore = (opcode: number): boolean => /Store/.test(NAMES.get(opcode) ?? "");

/** A function's code (what follows the declarations of its locals) as text: a statement a line, blocks indented. */
export function disassemble(bytes: Uint8Array, names: Names): string {
	const code = new Reader(bytes);
	const lines: string[] = [];
	let line: string[] = [];
	let depth = 0;
	const endLine = () => {
		if (line.length > 0) lines.push(`${"\t".repeat(Math.max(depth, 0))}${line.join(", ")}`);
		line = [];
	};
	while (!code.isAtEnd) {
		const { text, opcode } = readInstruction(code, names);
		if (opcode === OP.end || opcode === OP.else) {
			endLine();
			depth--;
		}
		line.push(text);
		if (ENDS_LINE.has(opcode) || isStore(opcode)) endLine();
		if (opcode === OP.block || opcode === OP.loop || opcode === OP.if || opcode === OP.else) depth++;
	}
	endLine();
	return `${lines.join("\n")}\n`;
}
