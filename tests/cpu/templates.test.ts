import { expect, test } from "vitest";
import { decode, type Row, rows } from "../../src/x86/decode/index.ts";
import { MODES } from "./format.ts";
import { type Encoding, templatesOf } from "./templates.ts";

/** Rows that generated code leaves out on purpose: see EXCLUDED and FEATURES in templates.ts. */
const LEFT_OUT =
	/^(SLDT|STR|SGDT|SIDT|SMSW|VM\w+|INV\w+|MONITOR|MWAIT|CLAC|STAC|XGETBV|XSETBV|STGI|CLGI|SKINIT|SWAPGS|RDTSCP?|RDPMC|SYS\w+|GETSEC|CPUID|RSM|XSAVE\w*|XRSTORS?|CLWB|CLFLUSHOPT|RD[FG]SBASE|WR[FG]SBASE|TZCNT|LZCNT|RDRAND|RDSEED|RDPID|MOVBE|INT1|UD0)$/;

function* encodingsOf(encoding: Encoding): Generator<number[]> {
	const head = [...encoding.prefixes, ...(encoding.rex !== 0 ? [0x40 | encoding.rex] : []), ...encoding.opcode];
	if (encoding.modRm === undefined) {
		yield head;
		return;
	}
	const { regMask, rmMask, isMemory } = encoding.modRm;
	for (let reg = 0; reg < 8; reg++)
		for (let rm = 0; rm < 8; rm++)
			if ((regMask & (1 << reg)) !== 0 && (rmMask & (1 << rm)) !== 0 && (!isMemory || rm === 0))
				yield [...head, (isMemory ? 0 : 0xc0) | (reg << 3) | rm];
}

test("generated code reaches every opcode row but those left out on purpose", () => {
	const reached = new Set<Row>();
	for (const mode of MODES)
		for (const { encodings } of templatesOf(mode))
			for (const encoding of encodings)
				for (const bytes of encodingsOf(encoding)) {
					const code = new Uint8Array(32);
					code.set(bytes);
					const decoded = decode(code, 0, code.length, mode);
					if (decoded.fault === undefined) reached.add(decoded.row);
				}
	const missed = rows.filter((row) => !reached.has(row) && !LEFT_OUT.test(row.mnemonic));
	expect(missed.map(({ mnemonic, map, opcode }) => `${mnemonic} ${map} ${opcode.toString(16)}`)).toEqual([]);
});
