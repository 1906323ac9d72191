import type { Cable, CableEnd } from "./cables.ts";
import type { LinkEnd, LinkModel } from "./model.ts";

export interface LinkMatch {
	readonly link: LinkModel;
	/** For a directed cable: which direction of the link it means. */
	readonly side: "up" | "down" | undefined;
}

function fits(end: LinkEnd, wanted: CableEnd): boolean {
	return end.node === wanted.node && (wanted.port === undefined || wanted.port === end.port);
}

/** The links that two ends name, whichever of them was written first. */
export function findLink(links: readonly LinkModel[], { from, to, isDirected }: Cable): readonly LinkMatch[] {
	const found: LinkMatch[] = [];
	for (const link of links) {
		if (fits(link.a, from) && fits(link.b, to)) found.push({ link, side: isDirected ? "up" : undefined });
		else if (fits(link.b, from) && fits(link.a, to)) found.push({ link, side: isDirected ? "down" : undefined });
	}
	return found;
}
