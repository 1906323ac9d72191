import { beforeEach, describe, expect, test } from "vitest";
import { EXIT } from "../state/layout.ts";
import { DONE, X87Fixture } from "./x87-fixture.ts";

const CR0 = { PE: 1, MP: 2, EM: 4, TS: 8, ET: 16, NE: 32 } as const;
const FSW = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 16, PE: 32, SF: 64, ES: 128, C1: 0x200, B: 0x8000 } as const;
const ONE = "3fff:8000000000000000";
const INDEFINITE = "ffff:c000000000000000";

const cpu = new X87Fixture();
const compiled = new Map<string, () => number>();

/** Runs an instruction; its way out. */
function run(...code: number[]): number {
	const key = code.join();
	let handler = compiled.get(key);
	if (handler === undefined) {
		handler = cpu.compile(code);
		compiled.set(key, handler);
	}
	return handler();
}

const FADD_ST0_ST1 = [0xd8, 0xc1];
const FSTP_M64 = [0xdd, 0x1b];
const FNSTENV = [0xd9, 0x33];

beforeEach(() => {
	cpu.set("cr0", CR0.PE | CR0.ET | CR0.NE);
	cpu.set("flags", 2);
	cpu.allowStores(true);
	run(0xdb, 0xe3);
});

/** The stack from ST(0) down, the rest empty. */
function stack(...values: string[]): void {
	cpu.set("ftop", 8 - values.length);
	cpu.set("ftagValid", (0xff00 >> values.length) & 0xff);
	for (const [i, value] of values.entries()) cpu.setRegister(i, value);
}

describe("arithmetic", () => {
	test("a tie goes to the even neighbour, C1 says which way", () => {
		stack("403e:8000000000000001", "3ffe:8000000000000000");
		expect(run(...FADD_ST0_ST1)).toBe(DONE);
		expect(cpu.register(0)).toBe("403e:8000000000000002");
		expect(cpu.get("fsw")).toBe(FSW.PE | FSW.C1);
		stack("403e:8000000000000002", "3ffe:8000000000000000");
		run(...FADD_ST0_ST1);
		expect(cpu.register(0)).toBe("403e:8000000000000002");
		expect(cpu.get("fsw")).toBe(FSW.PE);
	});

	test("precision control narrows the significand, not the exponent", () => {
		cpu.set("fcw", 0x27f);
		stack("7ff0:8000000000000000", "3fff:aaaaaaaaaaaaaaaa");
		run(0xd8, 0xc9);
		expect(cpu.register(0)).toBe("7ff0:aaaaaaaaaaaaa800");
		cpu.set("fcw", 0x07f);
		stack("7ff0:8000000000000000", "3fff:aaaaaaaaaaaaaaaa");
		run(0xd8, 0xc9);
		expect(cpu.register(0)).toBe("7ff0:aaaaab0000000000");
	});

	test("1 / 3 and the square root of 2", () => {
		stack(ONE, "4000:c000000000000000");
		run(0xd8, 0xf1);
		expect(cpu.register(0)).toBe("3ffd:aaaaaaaaaaaaaaab");
		stack("4000:8000000000000000");
		run(0xd9, 0xfa);
		expect(cpu.register(0)).toBe("3fff:b504f333f9de6484");
	});

	test("of two NaNs the larger significand survives, quieted; SNaN is invalid", () => {
		stack("7fff:8000000000000005", "ffff:8000000000000006");
		run(...FADD_ST0_ST1);
		expect(cpu.register(0)).toBe("ffff:c000000000000006");
		expect(cpu.get("fsw")).toBe(FSW.IE);
	});

	test("an unnormal is no number", () => {
		stack("4000:4000000000000000", ONE);
		run(...FADD_ST0_ST1);
		expect(cpu.register(0)).toBe(INDEFINITE);
	});

	test("a pseudo-denormal counts as the smallest exponent", () => {
		stack("0000:8000000000000000", "8001:8000000000000000");
		run(...FADD_ST0_ST1);
		expect(cpu.register(0)).toBe("0000:0000000000000000");
		expect(cpu.get("fsw")).toBe(FSW.DE);
	});

	test("unmasked overflow delivers the value with 24576 taken from its exponent", () => {
		cpu.set("fcw", 0x377);
		stack("7ffe:8000000000000000", "7ffe:8000000000000000");
		run(...FADD_ST0_ST1);
		expect(cpu.register(0)).toBe("1fff:8000000000000000");
		expect(cpu.get("fsw")).toBe(FSW.OE | FSW.ES | FSW.B);
	});
});

