import { assert } from "../base/assert.ts";
import { type GuestMemory, JUMP_TARGETS } from "../machine/memory.ts";
import type { CpuContext } from "./context.ts";
import { EngineModule, type Helper } from "./engine-module.ts";
import { BlockCache, type HotThresholds } from "./interpreter/block-cache.ts";
import { HandlerFactory } from "./interpreter/handlers.ts";
import type { JumpCache } from "./interpreter/jump-cache.ts";
import { Learning } from "./interpreter/learnt.ts";
import type { KeptCode } from "./kept-code.ts";
import { CPU_BYTES, isLinearMode } from "./state/layout.ts";
import { SYSTEM_HELPERS } from "./system/helpers.ts";
import { RegionLibrary } from "./translator/region-library.ts";
import { Translator } from "./translator/translator.ts";

/** CPU blocks start here in the engine's area, one after another. */
const CPUS_FIRST = 64 * 1024;
export const MAX_CPUS = Math.floor((JUMP_TARGETS - CPUS_FIRST) / CPU_BYTES);

export interface SoftwareEngineOptions {
	/** Runs of a block before it is translated, in whichever mode; 0: never. */
	readonly hotThreshold?: number;
	/** Runs have to be repeatable: nothing is taken over that other runs have learnt. */
	readonly isRepeatable?: boolean;
	/** Generated functions carry names for profilers. */
	readonly isNamed?: boolean;
	/** Where code outlives the process. */
	readonly kept?: KeptCode | undefined;
	/** Tells guests apart whose translations are kept; "": none are. */
	readonly guest?: string;
}

/** Interpreting a block that often costs what translating it does; a kernel passes through much of its code once (docs/decisions/0004). */
const DEFAULT_THRESHOLDS: HotThresholds = { supervisor: 3000, user: 1500 };

/** Runs of a block after which it is looked for among what earlier runs have translated (docs/decisions/0019). */
const FIRST_LOOK = 16;

/**
 * What the CPUs of one worker share: generated code, decoded code and the table of helpers. Guest code runs on one CPU at a
 * time here, so a locked operation is atomic because nobody else runs.
 */
export class SoftwareEngine {
	readonly memory: GuestMemory;
	readonly module: EngineModule;
	readonly handlers: HandlerFactory;
	readonly blocks: BlockCache;
	/** undefined: everything is interpreted. */
	readonly translator: Translator | undefined;
	readonly #learning: Learning | undefined;
	readonly #library: RegionLibrary | undefined;
	readonly #contexts: CpuContext[] = [];
	readonly #jumps: JumpCache[] = [];

	constructor(memory: GuestMemory, options: SoftwareEngineOptions = {}) {
		this.memory = memory;
		const helpers: Record<string, Helper> = {
			slowLoad: (cpu, request) => this.#at(cpu).mmu.slowLoad(request),
			slowStore: (cpu, request) => this.#at(cpu).mmu.slowStore(request),
			slowProbe: (cpu, request) => this.#at(cpu).mmu.slowProbe(request),
		};
		for (const [name, helper] of Object.entries(SYSTEM_HELPERS)) helpers[name] = (cpu, a, b, c) => helper(this.#at(cpu), a, b, c);
		this.module = new EngineModule(memory.memory, helpers, options.isNamed, options.kept);
		this.handlers = new HandlerFactory(this.module);
		this.blocks = new BlockCache(memory, this.handlers);
		if (options.kept !== undefined && options.isRepeatable !== true)
			this.#learning = new Learning(options.kept, this.module.isNamed, this.handlers, this.blocks.patterns);
		const { hotThreshold } = options;
		if (hotThreshold !== 0) {
			if (options.kept !== undefined && options.isRepeatable !== true && (options.guest ?? "") !== "")
				this.#library = new RegionLibrary(options.kept, `regions-${options.guest}`);
			const thresholds = hotThreshold === undefined ? DEFAULT_THRESHOLDS : { supervisor: hotThreshold, user: hotThreshold };
			this.blocks.setThresholds(thresholds);
			if (this.#library !== undefined) this.blocks.expectKept(FIRST_LOOK, this.#library.places());
			this.translator = new Translator(this.module, memory, this.blocks, this.#library);
			this.translator.onInstalled = (regions) => {
				const isLinear = regions.every(({ block }) => isLinearMode(block.modeKey));
				for (const jumps of this.#jumps)
					if (isLinear) for (const { lo } of regions) jumps.drop(lo);
					else jumps.flush();
			};
		}
		memory.pages.onSeal = () => {
			for (const context of this.#contexts) context.mmu.dropAllWriteTags();
		};
		memory.onMapChanged = () => {
			for (const context of this.#contexts) context.mmu.flush(false);
		};
	}

	#at(cpu: number): CpuContext {
		return this.#contexts[(cpu - CPUS_FIRST) / CPU_BYTES] as CpuContext;
	}

	/** Offset of the block of CPU `index`. */
	blockOf(index: number): number {
		assert(index < MAX_CPUS, `CPU ${index}: there is room for ${MAX_CPUS}`);
		return CPUS_FIRST + index * CPU_BYTES;
	}

	/** No CPU runs any more. */
	dispose(): void {
		this.#learning?.keep();
		this.#library?.keep();
	}

	attach(index: number, context: CpuContext, jumps: JumpCache): void {
		this.#contexts[index] = context;
		context.state.arithmeticFlags = this.module.coreFunction("arithmeticFlags") as (base: number) => number;
		context.state.deliver = this.module.coreFunction("deliver") as NonNullable<CpuContext["state"]["deliver"]>;
		this.#jumps[index] = jumps;
		this.blocks.attach(context.mmu, jumps);
	}
}
