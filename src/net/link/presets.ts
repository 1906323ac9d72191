import type { LinkSpec } from "./spec.ts";

function symmetric(rate: string, delay: string, more: LinkSpec = {}): LinkSpec {
	return { rate, delay, ...more };
}

/**
 * Cables and access lines that people know by name. Rates of modems, ISDN, leased lines, T1, T3 and cable are those of
 * VMware's list; delays are one way and typical, queues those of the equipment of the day.
 */
const PRESETS: Readonly<Record<string, LinkSpec>> = {
	"10base-t": symmetric("10mbit", "1us"),
	"100base-tx": symmetric("100mbit", "1us"),
	"1000base-t": symmetric("1gbit", "1us"),
	"10gbase-t": symmetric("10gbit", "1us"),
	"modem-28.8": symmetric("28.8kbit", "75ms", { framing: { overhead: 0 } }),
	"modem-56": { up: { rate: "33.6kbit" }, down: { rate: "56kbit" }, delay: "60ms", framing: { overhead: 0 } },
	"isdn-64": symmetric("64kbit", "10ms", { framing: { overhead: 0 } }),
	"isdn-128": symmetric("128kbit", "10ms", { framing: { overhead: 0 } }),
	"leased-192": symmetric("192kbit", "5ms", { framing: { overhead: 0 } }),
	t1: symmetric("1544kbit", "5ms", { framing: { overhead: 0 } }),
	t3: symmetric("45mbit", "5ms", { framing: { overhead: 0 } }),
	"cable-4m": symmetric("4mbit", "8ms", { jitter: "2ms" }),
	"cable-10m": symmetric("10mbit", "8ms", { jitter: "2ms" }),
	"cable-100m": symmetric("100mbit", "6ms", { jitter: "2ms" }),
	// AAL5 over ATM: Ethernet's header, 10 bytes of LLC/SNAP and pad (RFC 2684 §5.2), 8 of AAL5, in cells of 48 and 5.
	dsl: { up: { rate: "1mbit" }, down: { rate: "16mbit" }, delay: "12ms", framing: { overhead: 18, cell: 48, cellOverhead: 5 } },
	vdsl: { up: { rate: "10mbit" }, down: { rate: "50mbit" }, delay: "8ms" },
	fiber: { up: { rate: "200mbit" }, down: { rate: "1gbit" }, delay: "2ms" },
	wifi: symmetric("54mbit", "2ms ±1ms normal", { loss: { model: "gilbert", rate: "0.5%", burst: 3 } }),
	gprs: { up: { rate: "20kbit" }, down: { rate: "50kbit" }, delay: "250ms ±50ms normal 50%", loss: "0.5%" },
	edge: { up: { rate: "60kbit" }, down: { rate: "200kbit" }, delay: "150ms ±30ms normal 50%", loss: "0.3%" },
	"3g": { up: { rate: "330kbit" }, down: { rate: "1.6mbit" }, delay: "75ms ±15ms normal 50%", loss: "0.2%", queue: "500ms" },
	lte: { up: { rate: "10mbit" }, down: { rate: "30mbit" }, delay: "25ms ±5ms normal 50%", loss: "0.1%", queue: "200ms" },
	"5g": { up: { rate: "50mbit" }, down: { rate: "300mbit" }, delay: "8ms ±2ms normal 50%", loss: "0.05%", queue: "100ms" },
	satellite: { up: { rate: "3mbit" }, down: { rate: "25mbit" }, delay: "280ms ±10ms normal", loss: "0.5%", queue: "500ms" },
	leo: {
		up: { rate: "15mbit" },
		down: { rate: "100mbit" },
		delay: "20ms ±5ms normal 30%",
		loss: { model: "gilbert", rate: "0.5%", burst: 10 },
	},
	lossy: { loss: "10%", delay: "50ms ±10ms" },
};

export const PRESET_NAMES: readonly string[] = Object.keys(PRESETS);

export function preset(name: string): LinkSpec | undefined {
	return Object.hasOwn(PRESETS, name) ? PRESETS[name] : undefined;
}
