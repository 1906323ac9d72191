import { type Command, InvalidArgumentError } from "commander";
import type { UserNetworkOptions } from "../host/node/net/user-network.ts";
import { type Mac, parseMac } from "../net/frames/address.ts";
import { NIC_MODELS, type NicModel } from "../vm/config.ts";
import { UsageError } from "./failure.ts";
import { option } from "./option.ts";
import { collect } from "./run-options.ts";

/** What a machine's card is plugged into. */
export type NetOption = { readonly kind: "none" } | { readonly kind: "nat"; readonly model?: NicModel; readonly mac?: Mac };

/** A port of the host that leads into the guest. */
export interface ForwardOption {
	readonly protocol: "tcp" | "udp";
	readonly address?: string;
	readonly port: number;
	readonly guestPort: number;
}

/** What says how a machine reaches the world. */
export interface NetOptions {
	readonly net?: NetOption;
	readonly allow?: readonly string[];
	readonly deny?: readonly string[];
	readonly forward?: readonly ForwardOption[];
}

export function addNetOptions(command: Command): void {
	command
		.addOption(option("--net <kind>", "nat[,model=virtio|e1000|ne2k-pci][,mac=ADDRESS] or none").argParser(parseNet))
		.addOption(
			option(
				"--allow <rule>",
				'let the guest out: "any internet", "tcp host:8080", "udp 10.1.0.0/16:53", "tcp *.example.org:443", "dns"; repeatable',
			).argParser(collect(String)),
		)
		.addOption(option("--deny <rule>", "keep the guest from what --allow would let through; repeatable").argParser(collect(String)))
		.addOption(
			option(
				"--forward <ports>",
				"[tcp:|udp:][ADDRESS:]PORT:GUESTPORT: a port of the host that leads into the guest; repeatable",
			).argParser(collect(parseForward)),
		);
}

/** @throws UsageError where rules have nothing to rule over */
export function networkOf({ net, allow, deny, forward }: NetOptions): Omit<UserNetworkOptions, "name"> | undefined {
	if (net === undefined || net.kind === "none") {
		const [given] = [
			...(allow === undefined ? [] : ["--allow"]),
			...(deny === undefined ? [] : ["--deny"]),
			...(forward === undefined ? [] : ["--forward"]),
		];
		if (given !== undefined) throw new UsageError(`${given} needs --net nat`);
		return undefined;
	}
	return { model: net.model, mac: net.mac, allow, deny, forwards: forward };
}

/** `none`, or `nat[,model=…][,mac=…]`. */
function parseNet(text: string): NetOption {
	const [kind = "", ...settings] = text.split(",");
	if (kind !== "nat" && kind !== "none")
		throw new UsageError(`--net ${text}: only a lab has switches (see "basenji up"); it is nat or none here`);
	if (kind === "none" && settings.length > 0) throw new InvalidArgumentError("none takes no settings.");
	const option: { kind: "nat"; model?: NicModel; mac?: Mac } = { kind: "nat" };
	for (const setting of settings) {
		const [key = "", value = ""] = setting.split("=", 2);
		if (key === "model") {
			const model = NIC_MODELS.find((known) => known === value);
			if (model === undefined) throw new InvalidArgumentError(`model is one of ${NIC_MODELS.join(", ")}, not "${value}".`);
			option.model = model;
		} else if (key === "mac") {
			const mac = parseMac(value);
			if (mac === undefined) throw new InvalidArgumentError(`mac is an address such as 02:00:00:00:00:01, not "${value}".`);
			option.mac = mac;
		} else throw new InvalidArgumentError(`unknown key "${key}"; known are model, mac.`);
	}
	return kind === "none" ? { kind } : option;
}

/** `[tcp:|udp:][ADDRESS:]PORT:GUESTPORT`. */
function parseForward(text: string): ForwardOption {
	const match = /^(?:(tcp|udp):)?(?:(\d+\.\d+\.\d+\.\d+):)?(\d+):(\d+)$/.exec(text);
	const [port, guestPort] = [Number(match?.[3]), Number(match?.[4])];
	if (match === null || !isPort(port) || !isPort(guestPort))
		throw new InvalidArgumentError("it is [tcp:|udp:][ADDRESS:]PORT:GUESTPORT, such as 8080:80.");
	return { protocol: match[1] === "udp" ? "udp" : "tcp", port, guestPort, ...(match[2] === undefined ? {} : { address: match[2] }) };
}

function isPort(port: number): boolean {
	return port >= 1 && port <= 65_535;
}
