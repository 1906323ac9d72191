import { DECODED, ENGINE_BYTES } from "../../machine/memory.ts";

/**
 * Where in the engine's area the interpreter keeps what it has decoded: generated code reads and writes all of it (core/decode-block.ts),
 * and TypeScript does (`BlockStore`, `Patterns`, `RecordArena`). Pages that nothing touches cost no memory.
 */

/** First block of each chain, i32; see `BlockStore`. */
export const CHAINS = DECODED;
export const CHAIN_COUNT = 1024 * 1024;
/** A chain has the blocks that begin within so many bytes (log2). */
export const CHAIN_SHIFT = 6;
/** How many blocks lie on each physical page below 4 GiB, u16. */
export const BLOCK_COUNTS = CHAINS + 4 * CHAIN_COUNT;
export const BLOCK_COUNT_PAGES = 1024 * 1024;

/** Pages that must be mapped as they were for a region to be entered, by its slot. The last entry is for all slots from there on: ask. */
export const REGION_PAGES = BLOCK_COUNTS + 2 * BLOCK_COUNT_PAGES;
export const REGION_PAGES_ENTRIES = 64 * 1024;
/** Pages besides its own that a region can tell of. */
export const MAX_REGION_PAGES = 4;
/** How many there are (-1: ask), then each with its distance from the block's, linear, and its physical number. */
export const REGION_PAGES_ENTRY = { count: 0, pages: 4, bytes: 40 } as const;

/** See `KeptPlaces`. */
export const KEPT_PLACES = REGION_PAGES + REGION_PAGES_ENTRIES * REGION_PAGES_ENTRY.bytes;
export const KEPT_PLACES_BYTES = 32 * 1024;

/** What decoding in generated code needs to know: words. */
export const DECODER = KEPT_PLACES + KEPT_PLACES_BYTES;
export const DECODER_FIELD = {
	/** Room for records, as `RecordArena` gives it out. */
	next: 0,
	end: 4,
	/** Instructions decoded so far. */
	count: 8,
	/** Slot of a block's last record. */
	leadOn: 16,
	/** Runs until a block is hot, of supervisor and of user code, side by side. */
	heat: 20,
	userHeat: 24,
	/** Runs until a block is hot that may have been translated by an earlier run; see `KeptPlaces`. */
	firstLook: 28,
	/** Root of the patterns, by `patternMode`; 0: none. They are the last, since what is learnt is kept from here on, up to the patterns' end. */
	roots: 64,
} as const;
export type DecoderWord = Exclude<keyof typeof DECODER_FIELD, "roots">;

/** Bytes to records, learnt; see `Patterns`. */
export const PATTERNS = DECODER + 4096;
export const PATTERNS_BYTES = 4 * 1024 * 1024;

/** Records of blocks. */
export const RECORDS_FIRST = PATTERNS + PATTERNS_BYTES;
export const RECORDS_END = ENGINE_BYTES;
