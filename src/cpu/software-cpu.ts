import type { IoBus } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import type { CpuBoard, CpuPins } from "../machine/processor.ts";
import { CallbackWire } from "../machine/wire.ts";
import type { CpuContext, EntropySource } from "./context.ts";
import { JumpCache } from "./interpreter/jump-cache.ts";
import { DELTA_BITS, HEAD, REC, RECORD_BYTES } from "./interpreter/record.ts";
import { Mmu } from "./mmu/mmu.ts";
import type { SoftwareEngine } from "./software-engine.ts";
import { CpuState } from "./state/cpu-state.ts";
import { FLAG } from "./state/flags.ts";
import { at, EXIT, JUMP_SEGMENTS, MODE, SINGLE_STEP } from "./state/layout.ts";
import { beginStep, finishStep, needsSteps } from "./system/debug.ts";
import { deliverFault, serviceInterrupts } from "./system/interrupts.ts";
import { updateMode } from "./system/mode.ts";
import { initCpu, resetCpu, startCpu } from "./system/reset.ts";
import { deriveAllRanges } from "./system/segments.ts";

const ACTIVITY = at("activity") >> 2;
const BUDGET = at("budget") >> 2;
const BUDGET_TAKEN = at("budgetTaken") >> 2;
const EXIT_RECORD = at("exitRecord") >> 2;
const EXIT_REGION = at("exitRegion") >> 2;
const EXIT_SITE = at("exitSite") >> 2;
const FAULT_VECTOR = at("faultVector") >> 2;
const FLAGS = at("flags") >> 2;
const INTR = at("intrLine") >> 2;
const MODE_KEY = at("modeKey") >> 2;
const NMI = at("nmiPending") >> 2;
const NMI_BLOCKED = at("nmiBlocked") >> 2;
const SHADOW = at("interruptShadow") >> 2;
const SHADOW_RIP = at("shadowRip") >> 2;
const RIP = at("rip") >> 2;
const CS_BASE = at("segBase", 1) >> 2;

/** Why `run` came back. */
export type RunEnd = "budget" | "halted" | "stopped";

export const ACTIVITY_RUNNING = 0;
export const ACTIVITY_HALTED = 1;
export const ACTIVITY_WAIT_FOR_SIPI = 2;
export const ACTIVITY_SHUT_DOWN = 3;

export interface SoftwareCpuEnvironment {
	readonly index: number;
	readonly cpuCount: number;
	readonly io: IoBus;
	readonly clock: Clock;
	readonly board: CpuBoard;
	readonly entropy: EntropySource;
	/** As in `CpuContext`. */
	readonly onPause?: () => void;
}

/** One CPU run in software: the loop that enters generated code and sees to everything it leaves for. */
export class SoftwareCpu {
	readonly state: CpuState;
	readonly context: CpuContext;
	readonly pins: CpuPins;
	readonly jumps: JumpCache;
	/** A pin has made a halted CPU runnable. */
	onWake: () => void = () => {};
	/** Instructions begun since power-on (repeated string instructions count every round). */
	instructionCount = 0;
	/** Exits of generated code by kind, for --stats. */
	readonly exitCounts = new Array<number>(Object.keys(EXIT).length).fill(0);
	readonly #engine: SoftwareEngine;
	readonly #i32: Int32Array;
	#isStopRequested = false;
	/** Generated code is running: what it calls must not pull the ground from under it. */
	#isInCode = false;
	#slice = 0;
	readonly #codeSegments = new Map<number, number>();

	constructor(engine: SoftwareEngine, environment: SoftwareCpuEnvironment) {
		this.#engine = engine;
		const state = new CpuState(engine.memory, environment.index, engine.blockOf(environment.index));
		this.state = state;
		this.#i32 = state.i32;
		this.jumps = new JumpCache(state);
		const { blocks } = engine;
		const code = {
			hasCode: (physPage: number) => blocks.hasCode(physPage),
			beforeStore: (physAddr: number, bytes: number) => {
				// Whether it is the region that runs is not known: single-stepping the store is right in any case.
				return blocks.invalidate(physAddr, bytes) && this.#isInCode;
			},
			flushJumps: (keepGlobal: boolean) => this.jumps.flush(keepGlobal),
			codeSegmentId: (base: number, limit: number) => this.#codeSegmentId(base, limit),
		};
		const mmu = new Mmu(state, engine.memory, environment.board, code);
		this.context = { ...environment, state, memory: engine.memory, mmu, code };
		engine.attach(environment.index, this.context, this.jumps);
		const i32 = this.#i32;
		this.pins = {
			intr: new CallbackWire((high) => {
				i32[INTR] = high ? 1 : 0;
				if (high) this.#attend();
			}),
			nmi: () => {
				i32[NMI] = 1;
				this.#attend();
			},
			init: () => {
				initCpu(this.context);
				this.#attend();
			},
			startup: (vector) => {
				if (i32[ACTIVITY] !== ACTIVITY_WAIT_FOR_SIPI) return;
				startCpu(this.context, vector);
				this.#attend();
			},
			reset: () => {
				resetCpu(this.context);
				this.#attend();
			},
		};
		resetCpu(this.context);
	}

