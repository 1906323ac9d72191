import { NS_PER_S, type Ns } from "../../base/units.ts";
import { encodeUtf8, Utf8Decoder } from "../../base/utf8.ts";
import { encodeName } from "../dns/message.ts";
import { BROADCAST_IPV4, BROADCAST_MAC, type Ipv4, isGroupMac, isInPrefix, type Mac, netmask, readU32 } from "../frames/address.ts";
import { ETHERTYPE_IPV4 } from "../frames/ethernet.ts";
import { buildIpv4, PROTOCOL_UDP } from "../frames/ipv4.ts";
import { buildUdp } from "../frames/udp.ts";
import type { IpInterface } from "../ip/interface.ts";
import type { IpNode, ReceivedDatagram } from "../ip/node.ts";
import { RandomStream } from "../link/random.ts";
import * as dhcp from "./message.ts";

const SERVER_PORT = 67;
const CLIENT_PORT = 68;
const DEFAULT_LEASE_S = 24 * 3600;
/** An address that was offered and not asked for is free again after this. */
const OFFER_NS: Ns = 60 * NS_PER_S;
/** One that a client found in use by another is left alone for so long. */
const DECLINED_NS: Ns = 600 * NS_PER_S;

export interface DhcpOptions {
	/** First and last address of the pool; by default all of the subnet but our own. */
	readonly first?: Ipv4;
	readonly last?: Ipv4;
	/** Fixed addresses by MAC. */
	readonly reservations?: ReadonlyMap<Mac, Ipv4>;
	/** Default: this interface's address; `null`: none is announced. */
	readonly router?: Ipv4 | null;
	readonly dns?: readonly Ipv4[];
	readonly domain?: string;
	readonly search?: readonly string[];
	readonly mtuBytes?: number;
	readonly leaseS?: number;
	/** Never handed out. */
	readonly avoid?: ReadonlySet<Ipv4>;
	/** Network boot: server and file. */
	readonly boot?: { readonly server: Ipv4; readonly file: string };
	/** With the client's MAC, decides which address it gets. */
	readonly seed: number | string;
}

export interface Lease {
	readonly mac: Mac;
	readonly address: Ipv4;
	readonly expiresNs: Ns;
	readonly hostName: string | undefined;
	readonly isOffer: boolean;
}

export type DhcpState = {
	readonly leases: { mac: Mac; address: Ipv4; expiresNs: Ns; hostName: string | null; isOffer: boolean }[];
	readonly declined: { address: Ipv4; untilNs: Ns }[];
};

/**
 * A DHCP server (RFC 2131) for the subnet of one interface. Which address a client gets follows from the seed and its
 * MAC, so a lab hands out the same ones in every run, in whatever order machines come up.
 */
export class DhcpServer {
	readonly #node: IpNode;
	readonly #interface: IpInterface;
	readonly #options: DhcpOptions;
	readonly #random: RandomStream;
	readonly #first: Ipv4;
	readonly #last: Ipv4;
	readonly #leases = new Map<Mac, Lease>();
	readonly #byAddress = new Map<Ipv4, Mac>();
	readonly #declined = new Map<Ipv4, Ns>();
	/** Called with every new lease, so that names can be looked up. */
	onLease: (lease: Lease) => void = () => {};

	constructor(node: IpNode, on: IpInterface, options: DhcpOptions) {
		this.#node = node;
		this.#interface = on;
		this.#options = options;
		this.#random = new RandomStream(options.seed, node.name, on.name, "dhcp");
		const network = (on.prefix.address & netmask(on.prefix.lengthBits)) >>> 0;
		this.#first = options.first ?? network + 1;
		this.#last = options.last ?? ((network | ~netmask(on.prefix.lengthBits)) >>> 0) - 1;
	}

