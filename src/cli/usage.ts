/** The command line itself: options that all commands share, and errors in its use. */
import type { Command } from "commander";
import { PycdsError } from "../base/errors.ts";

export function commonOptions(command: Command, has: { readonly json: boolean }): Command {
  if (has.json) command.option("--json", "print results as JSON");
  return command
    .option("-q, --quiet", "no results in words, no warnings, no progress line")
    .option("--debug", "show where an error comes from");
}

/** Exit status 2. */
export function usageError(command: string, why: string, next: string): PycdsError {
  return new PycdsError("USAGE", `cannot run pycds ${command}`, why, { next: `${next} (see pycds ${command} --help)` });
}

/** Options that choose an interpreter. */
export function interpreterOptions(command: Command): Command {
  return command
    .option("--venv <dir>", "a virtual environment (default: $VIRTUAL_ENV)")
    .option("--python <exe>", "an interpreter, by path or by name");
}
