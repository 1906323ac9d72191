import { expect, test } from "vitest";
import type { CompiledRow } from "./table.ts";
import { lookups64, lookupsLegacy, rows } from "./table.ts";

const reachable = (lookups: typeof lookups64) =>
	new Set(lookups.flatMap(({ cells }) => cells.filter((cell): cell is CompiledRow => cell !== undefined).map(({ row }) => row)));

test("every row has its place and its number", () => {
	const seen = new Set([...reachable(lookups64), ...reachable(lookupsLegacy)]);
	expect(rows.filter((row) => !seen.has(row))).toEqual([]);
	rows.forEach((row, index) => {
		expect(row.id).toBe(index);
	});
});

test("rows carry what engines ask", () => {
	const find = (mnemonic: string, operands: string) => rows.find((row) => row.mnemonic === mnemonic && row.operands.join() === operands);
	expect(find("ADD", "Ev,Gv")).toMatchObject({ lockable: true, flow: "none", unit: "int", feature: "base", cpl0: false });
	expect(find("ADD", "Gv,Ev")).toMatchObject({ lockable: false });
	expect(find("MOVAPS", "Vps,Wps")).toMatchObject({ unit: "sse", feature: "sse", aligned: true });
	expect(find("MOVUPS", "Vps,Wps")).toMatchObject({ aligned: false });
	expect(find("CMPXCHG16B", "Mdq")).toMatchObject({ aligned: true, lockable: true, feature: "cx16" });
	expect(find("PADDB", "Pq,Qq")).toMatchObject({ unit: "mmx", feature: "mmx" });
	expect(find("CVTPI2PS", "Vq,Qq")).toMatchObject({ unit: "sse" });
	expect(find("FADD", "Md")).toMatchObject({ unit: "x87", feature: "fpu" });
	expect(find("HLT", "")).toMatchObject({ cpl0: true, flow: "sys" });
	expect(find("JMPF", "Mp")).toMatchObject({ flow: "far" });
	expect(find("MOV", "Cn,Rn")).toMatchObject({ cpl0: true, flow: "sys" });
});

test("far control, interrupts and branches end a block", () => {
	const flowOf = (mnemonic: string) => new Set(rows.filter((row) => row.mnemonic === mnemonic).map(({ flow }) => flow));
	for (const [mnemonic, flow] of [
		["JCC", "jcc"],
		["LOOP", "jcc"],
		["JCXZ", "jcc"],
		["JMP", "jmp"],
		["CALL", "call"],
		["RET", "ret"],
		["CALLF", "far"],
		["IRET", "far"],
		["SYSCALL", "far"],
		["INT3", "int"],
		["UD2", "int"],
	] as const)
		expect(flowOf(mnemonic), mnemonic).toEqual(new Set([flow]));
});
