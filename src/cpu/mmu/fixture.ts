import { IoBus } from "../../machine/bus.ts";
import { SteppedClock } from "../../machine/clock.ts";
import { ENGINE_BYTES, GuestMemory } from "../../machine/memory.ts";
import type { CpuBoard } from "../../machine/processor.ts";
import type { CodeTracker, CpuContext } from "../context.ts";
import { CpuState } from "../state/cpu-state.ts";
import { at, TLB_KERNEL, TLB_USER } from "../state/layout.ts";
import { Mmu } from "./mmu.ts";

/** A board that answers nothing and remembers what the CPU asked of it. */
export class TestBoard implements CpuBoard {
	isA20Enabled = true;
	taskPriority = 0;
	shutdowns = 0;
	nextVector = 0x20;
	readonly apicMsrs = new Map<number, bigint>([[0x1b, 0xfee0_0900n]]);

	acknowledgeInterrupt(): number {
		return this.nextVector;
	}
	readTaskPriority(): number {
		return this.taskPriority;
	}
	writeTaskPriority(priority: number): void {
		this.taskPriority = priority;
	}
	readApicMsr(index: number): bigint | undefined {
		return this.apicMsrs.get(index);
	}
	writeApicMsr(index: number, value: bigint): boolean {
		if (!this.apicMsrs.has(index)) return false;
		this.apicMsrs.set(index, value);
		return true;
	}
	shutdown(): void {
		this.shutdowns++;
	}
}

/** A code tracker whose code pages the test names. */
export class TestCode implements CodeTracker {
	readonly pages = new Set<number>();
	readonly stores: { physAddr: number; bytes: number }[] = [];
	flushes = 0;
	isRunning = false;

	hasCode(physPage: number): boolean {
		return this.pages.has(physPage);
	}
	beforeStore(physAddr: number, bytes: number): boolean {
		this.stores.push({ physAddr, bytes });
		return this.isRunning;
	}
	codeSegmentId(): number {
		return 1;
	}

	flushJumps(_keepGlobal: boolean): void {
		this.flushes++;
	}
}

export interface TestCpu extends CpuContext {
	readonly board: TestBoard;
	readonly code: TestCode;
	readonly clock: SteppedClock;
}

/** A CPU with RAM and nothing else, in the all-zero state: for unit tests of what runs without instructions. */
export function testCpu(ramBytes = 4 * 1024 * 1024): TestCpu {
	const memory = new GuestMemory(ramBytes);
	const state = new CpuState(memory, 0, 0x10000);
	const board = new TestBoard();
	const code = new TestCode();
	const mmu = new Mmu(state, memory, board, code);
	state.set("tlbBase", state.base + TLB_KERNEL);
	let seed = 1;
	const entropy = {
		next32: () => {
			seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
			return seed;
		},
	};
	return { state, memory, io: new IoBus(), board, clock: new SteppedClock(), mmu, code, entropy, cpuCount: 1 };
}

/** Puts the CPU at CPL 0 or 3 as far as the memory side sees it. */
export function setPrivilege(cpu: CpuContext, cpl: 0 | 3): void {
	cpu.state.set("cpl", cpl);
	cpu.state.set("tlbBase", cpu.state.base + (cpl === 3 ? TLB_USER : TLB_KERNEL));
}

/** Offset in the memory of a RAM address below 3 GiB. */
export function ramAt(physAddr: number): number {
	return ENGINE_BYTES + physAddr;
}

export function poke32(cpu: CpuContext, physAddr: number, value: number): void {
	cpu.memory.view.setUint32(ramAt(physAddr), value, true);
}

export function peek32(cpu: CpuContext, physAddr: number): number {
	return cpu.memory.view.getUint32(ramAt(physAddr), true);
}

export function poke64(cpu: CpuContext, physAddr: number, value: bigint): void {
	cpu.memory.view.setBigUint64(ramAt(physAddr), value, true);
}

export function peek64(cpu: CpuContext, physAddr: number): bigint {
	return cpu.memory.view.getBigUint64(ramAt(physAddr), true);
}

export function scratchOf(cpu: CpuContext): number {
	return cpu.state.base + at("scratch");
}
