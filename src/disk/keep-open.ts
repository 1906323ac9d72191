import type { ByteStore, Disk } from "./disk.ts";

/** The same store, whose owner goes on using it after a disk on it has been closed. */
export function keepOpen(store: ByteStore): ByteStore {
	return withoutClose(store);
}

/** The same for a disk that lies below several others. */
export function keepDiskOpen(disk: Disk): Disk {
	return withoutClose(disk);
}

function withoutClose<Target extends object>(target: Target): Target {
	const bound = new Map<PropertyKey, unknown>([["close", () => Promise.resolve()]]);
	return new Proxy(target, {
		get(_, key) {
			const known = bound.get(key);
			if (known !== undefined) return known;
			const value: unknown = Reflect.get(target, key, target);
			if (typeof value !== "function") return value;
			const method: unknown = value.bind(target);
			bound.set(key, method);
			return method;
		},
	});
}