	leases(): Lease[] {
		return [...this.#leases.values()];
	}

	/** A datagram to port 67 that came in by this server's interface. */
	receive(datagram: ReceivedDatagram): void {
		const message = dhcp.parseDhcp(datagram.payload);
		if (message === undefined || message.op !== 1 || isGroupMac(message.clientMac) || message.clientMac === 0) return;
		const chosen = message.options.get(dhcp.OPTION_SERVER);
		const isForUs = chosen === undefined || (chosen.length === 4 && readU32(chosen, 0) === this.#interface.address);
		const type = message.options.get(dhcp.OPTION_MESSAGE_TYPE)?.[0];
		if (type === dhcp.DHCP_DISCOVER) this.#discover(message);
		else if (type === dhcp.DHCP_INFORM) this.#reply(message, dhcp.DHCP_ACK, 0, false);
		else if (type === dhcp.DHCP_REQUEST && isForUs) this.#request(message, chosen !== undefined);
		// The client has taken another server's offer.
		else if (type === dhcp.DHCP_REQUEST && this.#leases.get(message.clientMac)?.isOffer === true) this.#unbind(message.clientMac);
		else if (type === dhcp.DHCP_DECLINE && isForUs) this.#decline(message);
		else if (type === dhcp.DHCP_RELEASE && isForUs) this.#release(message);
	}

	#discover(message: dhcp.DhcpMessage): void {
		const address = this.#addressFor(message.clientMac, requestedAddress(message));
		if (address === undefined) return;
		const current = this.#leases.get(message.clientMac);
		if (current === undefined || current.isOffer || current.address !== address)
			this.#bind({ mac: message.clientMac, address, expiresNs: this.#nowNs + OFFER_NS, hostName: hostName(message), isOffer: true });
		this.#reply(message, dhcp.DHCP_OFFER, address, true);
	}

	/** RFC 2131 §4.3.2: after an offer, after a reboot, or to stay longer. */
	#request(message: dhcp.DhcpMessage, isSelecting: boolean): void {
		const mac = message.clientMac;
		const wanted = requestedAddress(message) ?? message.clientAddress;
		const known = this.#leases.get(mac);
		// A client that reboots with an address we know nothing of: right if it is free here, wrong if of another net.
		const isRight = known === undefined && !isSelecting ? this.#isFree(wanted, mac) : known?.address === wanted;
		if (!isRight) {
			this.#reply(message, dhcp.DHCP_NAK, 0, false);
			return;
		}
		const leaseS = this.#options.leaseS ?? DEFAULT_LEASE_S;
		const lease = {
			mac,
			address: wanted,
			expiresNs: this.#nowNs + leaseS * NS_PER_S,
			hostName: hostName(message) ?? known?.hostName,
			isOffer: false,
		};
		this.#bind(lease);
		this.onLease(lease);
		this.#reply(message, dhcp.DHCP_ACK, wanted, true);
	}

	#decline(message: dhcp.DhcpMessage): void {
		const lease = this.#leases.get(message.clientMac);
		if (lease === undefined || lease.address !== requestedAddress(message)) return;
		this.#unbind(message.clientMac);
		this.#declined.set(lease.address, this.#nowNs + DECLINED_NS);
	}

	#release(message: dhcp.DhcpMessage): void {
		if (this.#leases.get(message.clientMac)?.address === message.clientAddress) this.#unbind(message.clientMac);
	}

