import type { Ns } from "../base/units.ts";
import type { LinkSpec } from "../net/link/spec.ts";
import type { Action } from "./actions.ts";
import type { Expectation } from "./expectations.ts";
import type { FieldsOf } from "./fields.ts";
import type { LabPath } from "./issue.ts";
import type { CaptureModel } from "./link-reader.ts";
import type { KINDS, NodeKind } from "./node-kinds.ts";

/** A node with its kind's keys, as read. */
export type NodeModel = {
	[Kind in NodeKind]: { readonly kind: Kind; readonly name: string; readonly path: LabPath } & Omit<
		FieldsOf<(typeof KINDS)[Kind]["shape"]>,
		"kind"
	>;
}[NodeKind];

export type NodeOf<Kind extends NodeKind> = Extract<NodeModel, { readonly kind: Kind }>;

export interface LinkEnd {
	readonly node: string;
	readonly port: string;
}

/** A cable. `up` is from `a` to `b`. */
export interface LinkModel {
	/** Key of its randomness, and what commands call it: `gw:wan--isp`. */
	readonly name: string;
	readonly a: LinkEnd;
	readonly b: LinkEnd;
	readonly spec: LinkSpec;
	readonly capture: CaptureModel | undefined;
	readonly path: LabPath;
}

export interface TimedAction {
	readonly timeNs: Ns;
	readonly action: Action;
}

/** A lab, read and checked; everything in it refers to something that is there. */
export interface LabModel {
	readonly name: string;
	readonly seed: number | string;
	/** `undefined`: whoever runs it says. */
	readonly clock: "virtual" | "realtime" | undefined;
	readonly nodes: ReadonlyMap<string, NodeModel>;
	readonly links: readonly LinkModel[];
	/** In order of time; of equal times, as written. */
	readonly timeline: readonly TimedAction[];
	readonly expectations: readonly Expectation[];
	/** Where a canvas shows each node. */
	readonly layout: ReadonlyMap<string, { readonly x: number; readonly y: number }>;
}
