import { SpecError } from "../net/link/errors.ts";
import { type IssueLog, type LabPath, show, suggestion } from "./issue.ts";

/** As much of JSON Schema (draft 2020-12) as lab files need. */
export interface JsonSchema {
	readonly $ref?: string;
	readonly $defs?: Readonly<Record<string, JsonSchema>>;
	readonly type?: "string" | "number" | "integer" | "boolean" | "object" | "array" | "null";
	readonly description?: string;
	readonly enum?: readonly (string | number | boolean)[];
	readonly pattern?: string;
	readonly minimum?: number;
	readonly maximum?: number;
	readonly properties?: Readonly<Record<string, JsonSchema>>;
	readonly patternProperties?: Readonly<Record<string, JsonSchema>>;
	readonly additionalProperties?: boolean | JsonSchema;
	readonly required?: readonly string[];
	readonly minProperties?: number;
	readonly maxProperties?: number;
	readonly items?: JsonSchema;
	readonly anyOf?: readonly JsonSchema[];
	readonly examples?: readonly unknown[];
}

/**
 * Reads one value of a lab file and knows its JSON Schema, so that what editors are told and what is accepted are one
 * thing. What is wrong goes to the log, and the result is then `undefined`.
 */
export interface Reader<T> {
	readonly schema: JsonSchema;
	read(value: unknown, path: LabPath, log: IssueLog): T | undefined;
}

/** @param read throws SpecError */
export function reader<T>(schema: JsonSchema, read: (value: unknown, path: LabPath) => T): Reader<T> {
	return { schema, read: (value, path, log) => log.attempt(() => read(value, path)) };
}

export const text: Reader<string> = reader({ type: "string" }, (value, path) => {
	if (typeof value !== "string" || value === "") throw new SpecError("bad-value", path, value, "a text");
	return value;
});

export const flag: Reader<boolean> = reader({ type: "boolean" }, (value, path) => {
	if (typeof value !== "boolean") throw new SpecError("bad-value", path, value, "true or false");
	return value;
});

export function count(minimum: number, maximum: number): Reader<number> {
	return reader({ type: "integer", minimum, maximum }, (value, path) => {
		if (typeof value !== "number" || !Number.isInteger(value))
			throw new SpecError("bad-value", path, value, `a whole number from ${minimum} to ${maximum}`);
		if (value < minimum || value > maximum)
			throw new SpecError("out-of-range", path, value, `a whole number from ${minimum} to ${maximum}`);
		return value;
	});
}

export function choice<const Name extends string>(...names: readonly Name[]): Reader<Name> {
	return reader({ enum: names }, (value, path) => {
		const hint = typeof value === "string" ? suggestion(value, names) : "";
		if (!names.includes(value as Name)) throw new SpecError("bad-value", path, value, `one of ${names.join(", ")}${hint}`);
		return value as Name;
	});
}

/** A text of a known form. */
export function pattern<T>(expression: RegExp, expected: string, make: (text: string) => T | undefined, example: string): Reader<T> {
	return reader({ type: "string", pattern: expression.source, examples: [example] }, (value, path) => {
		const made = typeof value === "string" && expression.test(value) ? make(value) : undefined;
		if (made === undefined) throw new SpecError("bad-value", path, value, expected);
		return made;
	});
}

export function listOf<T>(item: Reader<T>, expected: string): Reader<readonly T[]> {
	return {
		schema: { type: "array", items: item.schema },
		read(value, path, log) {
			if (!Array.isArray(value)) return log.error("bad-value", path, show(value), expected);
			return value.flatMap((each, index) => {
				const read = item.read(each, [...path, String(index)], log);
				return read === undefined ? [] : [read];
			});
		},
	};
}

/** One, or a list of several. */
export function oneOrMany<T>(item: Reader<T>, expected: string): Reader<readonly T[]> {
	const many = listOf(item, expected);
	return {
		schema: { anyOf: [item.schema, many.schema] },
		read(value, path, log) {
			if (Array.isArray(value)) return many.read(value, path, log);
			const one = item.read(value, path, log);
			return one === undefined ? undefined : [one];
		},
	};
}

/** Several forms; `choose` says by the value which one it is meant to be. */
export function either<T>(readers: readonly Reader<T>[], choose: (value: unknown) => number): Reader<T> {
	return {
		schema: { anyOf: readers.map(({ schema }) => schema) },
		read: (value, path, log) => (readers[choose(value)] as Reader<T>).read(value, path, log),
	};
}

/** Names of the writer's own, all with the same kind of value. */
export function mapOf<T>(
	item: Reader<T>,
	options: { readonly expected: string; readonly key: RegExp; readonly keyExpected: string },
): Reader<ReadonlyMap<string, T>> {
	return {
		schema: { type: "object", patternProperties: { [options.key.source]: item.schema }, additionalProperties: false },
		read(value, path, log) {
			if (!isMap(value)) return log.error("bad-value", path, show(value), options.expected);
			const map = new Map<string, T>();
			for (const [key, each] of Object.entries(value)) {
				if (!options.key.test(key)) log.error("bad-value", [...path, key], `"${key}"`, options.keyExpected, "key");
				const read = item.read(each, [...path, key], log);
				if (read !== undefined) map.set(key, read);
			}
			return map;
		},
	};
}

export interface Field<T> {
	readonly reader: Reader<T>;
	readonly description: string;
	readonly isRequired?: boolean;
}

type Shape = Readonly<Record<string, Field<unknown>>>;
type ValueOf<F> = F extends Field<infer T> ? (F extends { readonly isRequired: true } ? T : T | undefined) : never;
export type FieldsOf<S extends Shape> = { readonly [Key in keyof S]: ValueOf<S[Key]> };

export function field<T>(reader: Reader<T>, description: string): Field<T> {
	return { reader, description };
}

export function required<T>(reader: Reader<T>, description: string): Field<T> & { readonly isRequired: true } {
	return { reader, description, isRequired: true };
}

/** A map with these keys and no others. */
export function fields<const S extends Shape>(what: string, shape: S): Reader<FieldsOf<S>> & { readonly shape: S } {
	const entries = Object.entries(shape);
	const needed = entries.filter(([, { isRequired }]) => isRequired === true).map(([key]) => key);
	return {
		shape,
		schema: {
			type: "object",
			properties: Object.fromEntries(entries.map(([key, { reader, description }]) => [key, { ...reader.schema, description }])),
			additionalProperties: false,
			...(needed.length === 0 ? {} : { required: needed }),
		},
		read(value, path, log) {
			if (!isMap(value)) return log.error("bad-value", path, show(value), `${what}: a map with ${Object.keys(shape).join(", ")}`);
			for (const key of Object.keys(value))
				if (!Object.hasOwn(shape, key))
					log.error(
						"unknown-key",
						[...path, key],
						`unknown key ${key}`,
						`one of ${Object.keys(shape).join(", ")}${suggestion(key, Object.keys(shape))}`,
						"key",
					);
			const result: Record<string, unknown> = {};
			let isWhole = true;
			for (const [key, { reader, isRequired }] of entries) {
				const given = value[key];
				if (given !== undefined && given !== null) result[key] = reader.read(given, [...path, key], log);
				else if (isRequired === true) log.error("missing", path, `no ${key}`, `${key} in ${what}`, "key");
				if (isRequired === true && result[key] === undefined) isWhole = false;
			}
			return isWhole ? (result as FieldsOf<S>) : undefined;
		},
	};
}

export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}
