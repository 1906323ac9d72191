import { NS_PER_S, type Ns } from "../../base/units.ts";
import type { IpNode } from "../ip/node.ts";
import type { TcpConnection } from "../tcp/connection.ts";
import type { TcpConnectionState, TcpEvents } from "../tcp/contract.ts";
import type { Timer } from "../time.ts";
import type { HostTcpEvents, HostTcpSocket } from "./host-network.ts";
import { Tape } from "./tape.ts";

/** Bytes from outside that may wait for the guest, and when to ask for more again. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
/** RFC 5382 REQ-5: two hours and four minutes of silence. */
const IDLE_NS: Ns = (2 * 3600 + 4 * 60) * NS_PER_S;

/** How far guest and world have got with each other in a snapshot. */
export type TcpFlowState = {
	readonly id: number;
	readonly said: number;
	readonly heard: number;
	readonly connection: TcpConnectionState;
};

/**
 * One TCP connection of a guest, made of two: the guest's with us and ours with the world. The world cannot be put back to
 * a snapshot; the guest can, and then goes through its part of the tape again until it has caught up or says something else.
 */
export class TcpFlow {
	readonly id: number;
	readonly #idle: Timer;
	readonly #node: IpNode;
	readonly #tape = new Tape();
	socket: HostTcpSocket | undefined;
	connection: TcpConnection | undefined;
	/** Where the guest is in the two streams: behind the tape's ends after it has been put back. */
	#said = 0;
	#heard = 0;
	#isPaused = false;
	#isHostClosed = false;
	/** Written outside and not confirmed; so much of it by the guest before it was put back, which is none of its affair. */
	#underwayBytes = 0;
	#formerBytes = 0;

	constructor(node: IpNode, id: number) {
		this.id = id;
		this.#node = node;
		this.#idle = node.timers.timer("tcp idle", () => this.abort());
		this.touch();
	}

	touch(): void {
		this.#idle.arm(this.#node.timers.nowNs + IDLE_NS);
	}

	guestEvents(): TcpEvents {
		return {
			data: (bytes) => {
				this.touch();
				if (!this.#isHostClosed) this.#say(bytes);
			},
			ended: () => {
				// Who stops earlier than the last time is somebody else.
				if (this.#said < this.#tape.sentTo) this.abort();
				else if (!this.#tape.isSentEnded) {
					this.#tape.isSentEnded = true;
					this.socket?.end();
				}
			},
			acknowledged: () => {
				if (this.#isPaused && (this.connection?.unsentBytes ?? 0) < LOW_WATER_BYTES) this.#resume();
			},
			closed: (reason) => {
				this.#idle.disarm();
				if (reason !== "done" && !this.#isHostClosed) this.socket?.abort();
			},
		};
	}

	hostEvents(): Omit<HostTcpEvents, "connected"> {
		return {
			data: (bytes) => {
				this.touch();
				this.#tape.hear(bytes);
				if (this.#heard === this.#tape.heardTo - bytes.length && this.#said === this.#tape.sentTo) this.#pass(bytes);
				this.#checkTape();
				if (!this.#isPaused && (this.connection?.unsentBytes ?? 0) > HIGH_WATER_BYTES) {
					this.#isPaused = true;
					this.socket?.pause();
				}
			},
			sent: (bytes) => {
				this.#underwayBytes -= bytes;
				const former = Math.min(bytes, this.#formerBytes);
				this.#formerBytes -= former;
				if (bytes > former) this.connection?.consumed(bytes - former);
			},
			ended: () => this.#endHeard(),
			closed: (error) => {
				this.#isHostClosed = true;
				if (error === undefined) this.#endHeard();
				else this.connection?.abort();
			},
		};
	}

	/** What the guest says: what it has said before is only compared. */
	#say(bytes: Uint8Array): void {
		const again = bytes.subarray(0, Math.max(0, this.#tape.sentTo - this.#said));
		if (again.length > 0) {
			if (!this.#tape.hasSaid(this.#said, again)) {
				this.abort();
				return;
			}
			this.#said += again.length;
			this.connection?.consumed(again.length);
			this.#catchUp();
		}
		const fresh = bytes.subarray(again.length);
		if (fresh.length === 0) return;
		if (this.#tape.isSentEnded) {
			this.abort();
			return;
		}
		this.#tape.send(fresh);
		this.#said += fresh.length;
		this.#underwayBytes += fresh.length;
		this.socket?.write(fresh);
		this.#checkTape();
	}

	#pass(bytes: Uint8Array): void {
		this.#heard += bytes.length;
		this.connection?.write(bytes);
	}

	/** Tells the guest what it was told then, as far as it has spoken again. */
	#catchUp(): void {
		for (let bytes = this.#tape.next(this.#heard, this.#said); bytes !== undefined; bytes = this.#tape.next(this.#heard, this.#said))
			this.#pass(bytes);
		const { heardEndAfter } = this.#tape;
		if (heardEndAfter !== undefined && heardEndAfter <= this.#said && this.#heard === this.#tape.heardTo) this.connection?.end();
	}

	#endHeard(): void {
		this.#tape.heardEndAfter ??= this.#tape.sentTo;
		this.#catchUp();
	}

	#checkTape(): void {
		if (!this.#tape.isTooLong) return;
		if (this.#said === this.#tape.sentTo && this.#heard === this.#tape.heardTo) this.#tape.forget();
		else this.abort();
	}

	#resume(): void {
		this.#isPaused = false;
		this.socket?.resume();
	}

	abort(): void {
		this.#idle.disarm();
		if (!this.#isHostClosed) this.socket?.abort();
		this.#isHostClosed = true;
		this.connection?.abort();
	}

	/** For a snapshot: from now on what is said is kept. `undefined` while it opens, and once it is over. */
	save(): TcpFlowState | undefined {
		const connection = this.connection?.save();
		if (connection === undefined) return undefined;
		this.#tape.run();
		return { id: this.id, said: this.#said, heard: this.#heard, connection };
	}

	/** Whether a guest that is put back to `state` can go on talking with whoever is outside. */
	canGoOnFrom({ said, heard }: TcpFlowState): boolean {
		return !this.#isHostClosed && this.#tape.reaches(said, heard);
	}

	/** Once `canGoOnFrom` has said yes, and the connection with the guest is as it was then. */
	goOnFrom({ said, heard }: TcpFlowState, connection: TcpConnection): void {
		this.connection = connection;
		this.#said = said;
		this.#heard = heard;
		this.#formerBytes = this.#underwayBytes;
		this.touch();
		if (this.#isPaused) this.#resume();
		this.#catchUp();
	}
}
