/** What `run` and `trace` share: the program's start, and ending as it ended. */
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { traceCommand } from "../trace/command.ts";
import type { LaunchCommand } from "../trace/command.ts";
import { runProgram } from "../trace/program.ts";
import type { ProgramEnd } from "../trace/program.ts";
import { nativeLibrary, runtimeLibrary } from "./context.ts";
import type { Context } from "./context.ts";
import { starterFileLimit } from "./limits.ts";

export interface Launch {
  readonly command: readonly string[];
  /** Looked up in this order. */
  readonly archives?: readonly string[];
  readonly trace?: string;
  readonly children: boolean;
}

/** Runs the program with the launcher preloaded. */
export async function launch(context: Context, request: Launch): Promise<ProgramEnd> {
  const launcher = nativeLibrary("pycds_launch.so");
  const runtime = { gil: runtimeLibrary("release"), freeThreaded: runtimeLibrary("freethreaded") };
  // LD_PRELOAD has no way to write a space or a colon in a path (ld.so(8))
  const awkward = /[\s:]/.test(launcher);
  const scratch = awkward ? mkdtempSync(join(context.temporary, "pycds-launch-")) : undefined;
  const preload = scratch === undefined ? launcher : join(scratch, "pycds_launch.so");
  if (scratch !== undefined) symlinkSync(launcher, preload);
  try {
    return await runProgram(traceCommand({ ...request, env: context.env, launcher: preload, runtime, files: starterFileLimit() }));
  } finally {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  }
}

/** Runs the program as the shell would. */
export async function runPlain(context: Context, command: readonly string[]): Promise<ProgramEnd> {
  const plain: LaunchCommand = { argv: command, env: context.env };
  return runProgram(plain);
}

/** PYCDS=off: the runtime is not to be started. */
export function isOff({ env }: Context): boolean {
  return env["PYCDS"]?.toLowerCase() === "off";
}

/** Ends this process as the program ended: with its status, or by its signal. */
export function endLike(end: ProgramEnd): void {
  if (end.kind === "status") {
    process.exitCode = end.status;
    return;
  }
  const { signal } = end;
  // a listener that comes and goes leaves the default action, also where Node ignores the signal (SIGPIPE)
  if (signal !== "SIGKILL" && signal !== "SIGSTOP") {
    const nothing = (): void => undefined;
    try {
      process.on(signal, nothing);
      process.off(signal, nothing);
    } catch {
      // a signal that libuv does not let anybody listen to (SIGSEGV and its like) has its default action already
    }
  }
  process.kill(process.pid, signal);
  // not reached where the signal ends a process
  process.exitCode = 128 + constants.signals[signal];
}
