import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { Jack } from "../../../net/port.ts";
import { HostError } from "../host-error.ts";

// Linux: include/uapi/linux/if_tun.h, if.h, sockios.h.
const TUNSETIFF = 0x4004_54ca;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;
const AF_INET = 2;
const SOCK_DGRAM = 2;

const MAX_FRAME_BYTES = 65_536;
/** How often the device is asked for frames: while some come, and at rest. */
const BUSY_MS = 1;
const REST_MS = 8;
/** Frames taken at one time, so that a flood from outside leaves the lab its turn. */
const MAX_BATCH = 256;

type Ioctl = (descriptor: number, request: number, argument: Uint8Array) => number;

interface SystemCalls {
	readonly ioctl: Ioctl;
	readonly socket: (family: number, type: number, protocol: number) => number;
	readonly errno: () => number;
}

/** The host's end of a cable: an Ethernet interface of its own (Linux, where /dev/net/tun may be opened). */
export class TapDevice {
	/** As `ip link` shows it. */
	readonly name: string;
	/** Where the lab's cable goes in. */
	readonly jack: Jack;
	readonly #descriptor: number;
	readonly #frame = new Uint8Array(MAX_FRAME_BYTES);
	#timer: NodeJS.Timeout | undefined;

	private constructor(name: string, descriptor: number) {
		this.name = name;
		this.#descriptor = descriptor;
		this.jack = new Jack(`tap ${name}`);
		this.jack.onFrame = (frame) => this.#out(frame);
		this.#poll();
	}

	/**
	 * Makes the interface (or takes one that was made for us) and sets it up; addresses and bridges are the host's affair.
	 * @throws HostError `unsupported` or `bad-file` where the host does not let us
	 */
	static async open(name = ""): Promise<TapDevice> {
		if (process.platform !== "linux") throw new HostError("unsupported", `tap ${name}: only Linux has them`);
		const calls = await systemCalls();
		let descriptor: number;
		try {
			descriptor = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
		} catch (error) {
			throw new HostError("bad-file", `tap ${name}: /dev/net/tun: ${(error as Error).message}`, { cause: error });
		}
		try {
			const request = ifreq(name, IFF_TAP | IFF_NO_PI);
			check(
				calls,
				calls.ioctl(descriptor, TUNSETIFF, request),
				`tap ${name}: the host gives no such interface (root, or an interface of ours made by ip tuntap, is needed)`,
			);
			const given = Buffer.from(request.subarray(0, IFNAMSIZ)).toString("latin1").replace(/\0.*$/s, "");
			const control = calls.socket(AF_INET, SOCK_DGRAM, 0);
			check(calls, control, `tap ${given}: socket`);
			try {
				const flags = ifreq(given, 0);
				check(calls, calls.ioctl(control, SIOCGIFFLAGS, flags), `tap ${given}: its flags`);
				new DataView(flags.buffer).setUint16(IFNAMSIZ, new DataView(flags.buffer).getUint16(IFNAMSIZ, true) | IFF_UP, true);
				check(calls, calls.ioctl(control, SIOCSIFFLAGS, flags), `tap ${given}: setting it up`);
			} finally {
				closeSync(control);
			}
			return new TapDevice(given, descriptor);
		} catch (error) {
			closeSync(descriptor);
			throw error;
		}
	}

	close(): void {
		clearTimeout(this.#timer);
		this.jack.unplug();
		closeSync(this.#descriptor);
	}

	#out(frame: Uint8Array): void {
		try {
			writeSync(this.#descriptor, frame);
		} catch {
			// A runt, or an interface that has been set down: lost, as on any cable.
		}
	}

	#poll(): void {
		let taken = 0;
		for (; taken < MAX_BATCH; taken++) {
			const length = this.#take();
			if (length <= 0) break;
			this.jack.send(this.#frame.slice(0, length));
		}
		this.#timer = setTimeout(() => this.#poll(), taken > 0 ? BUSY_MS : REST_MS);
	}

	#take(): number {
		try {
			return readSync(this.#descriptor, this.#frame);
		} catch {
			// EAGAIN: none there.
			return 0;
		}
	}
}

async function systemCalls(): Promise<SystemCalls> {
	const { default: koffi } = await import("koffi");
	const libc = koffi.load("libc.so.6");
	return {
		ioctl: libc.func("int ioctl(int, unsigned long, uint8_t *)"),
		socket: libc.func("int socket(int, int, int)"),
		errno: () => koffi.errno(),
	};
}

function ifreq(name: string, flags: number): Uint8Array {
	const request = new Uint8Array(IFREQ_BYTES);
	request.set(Buffer.from(name, "latin1").subarray(0, IFNAMSIZ - 1));
	new DataView(request.buffer).setUint16(IFNAMSIZ, flags, true);
	return request;
}

function check(calls: SystemCalls, result: number, what: string): void {
	if (result < 0) throw new HostError("bad-file", `${what}: error ${calls.errno()}`);
}
