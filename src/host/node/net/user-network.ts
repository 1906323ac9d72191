import { NicSocket } from "../../../lab/run/nic-socket.ts";
import { RealtimeClock } from "../../../lab/run/realtime.ts";
import type { Mac } from "../../../net/frames/address.ts";
import { Link } from "../../../net/link/link.ts";
import { Nat, type NatDenial, type PortForward } from "../../../net/nat/nat.ts";
import { stableMac } from "../../../net/stable-mac.ts";
import type { NicModel, NicOptions } from "../../../vm/config.ts";
import type { Machine } from "../../../vm/machine.ts";
import { NodeHost } from "../host.ts";
import { HostError } from "../host-error.ts";
import { nodeNetwork } from "./node-network.ts";

/** What the one guest behind it gets by DHCP. */
export const GUEST_ADDRESS = "10.0.2.15";

export interface ForwardedPort {
	readonly protocol: "tcp" | "udp";
	/** On the host: 127.0.0.1 where none is given. */
	readonly address?: string;
	readonly port: number;
	readonly guestPort: number;
}

export interface UserNetworkOptions {
	/** Of the machine; its card's address follows from it. */
	readonly name?: string;
	readonly model?: NicModel | undefined;
	readonly mac?: Mac | undefined;
	/** Rules of `NatPolicy`; without any, nothing gets out. */
	readonly allow?: readonly string[] | undefined;
	readonly deny?: readonly string[] | undefined;
	/** Ports of the host that lead into the guest. */
	readonly forwards?: readonly ForwardedPort[] | undefined;
	/** Told of everything that policy kept in. */
	readonly onDenied?: (denial: NatDenial) => void;
}

/** One machine behind a NAT of its own: DHCP, DNS, and as much of the host's network as its rules let it have. */
export class UserNetwork implements Disposable {
	/** For the machine's options. */
	readonly nic: NicOptions;
	readonly nat: Nat;
	readonly #socket: NicSocket;
	readonly #clock: RealtimeClock;
	readonly #forwards: readonly PortForward[];

	/** @throws SpecError for a wrong rule */
	constructor(options: UserNetworkOptions = {}) {
		const { name = "machine", model, allow = [], deny = [] } = options;
		const mac = options.mac ?? stableMac("", name, "nic0");
		this.#clock = new RealtimeClock(new NodeHost());
		const { clock } = this.#clock;
		this.nat = new Nat({
			name: "nat",
			clock,
			host: nodeNetwork,
			seed: name,
			mac: stableMac("", name, "nat"),
			allow,
			deny,
			reservations: new Map([[mac, GUEST_ADDRESS]]),
		});
		this.nat.onDenied = options.onDenied ?? this.nat.onDenied;
		const link = new Link({ name: "nat", clock, seed: name });
		this.#socket = new NicSocket("nic0");
		this.#socket.jack.plug(link.a);
		this.nat.port().plug(link.b);
		this.nic = { port: this.#socket.port, mac, ...(model === undefined ? {} : { model }) };
		this.#forwards = (options.forwards ?? []).map(({ protocol, address, port, guestPort }) => ({
			protocol,
			at: { port, ...(address === undefined ? {} : { address }) },
			to: { address: GUEST_ADDRESS, port: guestPort },
		}));
	}

	/** To be called once the machine is made. Resolves when the forwarded ports are open. @throws HostError `unsupported` */
	async attach(machine: Machine): Promise<void> {
		this.#socket.crossing = {
			toCable: (frame, jack) => {
				this.#clock.runDue();
				jack.send(frame);
			},
			toMachine: (arrive) => machine.post(arrive),
		};
		this.#clock.start();
		for (const forward of this.#forwards) await this.#open(forward);
	}

	#open(forward: PortForward): Promise<void> {
		return new Promise((resolve, reject) => {
			this.nat.forward(forward, (error) =>
				reject(
					new HostError(
						"unsupported",
						`${forward.protocol} port ${forward.at.address ?? "127.0.0.1"}:${forward.at.port} cannot be had: ${error}`,
					),
				),
			);
			// What cannot be had says so at once; there is no word for success.
			setTimeout(resolve, 20);
		});
	}

	[Symbol.dispose](): void {
		this.nat.close();
		void this.#clock.stop();
	}
}
