import type { SuperFrame } from "../../net/offload/segment.ts";
import { Jack, type Port } from "../../net/port.ts";

/** How frames and news get from the cable's side to the machine's and back. */
export interface Crossing {
	/** The guest sends: now, by its own clock. */
	toCable(frame: Uint8Array, jack: Jack): void;
	/** Where super-frames may cross uncut; false, and nothing done, if this one may not. */
	wholeToCable?(whole: SuperFrame, jack: Jack): boolean;
	/** Something has come for the guest: brings it to where its cards may be touched. */
	toMachine(arrive: () => void): void;
}

/**
 * Where a machine's card ends and the network begins: `port` goes into the machine's options, cables are plugged into
 * `jack`. Between the two lies the border of two times, which `crossing` passes.
 */
export class NicSocket {
	readonly jack: SocketJack;
	readonly port: Port;
	#crossing: Crossing = { toCable: (frame, jack) => jack.send(frame), toMachine: (arrive) => arrive() };

	constructor(name: string) {
		const jack = new SocketJack(name);
		this.jack = jack;
		const port: Port = {
			get hasCarrier() {
				return jack.hasCarrier;
			},
			get speedBps() {
				return jack.speedBps;
			},
			send: (frame) => this.#crossing.toCable(frame, jack),
			sendWhole: (whole) => this.#crossing.wholeToCable?.(whole, jack) ?? false,
			onFrame: () => {},
			onWhole: undefined,
			onCarrier: () => {},
		};
		this.port = port;
		jack.onFrame = (frame) => this.#crossing.toMachine(() => port.onFrame(frame));
		jack.onCarrier = (isUp) => this.#crossing.toMachine(() => port.onCarrier(isUp));
	}

	/** To be set once the machine with its cards is there, and before a cable is plugged in. */
	set crossing(crossing: Crossing) {
		this.#crossing = crossing;
		const { jack, port } = this;
		const takesWhole = crossing.wholeToCable !== undefined && port.onWhole !== undefined;
		jack.onWhole = takesWhole ? (whole) => crossing.toMachine(() => port.onWhole?.(whole)) : undefined;
	}
}

/** A jack that knows its cable: how soon something can come out of a machine depends on what it is plugged into. */
export class SocketJack extends Jack {
	cable: Port | undefined;

	override plug(cable: Port): void {
		this.cable = cable;
		super.plug(cable);
	}

	override unplug(): void {
		this.cable = undefined;
		super.unplug();
	}
}