describe("the register stack", () => {
	test("a push onto a full register: indefinite, C1", () => {
		cpu.set("ftagValid", 0xff);
		run(0xd9, 0xe8);
		expect(cpu.register(0)).toBe(INDEFINITE);
		expect(cpu.get("fsw")).toBe(FSW.IE | FSW.SF | FSW.C1);
		expect(cpu.get("ftop")).toBe(7);
	});

	test("the same unmasked leaves everything in place", () => {
		cpu.set("fcw", 0x37e);
		cpu.set("ftagValid", 0xff);
		run(0xd9, 0xe8);
		expect(cpu.get("ftop")).toBe(0);
		expect(cpu.get("fsw")).toBe(FSW.IE | FSW.SF | FSW.C1 | FSW.ES | FSW.B);
	});

	test("FXCH with an empty register fills it first", () => {
		stack(ONE);
		run(0xd9, 0xc9);
		expect([cpu.register(0), cpu.register(1)]).toEqual([INDEFINITE, ONE]);
	});
});

describe("stores", () => {
	test("where the page needs the slow path, the value still arrives before the pop", () => {
		cpu.allowStores(false);
		stack("4000:c000000000000000");
		expect(run(...FSTP_M64)).toBe(DONE);
		expect(cpu.data.getFloat64(0, true)).toBe(3);
		expect(cpu.get("ftagValid")).toBe(0);
	});

	test("80 bits by the slow path", () => {
		cpu.allowStores(false);
		stack("c001:a000000000000000");
		expect(run(0xdb, 0x3b)).toBe(DONE);
		expect(cpu.data.getBigUint64(0, true)).toBe(0xa000_0000_0000_0000n);
		expect(cpu.data.getUint16(8, true)).toBe(0xc001);
		expect(cpu.get("ftagValid")).toBe(0);
	});

	test("an unmasked overflow keeps memory and stack", () => {
		cpu.set("fcw", 0x377);
		cpu.data.setFloat64(0, 7, true);
		stack("7000:8000000000000000");
		run(...FSTP_M64);
		expect(cpu.data.getFloat64(0, true)).toBe(7);
		expect(cpu.get("ftagValid")).toBe(0x80);
		expect(cpu.get("fsw")).toBe(FSW.OE | FSW.ES | FSW.B);
	});

	test("FISTP follows RC, FISTTP never", () => {
		for (const [rc, result] of [
			[0x000, 2],
			[0x400, 2],
			[0x800, 3],
			[0xc00, 2],
		] as const) {
			cpu.set("fcw", 0x37f | rc);
			stack("4000:a000000000000000", "4000:a000000000000000");
			run(0xdb, 0x1b);
			expect(cpu.data.getInt32(0, true)).toBe(result);
			run(0xdb, 0x0b);
			expect(cpu.data.getInt32(0, true)).toBe(2);
		}
	});

	test("FBSTP writes eighteen digits, FBLD reads them", () => {
		stack("c03a:de0b6b3a763ffff0");
		run(0xdf, 0x33);
		const bytes = Array.from({ length: 10 }, (_, i) => cpu.data.getUint8(i));
		expect(bytes).toEqual([...new Array(9).fill(0x99), 0x80]);
		run(0xdf, 0x23);
		expect(cpu.register(0)).toBe("c03a:de0b6b3a763ffff0");
	});
});

describe("transcendental functions are rounded right", () => {
	const cases: readonly (readonly [string, number, string[], string])[] = [
		["sin 1", 0xfe, [ONE], "3ffe:d76aa47848677021"],
		["cos 1", 0xff, [ONE], "3ffe:8a51407da8345c92"],
		["atan 1/2", 0xf3, ["4000:8000000000000000", ONE], "3ffd:ed63382b0dda7b45"],
		["log2 10", 0xf1, ["4002:a000000000000000", ONE], "4000:d49a784bcd1b8afe"],
		["log2 (1 + 1/4)", 0xf9, ["3ffd:8000000000000000", ONE], "3ffd:a4d3c25e68dc57f2"],
		["2^1/2 - 1", 0xf0, ["3ffe:8000000000000000"], "3ffd:d413cccfe7799211"],
	];
	test.each(cases)("%s", (_name, code, operands, result) => {
		stack(...operands);
		expect(run(0xd9, code)).toBe(DONE);
		expect(cpu.register(0)).toBe(result);
		expect(cpu.get("fsw") & ~FSW.C1).toBe(FSW.PE);
	});

	test("sin π shows the 66-bit π of hardware", () => {
		stack("4000:c90fdaa22168c235");
		run(0xd9, 0xfe);
		expect(cpu.register(0)).toBe("bfbf:8000000000000000");
	});

	test("arguments from 2^63 are refused with C2", () => {
		stack("403e:8000000000000000");
		run(0xd9, 0xfe);
		expect(cpu.register(0)).toBe("403e:8000000000000000");
		expect(cpu.get("fsw")).toBe(0x400);
	});
});

