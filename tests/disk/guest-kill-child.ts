/** Has the guest of a snapshot write to a disk until it is killed: node guest-kill-child.ts '{"options": …, "folder": …}'. */
import { NodeHost } from "../../src/host/node/host.ts";
import { readImages } from "../../src/host/node/machine.ts";
import { NodeSnapshotFolder } from "../../src/host/node/snapshot/folder.ts";
import { SnapshotTree } from "../../src/snapshot/tree.ts";
import { assembleMachine } from "../../src/vm/create.ts";
import type { GuestWriter } from "./guest-kill.ts";
import { openVariant, VARIANTS } from "./variants.ts";

const { options, folder, variant: name, path } = JSON.parse(process.argv[2] as string) as GuestWriter;
const variant = VARIANTS.find((each) => each.name === name);
if (variant === undefined) throw new RangeError(`no variant called ${name}`);
const tree = await SnapshotTree.open(await NodeSnapshotFolder.open(folder, { isReadOnly: true }));
const { disks: _, net: __, ...rest } = options;
const disks = [{ disk: await openVariant(variant, path), isIndependent: true }];
const source = { snapshots: tree.branch(), isRestored: true };
const machine = assembleMachine({ ...rest, ...(await readImages(options)), disks }, new NodeHost(), source);
await machine.restore("ready");
machine.on("console", ({ bytes }) => process.stdout.write(bytes));
await machine.start();
machine.console.write("go\n");
