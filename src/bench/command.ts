/**
 * A user's own command, measured without touching their venv: every arm runs
 * in a copy of it with warm .pyc files.
 */
import { open, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { uninstallFrom } from "./archive.ts";
import { measure, wantsPeer } from "./basket.ts";
import type { ArmVenvs, CommonOptions } from "./basket.ts";
import { checkPeer, peerPin } from "./peer.ts";
import { onPath, probePython } from "./python.ts";
import type { Python } from "./python.ts";
import { copyVenv, emptyVenv } from "./scratch.ts";
import type { BenchRun } from "./types.ts";

export interface CommandOptions extends CommonOptions {
  /** `python …`, or a console script whose first line names a python. */
  readonly command: readonly string[];
  /** Working folder of the command. */
  readonly cwd: string;
  /** Name of the case; the command itself when not given. */
  readonly name?: string;
}

/** Measures one command as a single case. */
export async function benchCommand(options: CommandOptions): Promise<BenchRun> {
  const { exe, args } = await resolveCommand(options.command, options.env);
  const python = await probePython(exe, options.env);
  if (wantsPeer(options)) checkPeer(python.minor);
  const tools = { pycds: options.pycds, env: options.env, cwd: options.cwd };
  const scratch = await mkdtemp(join(options.folder ?? tmpdir(), "pycds-command-"));
  try {
    const venvs: ArmVenvs = {
      stock: await armVenv(python, join(scratch, "stock"), options),
      archive: await armVenv(python, join(scratch, "archive"), options),
      ...(wantsPeer(options) ? { peer: await armVenv(python, join(scratch, "peer"), options, [peerPin]) } : {}),
    };
    await uninstallFrom(tools, venvs.stock); // the user's venv may have an archive installed
    const program = { name: options.name ?? options.command.join(" "), counted: true, args, tracedFrom: [args] };
    return await measure(python, [program], venvs, tools, join(scratch, "work"), options);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** A copy of the venv that the python belongs to; for a python outside venvs, a venv that sees its packages. */
async function armVenv(python: Python, to: string, options: CommandOptions, packages: readonly string[] = []): Promise<string> {
  if (python.venv !== null) return copyVenv(python.venv, to, options.env, options.progress, packages);
  return emptyVenv(python, to, options.env, options.progress, packages);
}

/** Splits a command into its python and that python's arguments. */
export async function resolveCommand(command: readonly string[], env: CommonOptions["env"]): Promise<{ readonly exe: string; readonly args: readonly string[] }> {
  const [word, ...args] = command;
  if (word === undefined) throw new PycdsError("BENCH_NO_COMMAND", "cannot measure a command", "it is empty", { next: 'give it after --, e.g. pycds bench -- python -c "import json"' });
  const file = await onPath(word, env);
  if (file === undefined) throw new PycdsError("BENCH_COMMAND_NOT_FOUND", "cannot measure the command", "no such program on PATH", { file: word });
  const shebang = await firstLine(file);
  if (shebang === undefined) return { exe: file, args };
  const [interpreter = "", ...more] = shebang.split(/\s+/);
  const named = basename(interpreter) === "env" ? more.shift() : interpreter;
  if (named === undefined || !basename(named).startsWith("python")) {
    if (basename(file).startsWith("python")) return { exe: file, args }; // a pyenv shim
    throw new PycdsError("BENCH_NOT_PYTHON", "cannot measure the command", "it is a script, but not one of Python's", { file, next: "give it as python SCRIPT" });
  }
  return { exe: (await onPath(named, env)) ?? named, args: [...more, file, ...args] };
}

/** What stands behind `#!`, or undefined. */
async function firstLine(file: string): Promise<string | undefined> {
  const handle = await open(file, "r");
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(512), 0, 512, 0);
    const text = buffer.subarray(0, bytesRead).toString("latin1");
    return text.startsWith("#!") ? text.slice(2).split("\n")[0]?.trim() : undefined;
  } finally {
    await handle.close();
  }
}