	/** An interrupt (or its like) is there: leave generated code at the next block, or wake up. */
	#attend(): void {
		this.#requestExit();
		if (this.#i32[ACTIVITY] !== ACTIVITY_RUNNING) this.onWake();
	}

	#requestExit(): void {
		const i32 = this.#i32;
		if ((i32[BUDGET] as number) <= 0) return;
		i32[BUDGET_TAKEN] = (i32[BUDGET_TAKEN] as number) + (i32[BUDGET] as number);
		i32[BUDGET] = 0;
	}

	save(): Record<string, unknown> {
		this.#endShadow();
		return this.state.save();
	}

	/** @throws RangeError naming a field that is missing or unknown */
	load(saved: Record<string, unknown>): void {
		this.state.load(saved);
		this.state.set64("shadowRip", this.state.get64("rip"));
		deriveAllRanges(this.context);
		updateMode(this.context);
		this.context.mmu.clear();
	}

	/** Makes `run` return at the next block; nothing happens outside `run`. */
	stop(): void {
		this.#isStopRequested = true;
		this.#requestExit();
	}

	/** Instructions of the running slice so far, for a clock that counts them. */
	get sliceCount(): number {
		return this.#slice - (this.#i32[BUDGET] as number) - (this.#i32[BUDGET_TAKEN] as number);
	}

	get isHalted(): boolean {
		const activity = this.#i32[ACTIVITY];
		return activity === ACTIVITY_HALTED ? !this.#hasInterrupt() : activity !== ACTIVITY_RUNNING;
	}

	#hasInterrupt(): boolean {
		const i32 = this.#i32;
		if (i32[NMI] !== 0 && i32[NMI_BLOCKED] === 0) return true;
		return i32[INTR] !== 0 && ((i32[FLAGS] as number) & FLAG.IF) !== 0;
	}

	/**
	 * Runs up to `count` instructions. With `exact`, exactly as many unless it halts or is stopped; without, it may end up to one
	 * block early.
	 */
	run(count: number, exact = false): RunEnd {
		const i32 = this.#i32;
		const { dispatch } = this.#engine.module;
		const { base } = this.state;
		this.#isStopRequested = false;
		this.#engine.translator?.tick();
		this.#slice = count;
		i32[BUDGET] = count;
		i32[BUDGET_TAKEN] = 0;
		let end: RunEnd = "budget";
		for (;;) {
			if (this.#isStopRequested) {
				end = "stopped";
				break;
			}
			if ((i32[BUDGET_TAKEN] as number) !== 0) {
				i32[BUDGET] = (i32[BUDGET] as number) + (i32[BUDGET_TAKEN] as number);
				i32[BUDGET_TAKEN] = 0;
			}
			this.#endShadow();
			if (i32[SHADOW] === 0 && this.#hasInterrupt() && serviceInterrupts(this.context) >= 0) continue;
			if (i32[ACTIVITY] !== ACTIVITY_RUNNING) {
				end = "halted";
				break;
			}
			if ((i32[BUDGET] as number) <= 0) break;
			if (i32[SHADOW] !== 0 || needsSteps(this.context)) {
				this.#step();
				continue;
			}
			this.#isInCode = true;
			const exit = this.#settle(dispatch(base, 0));
			this.exitCounts[exit] = (this.exitCounts[exit] as number) + 1;
			if (exit === EXIT.lookup) {
				if (this.#engine.blocks.find(this.state, this.context.mmu, this.jumps) === 0) deliverFault(this.context);
			} else if (exit === EXIT.budget) {
				if ((i32[BUDGET_TAKEN] as number) !== 0) continue;
				if (!exact) break;
				if ((i32[BUDGET] as number) > 0) this.#step();
			} else this.#handleExit(exit);
		}
		this.instructionCount += this.#slice - (i32[BUDGET] as number) - (i32[BUDGET_TAKEN] as number);
		this.#slice = 0;
		i32[BUDGET] = 0;
		i32[BUDGET_TAKEN] = 0;
		return end;
	}

	/** Generated code goes on behind STI without a look back. */
	#endShadow(): void {
		const i32 = this.#i32;
		if (i32[SHADOW] === 1 && (i32[RIP] !== i32[SHADOW_RIP] || i32[RIP + 1] !== i32[SHADOW_RIP + 1])) i32[SHADOW] = 0;
	}

	#handleExit(exit: number): void {
		switch (exit) {
			case EXIT.fault:
				this.#rewind();
				deliverFault(this.context);
				return;
			case EXIT.single:
				this.#rewind();
				this.#step();
				return;
			case EXIT.stale:
				this.#rewind();
				// The jump cache may still lead to the stale block: decode afresh and overwrite the entry.
				if (this.#engine.blocks.find(this.state, this.context.mmu, this.jumps) === 0) deliverFault(this.context);
				return;
			case EXIT.interrupted:
				this.#rewind();
				return;
			case EXIT.hot:
				this.#heat();
				return;
			default:
				return;
		}
	}

	/** Generated code has come back: why, whatever it came out of. */
	#settle(exit: number): number {
		this.#isInCode = false;
		const reason = exit === EXIT.region ? this.#leaveRegion() : exit;
		return reason === EXIT.fault && this.#i32[FAULT_VECTOR] === SINGLE_STEP ? EXIT.single : reason;
	}

	/** A region has left in the middle: makes rip and budget exact. Returns why it did. */
	#leaveRegion(): number {
		const i32 = this.#i32;
		const { translator } = this.#engine;
		if (translator === undefined) throw new Error("a region without a translator");
		const slot = i32[EXIT_REGION] as number;
		const { code, delta, refund } = translator.siteOf(slot, i32[EXIT_SITE] as number);
		if (code === EXIT.budget) {
			const [lo, hi] = this.#linearRip();
			translator.sample(slot, this.context.mmu, lo, hi);
		}
		i32[BUDGET] = (i32[BUDGET] as number) + refund;
		this.#advanceRip(delta);
		i32[EXIT_RECORD] = 0;
		return code;
	}

	/** Linear address of the code at rip, in halves. */
	#linearRip(): readonly [lo: number, hi: number] {
		const i32 = this.#i32;
		const low = i32[RIP] as number;
		if (((i32[MODE_KEY] as number) & MODE.codeMask) === MODE.code64) return [low, i32[RIP + 1] as number];
		return [(low + (i32[CS_BASE] as number)) | 0, 0];
	}

	/** The block at rip has run often enough to be worth translating. */
	#heat(): void {
		const { blocks, translator } = this.#engine;
		const block = blocks.find(this.state, this.context.mmu);
		if (block === 0) return;
		const [lo, hi] = this.#linearRip();
		translator?.heat(block, { mmu: this.context.mmu, lo, hi });
	}

	/** rip becomes that of the record where the code gave up, and what had been charged beyond it is given back. */
	#rewind(): void {
		const i32 = this.#i32;
		const record = i32[EXIT_RECORD] as number;
		if (record === 0) return;
		i32[EXIT_RECORD] = 0;
		const { view } = this.#engine.memory;
		const place = view.getUint16(record + REC.delta, true);
		const position = place >> DELTA_BITS;
		const head = record - (position + 1) * RECORD_BYTES;
		i32[BUDGET] = (i32[BUDGET] as number) + view.getUint8(head + HEAD.count) - position;
		this.#advanceRip(place & ((1 << DELTA_BITS) - 1));
	}

	#advanceRip(delta: number): void {
		const i32 = this.#i32;
		const sum = ((i32[RIP] as number) >>> 0) + delta;
		i32[RIP] = sum | 0;
		if (((i32[MODE_KEY] as number) & MODE.codeMask) === MODE.code64)
			i32[RIP + 1] = ((i32[RIP + 1] as number) + Math.floor(sum / 0x1_0000_0000)) | 0;
	}

	/** Runs one instruction, with the debug exceptions before and after it. */
	#step(): void {
		const i32 = this.#i32;
		if (beginStep(this.context) !== -1) return;
		i32[SHADOW] = 0;
		i32[MODE_KEY] = (i32[MODE_KEY] as number) | MODE.step;
		const block = this.#engine.blocks.find(this.state, this.context.mmu);
		if (block === 0) {
			this.#endStepMode();
			deliverFault(this.context);
			return;
		}
		// One instruction only: the block behind it must not be entered.
		const left = i32[BUDGET] as number;
		const taken = i32[BUDGET_TAKEN] as number;
		i32[BUDGET] = 1;
		i32[BUDGET_TAKEN] = 0;
		this.#isInCode = true;
		// Behind the instruction, code without a budget is met.
		const exit = this.#settle(this.#engine.module.enterBlock(this.state.base, block));
		const used = 1 - (i32[BUDGET] as number) - (i32[BUDGET_TAKEN] as number);
		i32[BUDGET] = left - used;
		i32[BUDGET_TAKEN] = taken;
		this.#endStepMode();
		if (exit === EXIT.fault) {
			this.#rewind();
			deliverFault(this.context);
		} else if (exit === EXIT.stale || exit === EXIT.single) this.#rewind();
		else {
			// A repeated instruction traps after every round.
			if (exit === EXIT.interrupted) this.#rewind();
			finishStep(this.context);
		}
	}

	#endStepMode(): void {
		const i32 = this.#i32;
		i32[MODE_KEY] = (i32[MODE_KEY] as number) & ~MODE.step;
	}

	#codeSegmentId(base: number, limit: number): number {
		// A limit above 1 MiB counts pages: 21 bits say all about it.
		const unsigned = limit >>> 0;
		const key = (base >>> 0) * 0x20_0000 + (unsigned < 0x10_0000 ? unsigned : 0x10_0000 + (unsigned >>> 12));
		let id = this.#codeSegments.get(key);
		if (id === undefined) {
			if (this.#codeSegments.size === JUMP_SEGMENTS) {
				this.#codeSegments.clear();
				this.jumps.flush();
			}
			id = this.#codeSegments.size + 1;
			this.#codeSegments.set(key, id);
		}
		return id;
	}
}
