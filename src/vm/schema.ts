import { MachineError } from "./error.ts";
import { parseSize } from "./quantity.ts";

/** Reads one value; `key` is its full path for messages. @throws MachineError `config` */
export type Parser<T> = (value: unknown, key: string) => T;

export function refuse(key: string, problem: string): never {
	throw new MachineError("config", `${key}: ${problem}`);
}

function shown(value: unknown): string {
	if (typeof value === "string") return JSON.stringify(value);
	return typeof value === "object" && value !== null ? "an object" : String(value);
}

export const text: Parser<string> = (value, key) =>
	typeof value === "string" ? value : refuse(key, `a text is wanted, not ${shown(value)}`);

export const flag: Parser<boolean> = (value, key) =>
	typeof value === "boolean" ? value : refuse(key, `true or false is wanted, not ${shown(value)}`);

export const bytes: Parser<Uint8Array> = (value, key) =>
	value instanceof Uint8Array ? value : refuse(key, `bytes are wanted, not ${shown(value)}`);

export function integer(min: number, max: number): Parser<number> {
	return (value, key) =>
		typeof value === "number" && Number.isInteger(value) && value >= min && value <= max
			? value
			: refuse(key, `a whole number from ${min} to ${max} is wanted, not ${shown(value)}`);
}

/** A size in bytes, or a text such as "512M". */
export const size: Parser<number> = (value, key) => {
	const parsed = typeof value === "number" || typeof value === "string" ? parseSize(value) : undefined;
	return parsed ?? refuse(key, `a size such as 512M is wanted, not ${shown(value)}`);
};

export function oneOf<const T extends string>(...choices: readonly T[]): Parser<T> {
	return (value, key) => choices.find((choice) => choice === value) ?? refuse(key, `${shown(value)} is none of ${choices.join(", ")}`);
}

export function list<T>(item: Parser<T>): Parser<readonly T[]> {
	return (value, key) =>
		Array.isArray(value)
			? value.map((entry, index) => item(entry, `${key}[${index}]`))
			: refuse(key, `a list is wanted, not ${shown(value)}`);
}

/** An object that only its type vouches for: it has methods, and whoever made it had the compiler check them. */
export function instance<T extends object>(what: string, ...methods: readonly (keyof T & string)[]): Parser<T> {
	return (value, key) =>
		typeof value === "object" &&
		value !== null &&
		methods.every((method) => typeof (value as Record<string, unknown>)[method] === "function")
			? (value as T)
			: refuse(key, `${what} is wanted, not ${shown(value)}`);
}

export function optional<T>(parser: Parser<T>): Parser<T | undefined> {
	return (value, key) => (value === undefined ? undefined : parser(value, key));
}

export function withDefault<T>(parser: Parser<T>, fallback: T): Parser<T> {
	return (value, key) => (value === undefined ? fallback : parser(value, key));
}

type Shape = Readonly<Record<string, Parser<unknown>>>;
type Parsed<S extends Shape> = { readonly [Key in keyof S]: ReturnType<S[Key]> };

/** An object with these keys and no others: an unknown key is an error that names it and what it may be meant to be. */
export function object<const S extends Shape>(shape: S): Parser<Parsed<S>> {
	return (value, key) => {
		if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse(key, `an object is wanted, not ${shown(value)}`);
		const path = (name: string): string => (key === "" ? name : `${key}.${name}`);
		for (const name of Object.keys(value))
			if (!(name in shape)) refuse(path(name), `unknown key; known are ${Object.keys(shape).join(", ")}`);
		const entries = Object.entries(shape).map(([name, parser]) => [name, parser((value as Record<string, unknown>)[name], path(name))]);
		return Object.fromEntries(entries) as Parsed<S>;
	};
}
