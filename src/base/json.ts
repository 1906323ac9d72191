/** What a device's state may be made of: plain, named, serialisable values (byte blocks included). */
export type StateValue =
	| null
	| boolean
	| number
	| bigint
	| string
	| Uint8Array
	| readonly StateValue[]
	| { readonly [key: string]: StateValue };
