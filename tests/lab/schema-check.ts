import type { JsonSchema } from "../../src/lab/index.ts";

/** Where `value` breaks `schema`: a JSON Schema validator for the keywords that lab files use, written apart from our reader. */
export function violations(schema: JsonSchema, value: unknown, path = "$", root = schema): string[] {
	const name = schema.$ref?.replace("#/$defs/", "");
	if (name !== undefined) {
		const referred = root.$defs?.[name];
		return referred === undefined ? [`${path}: no definition ${name}`] : violations(referred, value, path, root);
	}
	if (schema.anyOf !== undefined) {
		const all = schema.anyOf.map((each) => violations(each, value, path, root));
		if (all.every((each) => each.length > 0)) return [...all].sort((a, b) => a.length - b.length)[0] as string[];
	}
	const found: string[] = [];
	if (schema.type !== undefined && !hasType(schema.type, value)) return [`${path} is no ${schema.type}`];
	if (schema.enum !== undefined && !schema.enum.includes(value as string)) found.push(`${path} is none of ${schema.enum.join(", ")}`);
	if (typeof value === "string" && schema.pattern !== undefined && !new RegExp(schema.pattern).test(value))
		found.push(`${path} does not match ${schema.pattern}`);
	if (typeof value === "number" && (value < (schema.minimum ?? value) || value > (schema.maximum ?? value)))
		found.push(`${path} is out of range`);
	if (Array.isArray(value))
		found.push(
			...value.flatMap((each, index) => (schema.items === undefined ? [] : violations(schema.items, each, `${path}[${index}]`, root))),
		);
	else if (typeof value === "object" && value !== null)
		found.push(...objectViolations(schema, value as Record<string, unknown>, path, root));
	return found;
}

function objectViolations(schema: JsonSchema, value: Record<string, unknown>, path: string, root: JsonSchema): string[] {
	const found: string[] = [];
	const keys = Object.keys(value);
	for (const key of schema.required ?? []) if (!keys.includes(key)) found.push(`${path} lacks ${key}`);
	if (keys.length < (schema.minProperties ?? 0) || keys.length > (schema.maxProperties ?? keys.length))
		found.push(`${path} has ${keys.length} keys`);
	for (const key of keys) {
		const named = schema.properties?.[key];
		const matching = Object.entries(schema.patternProperties ?? {}).filter(([pattern]) => new RegExp(pattern).test(key));
		const schemas = [...(named === undefined ? [] : [named]), ...matching.map(([, each]) => each)];
		if (schemas.length === 0 && schema.additionalProperties === false) found.push(`${path}.${key} is unknown`);
		for (const each of schemas) found.push(...violations(each, value[key], `${path}.${key}`, root));
	}
	return found;
}

function hasType(type: NonNullable<JsonSchema["type"]>, value: unknown): boolean {
	if (type === "array") return Array.isArray(value);
	if (type === "null") return value === null;
	if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
	return type === "integer" ? Number.isInteger(value) : typeof value === type;
}
