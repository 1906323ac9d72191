declare const brand: unique symbol;
type Branded<Base, Name extends string> = Base & { readonly [brand]?: Name };

/** Guest time in whole nanoseconds since power-on. Exact up to 2^53 ns (104 days), then good to 2 ns. */
export type Ns = Branded<number, "Ns">;
/** A guest-physical byte address (below 2^52, so a number holds it exactly). */
export type PhysAddr = Branded<number, "PhysAddr">;
/** A byte offset into the machine's one `WebAssembly.Memory`. */
export type HostOffset = Branded<number, "HostOffset">;

export const NS_PER_US = 1_000;
export const NS_PER_MS = 1_000_000;
export const NS_PER_S = 1_000_000_000;
export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const PAGE_BYTES = 4096;
