/** What the commands know of the world outside: the only place that reads the process's environment. */
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { PycdsError } from "../base/errors.ts";
import type { Environment } from "../trace/command.ts";
import type { InterpreterInfo } from "../trace/types.ts";

/** The options that every command has. */
export interface CommonOptions {
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly debug?: boolean;
}

export interface Context {
  readonly env: Environment;
  readonly cwd: string;
  /** Standard error is a terminal. */
  readonly terminal: boolean;
  readonly temporary: string;
  /** Ends what a command prints; `text` without the last newline. */
  print(text: string): void;
  /** A line on standard error. */
  say(text: string): void;
  /** Raw text on standard error, for the progress line. */
  sayRaw(text: string): void;
}

export function processContext(): Context {
  return {
    env: process.env,
    cwd: workingFolder(),
    terminal: process.stderr.isTTY,
    temporary: tmpdir(),
    print: (text) => void process.stdout.write(`${text}\n`),
    say: (text) => void process.stderr.write(`${text}\n`),
    sayRaw: (text) => void process.stderr.write(text),
  };
}

/** A folder that was deleted can still be worked in. */
function workingFolder(): string {
  try {
    return process.cwd();
  } catch {
    return "/";
  }
}

/** The folder of package.json: two levels above src/cli and dist/cli alike. */
export const packageFolder = fileURLToPath(new URL("../..", import.meta.url));

/** The built native libraries. @throws PycdsError NOT_BUILT */
export function nativeLibrary(name: "_pycds.so" | "_pycds_t.so" | "pycds_launch.so" | "pycds_launch_warm.so" | "pycds_warm.so" | "pycds_restore"): string {
  const file = join(packageFolder, "build", "native", name);
  if (!existsSync(file)) {
    throw new PycdsError("NOT_BUILT", "the native part is not built", "there is no such file", {
      file,
      next: "install a C compiler (apt-get install gcc libc6-dev), then run: npm run build",
    });
  }
  return file;
}

/** The runtime library for interpreters of a flavour. @throws PycdsError NOT_BUILT */
export function runtimeLibrary(flavour: InterpreterInfo["flavour"]): string {
  return nativeLibrary(flavour === "freethreaded" ? "_pycds_t.so" : "_pycds.so");
}

/** The sources of the small Python package. */
export const pythonPackage = join(packageFolder, "python", "pycds");
/** What runs inside Python while a warm image is built, in order. */
export const warmDriver = ["build.py", "watch.py", "start.py", "end.py"].map((name) => join(packageFolder, "python", "pycds_warm", name));
