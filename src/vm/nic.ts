import { E1000 } from "../chips/e1000/device.ts";
import { Ne2000Pci } from "../chips/ne2000/device.ts";
import type { Clock } from "../machine/clock.ts";
import type { GuestMemory } from "../machine/memory.ts";
import type { PciDevice } from "../machine/pci.ts";
import type { Mac } from "../net/frames/address.ts";
import { stableMac } from "../net/stable-mac.ts";
import { VirtioNet } from "../virtio/net/device.ts";
import { VirtioPci } from "../virtio/pci-transport.ts";
import type { MachineConfig } from "./config.ts";

/** More pairs of queues than this no guest of ours has had a use for. */
const MAX_PAIRS = 8;

export interface NicPlace {
	/** "nic0", … */
	readonly name: string;
	readonly config: MachineConfig;
	readonly memory: GuestMemory;
	readonly clock: Clock;
	readonly post: (work: () => void) => void;
}

/** A card's own address: unless told, made of the machine's name and its own. */
export function macOfNic({ mac }: { readonly mac?: Mac | undefined }, machine: string, name: string): Mac {
	return mac ?? stableMac("", machine, name);
}

/** A network card of the model that the configuration names. */
export function makeNic(nic: MachineConfig["nics"][number], place: NicPlace): PciDevice {
	const { name, config, memory, clock, post } = place;
	const { port, mtu } = nic;
	const mac = macOfNic(nic, config.name, name);
	if (nic.model === "e1000") return new E1000(port, { name, mac, clock });
	if (nic.model === "ne2k-pci") return new Ne2000Pci(port, { name, mac });
	const pairs = Math.min(config.cpus, MAX_PAIRS);
	return new VirtioPci(new VirtioNet(port, { name, mac, pairs, post, ...(mtu === undefined ? {} : { mtuBytes: mtu }) }), memory);
}
