import { type Access, ARENA } from "./nonsense.ts";
import { pvhKernel } from "./pvh-kernel.ts";

const CODE_ADDR = 0x10_0000;
const IDT_ADDR = 0x10_1000;
const GDT_ADDR = 0x10_1800;
const LIST_ADDR = 0x100_0000;
const STACK_TOP = 0x9_0000;
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
/** One access in the list: kind, three bytes of nothing, address, value. */
const ENTRY_BYTES = 12;
const LET_IN = 12;
const END = 13;
/** So many accesses, and interrupts are let in again: each turns them off, as a device that no driver quiets interrupts for ever. */
const LET_IN_EVERY = 50;

/**
 * A kernel (ELF32 with a PVH entry) that makes `accesses` over and over, from anywhere among them on. Every so often it lets interrupts in,
 * and does nothing about them.
 * @param arena what stands in the arena to begin with
 */
export function nonsenseKernel(accesses: readonly Access[], arena: Uint8Array): Uint8Array {
	const list = new Uint8Array((accesses.length + 1) * ENTRY_BYTES);
	const view = new DataView(list.buffer);
	for (const [i, access] of accesses.entries()) {
		list[i * ENTRY_BYTES] = i % LET_IN_EVERY === 0 ? LET_IN : kindOf(access);
		view.setUint32(i * ENTRY_BYTES + 4, access.address, true);
		view.setUint32(i * ENTRY_BYTES + 8, access.value, true);
	}
	list[accesses.length * ENTRY_BYTES] = END;
	return pvhKernel(CODE_ADDR, [
		{ addr: CODE_ADDR, bytes: program(accesses.length + 1) },
		{ addr: ARENA.first, bytes: arena },
		{ addr: LIST_ADDR, bytes: list },
	]);
}

function kindOf({ space, isWrite, bytes }: Access): number {
	return (space === "port" ? 0 : 6) + (isWrite ? 0 : 3) + (bytes >> 1);
}

const word32 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];

/** What each kind does: address in EDX, value in EAX. The last starts the list again. */
const HANDLERS: readonly (readonly number[])[] = [
	...[[0xee], [0x66, 0xef], [0xef]],
	...[[0xec], [0x66, 0xed], [0xed]],
	...[
		[0x88, 0x02],
		[0x66, 0x89, 0x02],
		[0x89, 0x02],
	],
	...[
		[0x8a, 0x02],
		[0x66, 0x8b, 0x02],
		[0x8b, 0x02],
	],
	// sti, once in so many accesses
	[0xfb],
	[0xbe, ...word32(LIST_ADDR)],
];

function program(count: number): Uint8Array {
	const image = new Uint8Array(GDT_ADDR + 0x20 - CODE_ADDR);
	const view = new DataView(image.buffer);
	let at = 0;
	const emit = (...bytes: readonly number[]): number => {
		const addr = CODE_ADDR + at;
		image.set(bytes, at);
		at += bytes.length;
		return addr;
	};
	// The pseudo-descriptors and the table of handlers stand at the end of the first page.
	const gdtr = CODE_ADDR + 0xf00;
	const idtr = CODE_ADDR + 0xf08;
	const table = CODE_ADDR + 0xf80;
	emit(0xfa, 0x0f, 0x01, 0x15, ...word32(gdtr), 0x0f, 0x01, 0x1d, ...word32(idtr));
	emit(0xea, ...word32(CODE_ADDR + at + 7), CODE_SELECTOR, 0);
	emit(0x66, 0xb8, DATA_SELECTOR, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, ...word32(STACK_TOP));
	// It begins anywhere in the list, elsewhere after each reset: rdtsc; xor edx, edx; mov ecx, count; div ecx; imul esi, edx, 12; add esi, list
	emit(0x0f, 0x31, 0x31, 0xd2, 0xb9, ...word32(count), 0xf7, 0xf1, 0x6b, 0xf2, ENTRY_BYTES, 0x81, 0xc6, ...word32(LIST_ADDR), 0xfb);
	// movzx ecx, byte [esi]; mov edx, [esi+4]; mov eax, [esi+8]; add esi, 12; jmp [table+ecx*4]
	const next = emit(0x0f, 0xb6, 0x0e, 0x8b, 0x56, 0x04, 0x8b, 0x46, 0x08, 0x83, 0xc6, ENTRY_BYTES, 0xff, 0x24, 0x8d, ...word32(table));
	for (const [kind, code] of HANDLERS.entries()) {
		view.setUint32(table - CODE_ADDR + 4 * kind, emit(...code), true);
		emit(0xe9, ...word32(next - (CODE_ADDR + at + 5)));
	}
	// and dword [esp+8], ~IF; iret
	const handler = emit(0x81, 0x64, 0x24, 0x08, 0xff, 0xfd, 0xff, 0xff, 0xcf);
	view.setUint16(gdtr - CODE_ADDR, 0x1f, true);
	view.setUint32(gdtr - CODE_ADDR + 2, GDT_ADDR, true);
	view.setUint16(idtr - CODE_ADDR, 0x7ff, true);
	view.setUint32(idtr - CODE_ADDR + 2, IDT_ADDR, true);
	for (let vector = 0; vector < 256; vector++) {
		const gate = IDT_ADDR - CODE_ADDR + 8 * vector;
		view.setUint32(gate, (CODE_SELECTOR << 16) | (handler & 0xffff), true);
		// A present 32-bit interrupt gate.
		view.setUint32(gate + 4, (handler & 0xffff_0000) | 0x8e00, true);
	}
	// Flat code and data segments of 4 GiB.
	view.setBigUint64(GDT_ADDR - CODE_ADDR + CODE_SELECTOR, 0x00cf_9b00_0000_ffffn, true);
	view.setBigUint64(GDT_ADDR - CODE_ADDR + DATA_SELECTOR, 0x00cf_9300_0000_ffffn, true);
	return image;
}
