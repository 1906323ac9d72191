import { expect, test } from "vitest";
import { DiskError } from "../disk/disk.ts";
import { MachineError } from "./error.ts";
import type { MachineExit } from "./machine-face.ts";
import { receiveError, receiveExit, sendError, sendExit } from "./sent-error.ts";

const cross = (error: unknown): Error => receiveError(structuredClone(sendError(error)));

test("an error that has crossed between threads is of its class, with its kind, message and stack", () => {
	const made = new MachineError("config", "memory: too little");
	const got = cross(made);
	expect(got).toBeInstanceOf(MachineError);
	expect(got).toMatchObject({ name: "MachineError", kind: "config", message: "memory: too little", stack: made.stack });
	expect(cross(new DiskError("corrupt", "a.qcow2", "is cut short", { offsetBytes: 12 }))).toMatchObject({
		kind: "corrupt",
		where: "a.qcow2",
		message: "a.qcow2 at offset 12: is cut short",
	});
});

test("anything else that is thrown arrives as an error that says it", () => {
	expect(cross(new TypeError("no such thing"))).toMatchObject({ name: "TypeError", message: "no such thing" });
	expect(cross("a text")).toMatchObject({ message: "a text" });
});

test("an exit crosses with its error, if it has one", () => {
	const cross = (exit: MachineExit) => receiveExit(structuredClone(sendExit(exit)));
	expect(cross({ reason: "debug-exit", code: 42 })).toEqual({ reason: "debug-exit", code: 42 });
	const { error, ...rest } = cross({ reason: "failed", code: 125, error: new MachineError("engine", "broken") });
	expect(rest).toEqual({ reason: "failed", code: 125 });
	expect(error).toMatchObject({ name: "MachineError", kind: "engine", message: "broken" });
});
