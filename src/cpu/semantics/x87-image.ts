/** FNSTENV, FNSAVE, FLDENV, FRSTOR: the state to and from memory, piece by piece, nothing changed before the last piece is safe. */
import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import type { Ops } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
import { define } from "./registry.ts";
import { addressPlus } from "./x87-data.ts";
import { guardX87, guardX87NoWait, releaseFloatError } from "./x87-state.ts";

interface Format {
	readonly is32: boolean;
	readonly pieceBytes: 2 | 4;
	readonly environmentBytes: number;
	readonly totalBytes: number;
}

function formatOf(o: Ops): Format {
	return o.insn.opBytes === 2
		? { is32: false, pieceBytes: 2, environmentBytes: 14, totalBytes: 94 }
		: { is32: true, pieceBytes: 4, environmentBytes: 28, totalBytes: 108 };
}

/** `body` for every piece: its address in the guest and the place of its copy in the image. */
function eachPiece(o: Ops, address: Expr, bytes: number, pieceBytes: number, body: (address: Expr, image: Expr) => void): void {
	const { f } = o;
	const at = f.local("i32");
	f.set(at, i32(0));
	f.loop((again) => {
		const delta = f.get(at);
		const wide = address.type === "i64" ? op("i64ExtendI32U", delta) : delta;
		body(addressPlus(o, address, wide), f.let(op("i32Add", o.cpu, delta)));
		f.set(at, op("i32Add", f.get(at), i32(pieceBytes)));
		f.brIf(again, op("i32LtU", f.get(at), i32(bytes)));
	});
}

function storeImage(o: Ops, bytes: number, pieceBytes: 2 | 4): void {
	const address = o.address(0);
	const ref = { operand: 0 };
	o.probe(ref, address, pieceBytes);
	o.probe(ref, addressPlus(o, address, bytes - pieceBytes), pieceBytes);
	eachPiece(o, address, bytes, pieceBytes, (to, image) =>
		o.store(ref, to, pieceBytes, loadOp(pieceBytes === 2 ? "i32Load16U" : "i32Load", image, at("x87Image"))),
	);
}

function loadImage(o: Ops, bytes: number, pieceBytes: 2 | 4): void {
	eachPiece(o, o.address(0), bytes, pieceBytes, (from, image) => {
		const piece = o.load({ operand: 0 }, from, pieceBytes);
		o.f.store(pieceBytes === 2 ? "i32Store16" : "i32Store", image, piece, at("x87Image"));
	});
}

const flag = (value: boolean): Expr => i32(value ? 1 : 0);

define("FNSTENV", (o) => {
	guardX87NoWait(o);
	const format = formatOf(o);
	o.coreVoid("x87BuildEnvironment", o.cpu, flag(format.is32));
	storeImage(o, format.environmentBytes, format.pieceBytes);
	// All exceptions are masked afterwards.
	o.coreVoid("x87SetControl", o.cpu, op("i32Or", o.field32("fcw"), i32(0x3f)));
});

define("FNSAVE", (o) => {
	guardX87NoWait(o);
	const format = formatOf(o);
	o.coreVoid("x87BuildEnvironment", o.cpu, flag(format.is32));
	o.coreVoid("x87BuildRegisters", o.cpu, i32(format.environmentBytes));
	storeImage(o, format.totalBytes, format.pieceBytes);
	releaseFloatError(o);
	o.coreVoid("x87Init", o.cpu);
});

define("FLDENV", (o) => {
	guardX87(o);
	const format = formatOf(o);
	loadImage(o, format.environmentBytes, format.pieceBytes);
	releaseFloatError(o);
	o.coreVoid("x87TakeEnvironment", o.cpu, flag(format.is32));
});

define("FRSTOR", (o) => {
	guardX87(o);
	const format = formatOf(o);
	loadImage(o, format.totalBytes, format.pieceBytes);
	releaseFloatError(o);
	o.coreVoid("x87TakeEnvironment", o.cpu, flag(format.is32));
	o.coreVoid("x87TakeRegisters", o.cpu, i32(format.environmentBytes));
});
