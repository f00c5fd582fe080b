/** What the scripts here share: a command line that is wrong ends them with status 2 and one line, a known error with its own. */
import { parseArgs } from "node:util";
import type { ParseArgsConfig } from "node:util";
import { PycdsError, exitCode } from "../src/base/errors.ts";

function endUsage(why: string, next: string): never {
  process.stderr.write(`pycds: error: cannot read the command line — ${why} — ${next}\n`);
  process.exit(exitCode.usage);
}

/** util.parseArgs; `usage` is how the script is called. */
export function readArguments<T extends ParseArgsConfig>(config: T, usage: string): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    if (!(error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS"))) throw error;
    return endUsage(error.message.split(/\. |\n/)[0] ?? "", `use: ${usage}`);
  }
}

/** An option's value that is a whole number of 1 or more. */
export function wholeNumber(text: string, option: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1) endUsage(`${option} is "${text}"`, "give a whole number of 1 or more");
  return value;
}

/** At least one value of an option that must be given. */
export function needed(values: readonly string[], option: string, usage: string): readonly string[] {
  return values.length > 0 ? values : endUsage(`${option} is missing`, `use: ${usage}`);
}

/** Runs the script; its number is the exit status. */
export async function runScript(main: () => Promise<number | undefined>): Promise<void> {
  try {
    process.exitCode = (await main()) ?? exitCode.done;
  } catch (error) {
    if (!(error instanceof PycdsError)) throw error;
    process.stderr.write(`pycds: error: ${error.line}\n`);
    process.exitCode = error.exit;
  }
}
