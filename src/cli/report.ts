/** How results, progress and failures are shown. */
import { PycdsError, exitCode } from "../base/errors.ts";
import type { ExitCode } from "../base/errors.ts";
import { ImageError } from "../image/faults.ts";
import type { CommonOptions, Context } from "./context.ts";

/** Several faults at once: each gets its line. */
export class Faults extends Error {
  readonly faults: readonly PycdsError[];

  constructor(faults: readonly PycdsError[]) {
    super(`${faults.length} faults`);
    this.faults = faults;
  }
}

/** Runs every step and throws all their faults together. */
export function collectFaults<T, R>(items: readonly T[], step: (item: T) => R): R[] {
  const results: R[] = [];
  const faults: PycdsError[] = [];
  for (const item of items) {
    try {
      results.push(step(item));
    } catch (error) {
      faults.push(...faultsOf(error));
    }
  }
  if (faults.length > 0) throw new Faults(faults);
  return results;
}

/** The faults that an error stands for; what is none of ours is thrown again. */
export function faultsOf(error: unknown): readonly PycdsError[] {
  if (error instanceof Faults || error instanceof ImageError) return error.faults;
  if (error instanceof PycdsError) return [error];
  if (isSystemError(error)) {
    const file = error.path === undefined ? {} : { file: error.path };
    return [new PycdsError("SYSTEM", `cannot ${error.syscall}`, error.message, { ...file, next: "check that path, its permissions and the space on its disk", cause: error })];
  }
  throw error;
}

/** What the operating system refused us is nobody's bug. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException & { readonly syscall: string } {
  return error instanceof Error && "syscall" in error && typeof error.syscall === "string" && "errno" in error;
}

/** Writes an error as `pycds: error: …` lines and returns the exit status. */
export function reportError(context: Context, error: unknown, debug: boolean): ExitCode {
  let faults: readonly PycdsError[];
  try {
    faults = faultsOf(error);
  } catch {
    const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    context.say(`pycds: error: ${oneLine(what)} — this is a fault of pycds itself — ${debug ? "report it with the lines below" : "run it again with --debug and report what it prints"}`);
    if (debug) context.say(stackOf(error));
    return exitCode.bug;
  }
  for (const fault of faults) context.say(`pycds: error: ${oneLine(fault.line)}`);
  if (debug) context.say(stackOf(error));
  return faults.reduce<ExitCode>((worst, { exit }) => (exit > worst ? exit : worst), exitCode.done);
}

/** A path may hold a newline; an error is one line. */
function oneLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, " ");
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const cause = error.cause === undefined ? "" : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** The results of a command: text for people, or JSON for machines. */
export function printResult(context: Context, options: CommonOptions, json: unknown, text: () => string): void {
  if (options.json === true) context.print(JSON.stringify(json, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value), 2));
  else if (options.quiet !== true) context.print(text());
}

export function warn(context: Context, options: CommonOptions, text: string): void {
  if (options.quiet !== true) context.say(`pycds: warning: ${oneLine(text)}`);
}

/** One line on a terminal, shown only when the work takes more than a second. */
export class Progress {
  private readonly started = Date.now();
  private shownAt = 0;
  private readonly context: Context;
  private readonly wanted: boolean;

  constructor(context: Context, options: CommonOptions) {
    this.context = context;
    this.wanted = context.terminal && options.quiet !== true;
  }

  show(text: string): void {
    const now = Date.now();
    if (!this.wanted || now - this.started < 1000 || now - this.shownAt < 100) return;
    this.shownAt = now;
    this.context.sayRaw(`\r\u001b[K${text}`);
  }

  done(): void {
    if (this.shownAt !== 0) this.context.sayRaw("\r\u001b[K");
    this.shownAt = 0;
  }
}

export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
