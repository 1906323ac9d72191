import type { ByteStore, Disk } from "./disk.ts";

/** The same store, whose owner goes on using it after a disk on it has been closed. */
export function keepOpen(store: ByteStore): ByteStore {
	return new Proxy(store, {
		get(target, key) {
			if (key === "close") return () => Promise.resolve();
			const value: unknown = Reflect.get(target, key, target);
			return typeof value === "function" ? value.bind(target) : value;
		},
	});
}

/** The same for a disk that lies below several others. */
export function keepDiskOpen(disk: Disk): Disk {
	return new Proxy(disk, {
		get(target, key) {
			if (key === "close") return () => Promise.resolve();
			const value: unknown = Reflect.get(target, key, target);
			return typeof value === "function" ? value.bind(target) : value;
		},
	});
}
