/** Goes on from a snapshot in a process of its own and runs commands: node resume-child.ts '{"options": …, "commands": […]}'. */
import { createMachine, type NodeMachineOptions } from "../../src/host/node/machine.ts";
import { runInShell } from "../../src/host/node/snapshot/shell.ts";

const { options, commands } = JSON.parse(process.argv[2] as string) as { options: NodeMachineOptions; commands: readonly string[] };
const machine = await createMachine(options);
await machine.start();
const results = [];
for (const command of commands) results.push(await runInShell(machine, command));
await machine.stop();
process.stdout.write(JSON.stringify(results));