describe("what stops an instruction", () => {
	const fault = (...code: number[]): number | undefined => (run(...code) === EXIT.fault ? cpu.get("faultVector") : undefined);
	const pend = () => cpu.set("fsw", FSW.IE | FSW.ES | FSW.B);

	test("#NM by CR0.TS or CR0.EM, control instructions included", () => {
		for (const bit of [CR0.TS, CR0.EM]) {
			cpu.set("cr0", CR0.PE | CR0.NE | bit);
			for (const code of [FADD_ST0_ST1, [0xdb, 0xe3], [0xdf, 0xe0], FNSTENV, FSTP_M64]) expect(fault(...code)).toBe(7);
		}
	});

	test("FWAIT: #NM only with TS and MP", () => {
		cpu.set("cr0", CR0.PE | CR0.NE | CR0.TS);
		expect(fault(0x9b)).toBeUndefined();
		cpu.set("cr0", CR0.PE | CR0.NE | CR0.TS | CR0.MP);
		expect(fault(0x9b)).toBe(7);
		cpu.set("cr0", CR0.PE | CR0.NE | CR0.EM);
		expect(fault(0x9b)).toBeUndefined();
	});

	test("a pending exception is #MF at the next waiting instruction", () => {
		pend();
		expect(fault(...FADD_ST0_ST1)).toBe(16);
		expect(fault(0x9b)).toBe(16);
		expect(fault(0xd9, 0x2b)).toBe(16);
		expect(fault(0xdf, 0xe0)).toBeUndefined();
		expect(fault(0xdb, 0xe2)).toBeUndefined();
		expect(fault(0x9b)).toBeUndefined();
	});

	test("DB E0, the 8087's FENI, does not wait", () => {
		pend();
		expect(fault(0xdb, 0xe0)).toBeUndefined();
		expect(fault(0xd9, 0xd0)).toBe(16);
	});

	test("without CR0.NE it is not", () => {
		cpu.set("cr0", CR0.PE);
		pend();
		expect(fault(0x9b)).toBeUndefined();
	});
});

describe("the environment", () => {
	test("in real-address mode pointers are linear", () => {
		cpu.set("cr0", CR0.ET | CR0.NE);
		cpu.set("fip", 0x5_4321);
		cpu.set("fdp", 0xa_bcde);
		cpu.set("fop", 0x123);
		run(...FNSTENV);
		expect([3, 4, 5, 6].map((i) => cpu.data.getUint32(4 * i, true) >>> 0)).toEqual([0xffff4321, 0x5123, 0xffffbcde, 0xa000]);
		run(0x66, ...FNSTENV);
		expect([3, 4, 5, 6].map((i) => cpu.data.getUint16(2 * i, true))).toEqual([0x4321, 0x5123, 0xbcde, 0xa000]);
	});

	test("FNSTENV masks all exceptions afterwards", () => {
		cpu.set("fcw", 0x340);
		run(...FNSTENV);
		expect(cpu.get("fcw")).toBe(0x37f);
		expect(cpu.data.getUint16(0, true)).toBe(0x340);
	});

	test("the last non-control instruction and its operand are remembered", () => {
		cpu.set("rip", 0x1234);
		stack(ONE);
		run(0xdc, 0x03);
		const address = cpu.get("fdp");
		expect([cpu.get("fip"), cpu.get("fop")]).toEqual([0x1234, 0x403]);
		expect(address).toBe(cpu.get("gpr", 3));
		run(0xdd, 0x3b);
		expect([cpu.get("fop"), cpu.get("fdp")]).toEqual([0x403, address]);
		run(0xd8, 0xc1);
		expect(cpu.get("fop")).toBe(0x0c1);
	});
});
