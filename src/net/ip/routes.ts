import { type Ipv4, type Ipv4Prefix, isInPrefix, netmask } from "../frames/address.ts";

export interface Route {
	readonly prefix: Ipv4Prefix;
	/** The next hop; `undefined`: the destination is on the wire itself. */
	readonly via: Ipv4 | undefined;
	/** Where to: an interface's name, or the node's uplink. */
	readonly out: { readonly interfaceName: string } | "uplink";
}

/** Longest prefix wins; of equals, the first one added. */
export class RouteTable {
	#routes: Route[] = [];

	get routes(): readonly Route[] {
		return this.#routes;
	}

	add(route: Route): void {
		const address = (route.prefix.address & netmask(route.prefix.lengthBits)) >>> 0;
		this.#routes.push({ ...route, prefix: { ...route.prefix, address } });
		this.#routes.sort((a, b) => b.prefix.lengthBits - a.prefix.lengthBits);
	}

	remove(isRemoved: (route: Route) => boolean): void {
		this.#routes = this.#routes.filter((route) => !isRemoved(route));
	}

	lookup(destination: Ipv4): Route | undefined {
		return this.#routes.find((route) => isInPrefix(destination, route.prefix));
	}
}
