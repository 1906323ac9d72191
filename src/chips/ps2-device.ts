/** What hangs on a PS/2 port, as the controller sees it. */
export interface Ps2Device {
	/** A byte from the host. */
	write(byte: number): void;
	readonly hasOutput: boolean;
	/** The next byte for the host; only while `hasOutput`. */
	takeOutput(): number;
	/** Set by the controller: there is output where there was none. */
	onOutput: () => void;
}

export const PS2_ACK = 0xfa;
export const PS2_RESEND = 0xfe;
export const PS2_BAT_OK = 0xaa;
