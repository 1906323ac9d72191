import { randomUUID } from "node:crypto";
import type { StateValue } from "../../../base/json.ts";
import { NicSocket } from "../../../lab/run/nic-socket.ts";
import { RealtimeClock } from "../../../lab/run/realtime.ts";
import type { Mac } from "../../../net/frames/address.ts";
import { Link, type LinkSnapshot } from "../../../net/link/link.ts";
import { Nat, type NatDenial, type NatState, type PortForward } from "../../../net/nat/nat.ts";
import { stableMac } from "../../../net/stable-mac.ts";
import type { NicModel, NicOptions, OwnNetwork } from "../../../vm/config.ts";
import type { Machine } from "../../../vm/machine.ts";
import { NodeHost } from "../host.ts";
import { HostError } from "../host-error.ts";
import { nodeNetwork } from "./node-network.ts";

/** What the one guest behind it gets by DHCP. */
export const GUEST_ADDRESS = "10.0.2.15";

/** The same for everybody: a fork's guest finds the gateway where it was. */
const GATEWAY_MAC = stableMac("", "", "nat");

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
	readonly onDenied?: ((denial: NatDenial) => void) | undefined;
}

type UserNetworkState = { readonly nowNs: number; readonly link: LinkSnapshot; readonly nat: NatState };

/** One machine behind a NAT of its own: DHCP, DNS, and as much of the host's network as its rules let it have. */
export class UserNetwork implements Disposable, OwnNetwork {
	/** For the machine's options. */
	readonly nic: NicOptions;
	readonly nat: Nat;
	readonly #socket: NicSocket;
	readonly #clock: RealtimeClock;
	readonly #link: Link;
	/** How often the machine has been put back: a frame on its way to the machine that was is not for the one that is. */
	#era = 0;
	readonly #forwards: readonly PortForward[];
	readonly #fresh: UserNetworkState;

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
			mac: GATEWAY_MAC,
			allow,
			deny,
			life: randomUUID(),
			reservations: new Map([[mac, GUEST_ADDRESS]]),
		});
		this.nat.onDenied = options.onDenied ?? this.nat.onDenied;
		this.#link = new Link({ name: "nat", clock, seed: name });
		this.#socket = new NicSocket("nic0");
		this.#socket.jack.plug(this.#link.a);
		this.nat.port().plug(this.#link.b);
		this.nic = { port: this.#socket.port, mac, network: this, ...(model === undefined ? {} : { model }) };
		this.#fresh = this.save();
		this.#forwards = (options.forwards ?? []).map(({ protocol, address, port, guestPort }) => ({
			protocol,
			at: { port, ...(address === undefined ? {} : { address }) },
			to: { address: GUEST_ADDRESS, port: guestPort },
		}));
	}

	/**
	 * To be called once the machine is made; the network ends with it. Resolves when the forwarded ports are open.
	 * @throws HostError `unsupported`
	 */
	async attach(machine: Machine): Promise<void> {
		machine.on("exit", () => this[Symbol.dispose]());
		this.#socket.crossing = {
			toCable: (frame, jack) => {
				this.#clock.runDue();
				jack.send(frame);
			},
			toMachine: (arrive) => {
				const era = this.#era;
				machine.post(() => {
					if (era === this.#era) arrive();
				});
			},
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

	save(): UserNetworkState {
		return { nowNs: this.#clock.nowNs, link: this.#link.save(), nat: this.nat.save() };
	}

	/** Its time goes on from the snapshot, as the guest's does. Without a state: new, all sessions over. */
	load(state: StateValue | undefined): void {
		this.#era++;
		const { nowNs, link, nat } = (state as UserNetworkState | undefined) ?? this.#fresh;
		this.#clock.set(nowNs);
		this.#link.load(link);
		this.nat.load(nat);
	}

	[Symbol.dispose](): void {
		this.nat.close();
		void this.#clock.stop();
	}
}