	get #nowNs(): Ns {
		return this.#node.timers.nowNs;
	}

	#bind(lease: Lease): void {
		this.#unbind(lease.mac);
		const before = this.#byAddress.get(lease.address);
		if (before !== undefined) this.#unbind(before);
		this.#leases.set(lease.mac, lease);
		this.#byAddress.set(lease.address, lease.mac);
	}

	#unbind(mac: Mac): void {
		const lease = this.#leases.get(mac);
		if (lease === undefined) return;
		this.#leases.delete(mac);
		this.#byAddress.delete(lease.address);
	}

	#isFree(address: Ipv4, mac: Mac): boolean {
		const reserved = this.#options.reservations;
		if (reserved?.get(mac) === address) return true;
		if (address < this.#first || address > this.#last || this.#node.isOwn(address) || !isInPrefix(address, this.#interface.prefix))
			return false;
		if (reserved !== undefined && [...reserved.values()].includes(address)) return false;
		if (this.#options.avoid?.has(address) === true) return false;
		if ((this.#declined.get(address) ?? 0) > this.#nowNs) return false;
		const holder = this.#byAddress.get(address);
		return holder === undefined || holder === mac || (this.#leases.get(holder) as Lease).expiresNs <= this.#nowNs;
	}

	/** The one it has, the one reserved, the one it asks for, else the first free one from where its MAC points. */
	#addressFor(mac: Mac, wanted: Ipv4 | undefined): Ipv4 | undefined {
		const reserved = this.#options.reservations?.get(mac);
		if (reserved !== undefined) return reserved;
		const current = this.#leases.get(mac)?.address;
		if (current !== undefined && this.#isFree(current, mac)) return current;
		if (wanted !== undefined && this.#isFree(wanted, mac)) return wanted;
		const size = this.#last - this.#first + 1;
		const start = this.#random.u32(mac) % Math.max(1, size);
		for (let step = 0; step < size && step < 65_536; step++) {
			const address = this.#first + ((start + step) % size);
			if (this.#isFree(address, mac)) return address;
		}
		return undefined;
	}

	#reply(request: dhcp.DhcpMessage, type: number, yourAddress: Ipv4, hasLease: boolean): void {
		const { address, prefix, broadcast, mtuBytes } = this.#interface;
		const { router, dns, domain, search, boot, leaseS = DEFAULT_LEASE_S } = this.#options;
		const options = new Map<number, Uint8Array>([
			[dhcp.OPTION_MESSAGE_TYPE, Uint8Array.of(type)],
			[dhcp.OPTION_SERVER, dhcp.addressOption(address)],
		]);
		if (type !== dhcp.DHCP_NAK) {
			options.set(dhcp.OPTION_MASK, dhcp.addressOption(netmask(prefix.lengthBits)));
			if (router !== null) options.set(dhcp.OPTION_ROUTER, dhcp.addressOption(router ?? address));
			if (dns !== undefined && dns.length > 0) options.set(dhcp.OPTION_DNS, dhcp.addressOption(...dns));
			if (domain !== undefined) options.set(dhcp.OPTION_DOMAIN, encodeUtf8(domain));
			if (search !== undefined) options.set(dhcp.OPTION_SEARCH, Uint8Array.from(search.flatMap((each) => [...encodeName(each)])));
			const mtu = this.#options.mtuBytes ?? mtuBytes;
			options.set(dhcp.OPTION_MTU, Uint8Array.of(mtu >>> 8, mtu & 255));
			if (broadcast !== undefined) options.set(dhcp.OPTION_BROADCAST, dhcp.addressOption(broadcast));
			if (boot !== undefined) options.set(dhcp.OPTION_BOOT_FILE, encodeUtf8(boot.file));
		}
		if (hasLease) {
			options.set(dhcp.OPTION_LEASE, dhcp.u32Option(leaseS));
			options.set(dhcp.OPTION_RENEWAL, dhcp.u32Option(Math.floor(leaseS / 2)));
			options.set(dhcp.OPTION_REBINDING, dhcp.u32Option(Math.floor((leaseS * 7) / 8)));
		}
		const payload = dhcp.buildDhcp({
			op: 2,
			transaction: request.transaction,
			isBroadcast: request.isBroadcast,
			clientAddress: type === dhcp.DHCP_NAK ? 0 : request.clientAddress,
			yourAddress,
			serverAddress: boot?.server ?? (type === dhcp.DHCP_NAK ? 0 : address),
			relayAddress: request.relayAddress,
			clientMac: request.clientMac,
			bootFile: boot?.file,
			options,
		});
		this.#sendReply(request, type, yourAddress, payload);
	}

	/** RFC 2131 §4.1: to the relay, to the client's own address, to all, or to a station that has no address yet. */
	#sendReply(request: dhcp.DhcpMessage, type: number, yourAddress: Ipv4, payload: Uint8Array): void {
		const source = this.#interface.address;
		if (request.relayAddress !== 0) {
			const to = request.relayAddress;
			this.#node.sendUdp({ source, sourcePort: SERVER_PORT, destination: to, destinationPort: SERVER_PORT, payload });
			return;
		}
		const isToAll = type === dhcp.DHCP_NAK || (request.clientAddress === 0 && request.isBroadcast);
		const destination = isToAll ? BROADCAST_IPV4 : request.clientAddress !== 0 ? request.clientAddress : yourAddress;
		const udp = buildUdp({ sourcePort: SERVER_PORT, destinationPort: CLIENT_PORT, payload }, source, destination);
		const packet = buildIpv4({ protocol: PROTOCOL_UDP, source, destination, payload: udp });
		this.#interface.sendFrame(isToAll ? BROADCAST_MAC : request.clientMac, ETHERTYPE_IPV4, packet);
	}

	save(): DhcpState {
		return {
			leases: this.leases().map((lease) => ({ ...lease, hostName: lease.hostName ?? null })),
			declined: [...this.#declined].map(([address, untilNs]) => ({ address, untilNs })),
		};
	}

	load(state: DhcpState): void {
		this.#leases.clear();
		this.#byAddress.clear();
		this.#declined.clear();
		for (const lease of state.leases) this.#bind({ ...lease, hostName: lease.hostName ?? undefined });
		for (const { address, untilNs } of state.declined) this.#declined.set(address, untilNs);
	}
}

/** One server per interface of `node`, behind its port 67. */
export function serveDhcp(node: IpNode, servers: ReadonlyMap<IpInterface, DhcpServer>): void {
	node.onUdp(SERVER_PORT, (datagram) => servers.get(datagram.from)?.receive(datagram));
}

function requestedAddress(message: dhcp.DhcpMessage): Ipv4 | undefined {
	const option = message.options.get(dhcp.OPTION_REQUESTED_ADDRESS);
	return option?.length === 4 ? readU32(option, 0) : undefined;
}

/** Only what may be a host's name (RFC 952, RFC 1123 §2.1) is believed. */
function hostName(message: dhcp.DhcpMessage): string | undefined {
	const option = message.options.get(dhcp.OPTION_HOST_NAME);
	const name = option === undefined ? "" : new Utf8Decoder().decode(option).replace(/\0+$/, "");
	return /^[a-z\d]([a-z\d-]{0,61}[a-z\d])?$/i.test(name) ? name.toLowerCase() : undefined;
}
