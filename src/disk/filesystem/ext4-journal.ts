import { type Blocks, JOURNAL_MAGIC } from "./blocks.ts";

// Linux, Documentation/filesystems/ext4: "Journal (jbd2)". All numbers are big-endian.
const DESCRIPTOR = 1;
const COMMIT = 2;
const REVOKE = 5;
const INCOMPAT_64BIT = 2;
const INCOMPAT_CSUM_V2 = 8;
const INCOMPAT_CSUM_V3 = 16;
const INCOMPAT_FAST_COMMIT = 32;
const DEFAULT_FAST_BLOCKS = 256;
const TAG_ESCAPED = 1;
const TAG_SAME_UUID = 2;
const TAG_LAST = 8;
const HEADER_BYTES = 12;
const UUID_BYTES = 16;

interface Write {
	readonly block: number;
	readonly from: number;
	readonly isEscaped: boolean;
	readonly sequence: number;
}

/**
 * Has `blocks` read as they will once the journal's complete transactions are written in place. `journal`: the blocks of its
 * file. What fast commits hold is left out.
 */
export async function replayJournal(blocks: Blocks, journal: readonly number[]): Promise<void> {
	const head = await blocks.readAsIs(journal[0] ?? 0);
	const start = head.getUint32(0x1c);
	if (head.getUint32(0) !== JOURNAL_MAGIC || start === 0) return;
	const features = head.getUint32(4) === 4 ? head.getUint32(0x28) : 0;
	const fast = (features & INCOMPAT_FAST_COMMIT) === 0 ? 0 : head.getUint32(0x54) || DEFAULT_FAST_BLOCKS;
	const first = head.getUint32(0x14);
	const end = Math.min(head.getUint32(0x10), journal.length) - fast;
	const place = { at: start, left: end - first };
	const next = (): number => {
		const at = place.at;
		place.at = at + 1 >= end ? first : at + 1;
		place.left--;
		return journal[at] ?? 0;
	};
	const writes: Write[] = [];
	const revoked = new Map<number, number>();
	let pending: Write[] = [];
	for (let sequence = head.getUint32(0x18); place.left > 0; ) {
		const block = await blocks.readAsIs(next());
		if (block.getUint32(0) !== JOURNAL_MAGIC || block.getUint32(8) !== sequence) break;
		const kind = block.getUint32(4);
		if (kind === DESCRIPTOR)
			for (const { block: target, isEscaped } of tagsOf(block, features))
				pending.push({ block: target, from: next(), isEscaped, sequence });
		else if (kind === REVOKE) for (const target of revokedBy(block, features)) revoked.set(target, sequence);
		else if (kind === COMMIT) {
			writes.push(...pending);
			pending = [];
			sequence = (sequence + 1) >>> 0;
		} else break;
	}
	// A block that has been given up since must not be overwritten by what it was before.
	for (const { block, from, isEscaped, sequence } of writes) if ((revoked.get(block) ?? -1) < sequence) blocks.move(block, from, isEscaped);
}

function* tagsOf(view: DataView, features: number): Generator<{ readonly block: number; readonly isEscaped: boolean }> {
	const isV3 = (features & INCOMPAT_CSUM_V3) !== 0;
	const isWide = (features & INCOMPAT_64BIT) !== 0;
	const tagBytes = isV3 ? 16 : 8 + (isWide ? 4 : 0) + ((features & INCOMPAT_CSUM_V2) !== 0 ? 2 : 0);
	for (let at = HEADER_BYTES; at + tagBytes <= view.byteLength; ) {
		const flags = isV3 ? view.getUint32(at + 4) : view.getUint16(at + 6);
		yield { block: (isWide ? view.getUint32(at + 8) * 2 ** 32 : 0) + view.getUint32(at), isEscaped: (flags & TAG_ESCAPED) !== 0 };
		if ((flags & TAG_LAST) !== 0) return;
		at += tagBytes + ((flags & TAG_SAME_UUID) === 0 ? UUID_BYTES : 0);
	}
}

function* revokedBy(view: DataView, features: number): Generator<number> {
	const isWide = (features & INCOMPAT_64BIT) !== 0;
	const end = Math.min(view.getUint32(HEADER_BYTES), view.byteLength);
	for (let at = HEADER_BYTES + 4; at + (isWide ? 8 : 4) <= end; at += isWide ? 8 : 4)
		yield isWide ? Number(view.getBigUint64(at)) : view.getUint32(at);
}
