/** Runs a program until it parks, and has its memory read. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { traceCommand } from "../trace/command.ts";
import { readParked } from "../warm/image.ts";
import type { Parked } from "../warm/image.ts";
import { nativeLibrary, pythonPackage, warmDriver } from "./context.ts";
import type { Context } from "./context.ts";
import { trackUnfinished } from "./files.ts";
import { starterFileLimit } from "./limits.ts";

export interface ParkRequest {
  /** Absolute path of the program first. */
  readonly command: readonly string[];
  readonly preload: readonly string[];
  /** The program calls pycds.park() itself. */
  readonly explicit: boolean;
  readonly exit: string;
}

const pollMilliseconds = 2;

/**
 * Runs the command until a process of it parks, and calls `use` while its memory
 * can be read; the process is gone afterwards.
 * @throws PycdsError WARM_NOT_PARKED, WARM_REFUSED
 */
export async function parkProgram<T>(context: Context, request: ParkRequest, use: (parked: Parked, work: string) => Promise<T>): Promise<T> {
  const work = mkdtempSync(join(context.temporary, "pycds-warm-"));
  trackUnfinished(work, true);
  try {
    writeFileSync(join(work, "driver.py"), warmDriver.map((file) => readFileSync(file, "utf8")).join("\n"));
    writeFileSync(join(work, "request.json"), JSON.stringify({ preload: request.preload, explicit: request.explicit, exit: request.exit, packages: dirname(pythonPackage) }));
    // what is in force here would be in the image: it is not watched, and has no effect on a program that is built
    const env = Object.fromEntries(Object.entries(context.env).filter(([name]) => !name.startsWith("PYCDS")));
    const launched = traceCommand({ command: request.command, env, launcher: nativeLibrary("pycds_launch_warm.so"), warm: { library: nativeLibrary("pycds_warm.so"), work }, children: false, files: starterFileLimit() });
    const [file = "", ...rest] = launched.argv;
    const startedNs = BigInt(Date.now()) * 1_000_000n;
    const child = spawn(file, rest, { cwd: context.cwd, env: { ...launched.env }, stdio: ["ignore", "inherit", "inherit"] });
    const ended = new Promise<{ status: number | null; signal: NodeJS.Signals | null }>((settle, fail) => {
      child.on("error", (cause) => fail(new PycdsError("PROGRAM_NOT_STARTED", "cannot run the program", cause.message, { file, next: "check its name and its permissions", cause })));
      child.on("exit", (status, signal) => settle({ status, signal }));
    });
    ended.catch(() => undefined);
    try {
      if (!(await waitForParked(work, ended))) throw notParked(work, await ended);
      const parked = readParked(work, startedNs);
      try {
        return await use(parked, work);
      } finally {
        process.kill(parked.pid, "SIGKILL");
        await ended;
      }
    } finally {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
    trackUnfinished(work, false);
  }
}

/** False when the program ended first. */
async function waitForParked(work: string, ended: Promise<unknown>): Promise<boolean> {
  const file = join(work, "parked");
  let over = false;
  const end = ended.then(() => (over = true));
  while (!existsSync(file)) {
    if (over) return false;
    await Promise.race([end, new Promise((wake) => setTimeout(wake, pollMilliseconds))]);
  }
  return true;
}

function notParked(work: string, end: { status: number | null; signal: NodeJS.Signals | null }): PycdsError {
  const file = join(work, "refused");
  if (existsSync(file)) {
    const [why = "", next] = readFileSync(file, "utf8").split(" — ");
    return new PycdsError("WARM_REFUSED", "cannot image the program", why, { next: next ?? "change that, or use the code archive: pycds run" });
  }
  const how = end.signal === null ? `with status ${end.status ?? "unknown"}` : `by ${end.signal}`;
  return new PycdsError("WARM_NOT_PARKED", "cannot image the program", `it ended ${how} before it could be parked`, { next: "see what it printed; the command must start a CPython 3.11 to 3.14" });
}

/** The absolute path of the program that a command names, as execvp finds it. @throws PycdsError */
export function resolveProgram(context: Context, name: string): string {
  const isProgram = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  const candidates = name.includes("/") ? [isAbsolute(name) ? name : resolve(context.cwd, name)] : (context.env["PATH"] ?? "/usr/bin:/bin").split(delimiter).map((folder) => resolve(context.cwd, folder, name));
  const found = candidates.find(isProgram);
  if (found === undefined) throw new PycdsError("PROGRAM_NOT_STARTED", "cannot run the program", "there is no such program", { file: name, next: "check its name and PATH" });
  return found;
}

/** Python's own arguments from the first that is none of its options; -1 when there is none. */
export function programIndex(words: readonly string[]): number {
  for (let at = 1; at < words.length; at++) {
    const word = words[at] ?? "";
    if (word === "-c" || word === "-m" || word === "-" || !word.startsWith("-")) return at;
    if (word === "-X" || word === "-W" || word === "--check-hash-based-pycs") at++;
  }
  return -1;
}

