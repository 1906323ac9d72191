import type { Mac } from "./frames/address.ts";
import { RandomStream } from "./link/random.ts";

/** Locally administered, for one station (IEEE 802-2014 §8.4): 02:BA, and four octets that tell cards apart. */
const PREFIX = 0x02ba;

/** The address of a card: the same whenever lab, machine and card have these names. */
export function stableMac(lab: string, machine: string, nic: string): Mac {
	return PREFIX * 2 ** 32 + new RandomStream(lab, machine, nic, "mac").u32(0);
}
