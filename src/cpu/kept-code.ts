/**
 * Where generated code outlives its process: what is made out of these sources alone, and so would be made again byte for byte. Whoever provides it
 * sees to it that what is read was written by the same sources.
 */
export interface KeptCode {
	read(name: string): Uint8Array | undefined;
	/** All parts, one after another. A failure is no more than time lost later. */
	write(name: string, parts: readonly Uint8Array[]): void;
}
