import type { Disk } from "../disk/disk.ts";

// Virtio 1.2 §5.2.3, "Feature bits"
const VIRTIO_BLK_F_SEG_MAX = 1n << 2n;
const VIRTIO_BLK_F_RO = 1n << 5n;
const VIRTIO_BLK_F_BLK_SIZE = 1n << 6n;
export const VIRTIO_BLK_F_FLUSH = 1n << 9n;
const VIRTIO_BLK_F_TOPOLOGY = 1n << 10n;
export const VIRTIO_BLK_F_CONFIG_WCE = 1n << 11n;
const VIRTIO_BLK_F_DISCARD = 1n << 13n;
const VIRTIO_BLK_F_WRITE_ZEROES = 1n << 14n;

const CONFIG_BYTES = 60;
export const WRITEBACK_AT = 32;
const SECTOR_BYTES = 512;
/** What guests see as the best unit of large transfers. */
const OPTIMAL_IO_BYTES = 64 * 1024;

/** struct virtio_blk_config (Virtio 1.2 §5.2.4, "Device configuration layout"), for the disk underneath. */
export class BlockConfig {
	readonly bytes = new Uint8Array(CONFIG_BYTES);
	readonly #view = new DataView(this.bytes.buffer);
	readonly #segMax: number;
	/** Per segment of a discard or a write-zeroes: 1 GiB. */
	readonly maxClearSectors = 2 ** 21;
	readonly maxClearSegments = 32;
	features = 0n;

	constructor(disk: Disk, queueSize: number) {
		// Room for the header and the status beside the data, should a driver go without indirect descriptors.
		this.#segMax = queueSize - 2;
		this.bytes[WRITEBACK_AT] = 1;
		this.describe(disk);
	}

	/** Fills in what depends on the disk; answers whether a guest can see a difference. */
	describe(disk: Disk): boolean {
		const before = this.bytes.slice();
		const view = this.#view;
		const capacity = Math.floor(disk.sizeBytes / SECTOR_BYTES);
		view.setUint32(0, capacity % 2 ** 32, true);
		view.setUint32(4, Math.floor(capacity / 2 ** 32), true);
		view.setUint32(12, this.#segMax, true);
		view.setUint32(20, disk.sectorBytes, true);
		// Topology: physical blocks of 4 KiB whatever the logical size, so that partitions are laid out on them.
		view.setUint8(24, Math.log2(4096 / disk.sectorBytes));
		view.setUint8(25, 0);
		view.setUint16(26, 4096 / disk.sectorBytes, true);
		view.setUint32(28, OPTIMAL_IO_BYTES / disk.sectorBytes, true);
		view.setUint16(34, 1, true);
		view.setUint32(36, this.maxClearSectors, true);
		view.setUint32(40, this.maxClearSegments, true);
		view.setUint32(44, 4096 / SECTOR_BYTES, true);
		view.setUint32(48, this.maxClearSectors, true);
		view.setUint32(52, this.maxClearSegments, true);
		view.setUint8(56, 1);
		this.features =
			VIRTIO_BLK_F_SEG_MAX |
			VIRTIO_BLK_F_BLK_SIZE |
			VIRTIO_BLK_F_TOPOLOGY |
			(disk.isReadOnly ? VIRTIO_BLK_F_RO : VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES);
		return this.bytes.some((byte, i) => byte !== before[i]);
	}
}
