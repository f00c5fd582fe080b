/** `pycds run`: run a program from its archive; make or renew the archive when that would help. */
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { isInstalledAsLoaded } from "../../archive/version.ts";
import { PycdsError } from "../../base/errors.ts";
import type { ProgramEnd } from "../../trace/program.ts";
import { findProgram, guessPython, optimizeLevel } from "../../trace/resolve.ts";
import { append, resolveArchives } from "../archives.ts";
import { archiveName, cacheFolder, describeCached, describedBefore, programMemory } from "../cache.ts";
import type { CommonOptions, Context } from "../context.ts";
import { trackUnfinished } from "../files.ts";
import { endLike, isOff, launch, runPlain } from "../launching.ts";
import { faultsOf, warn } from "../report.ts";
import { commonOptions } from "../usage.ts";

interface RunOptions extends CommonOptions {
  readonly archive: readonly string[];
  readonly children?: boolean;
}

export function addRun(program: Command, context: Context): void {
  const command = program
    .command("run")
    .description("run a Python program from an archive of its imports; the first run makes it")
    .argument("<command...>", "the program and its arguments, after --")
    .option("-a, --archive <file>", "the archive (default: one per interpreter, in the cache folder); several are looked up in order", append, [])
    .option("--children", "serve the Pythons that the program starts, too")
    .passThroughOptions();
  commonOptions(command, { json: false }).action(async (words: string[], options: RunOptions) => run(context, options, words));
  command.addHelpText("after", `
Ends with the program's exit status or signal. The archive is renewed after the
program when modules were imported that it does not have, or has in an older
state, and when another version of pycds made it. Without -a it is kept at $XDG_CACHE_HOME/pycds (default ~/.cache/pycds).
Of several, the last one is the program's: it is made and renewed, without what
the others hold.
PYCDS=off runs the program without any of this; PYCDS=on makes an archive that
can't be used an error; PYCDS_LOG=stderr shows what is served.

Examples:
  pycds run -- python app.py --port 8080
  pycds run -a app.pycds -- python -m http.server
  pycds run -a stdlib.pycds -a app.pycds -- python app.py
  pycds run -- django-admin help`);
}

async function run(context: Context, options: RunOptions, words: readonly string[]): Promise<void> {
  if (isOff(context)) return endLike(await runPlain(context, words));
  const layers = resolveArchives(context.cwd, options.archive, "cannot run from these archives");
  const bases = layers.slice(0, -1);
  const named = layers.at(-1);
  const own = named === undefined ? knownArchive(context, await expectedArchive(context, words)) : knownArchive(context, named);
  const archives = [...bases, ...(own === undefined ? [] : [own])];
  let ended: ProgramEnd;
  const scratch = mkdtempSync(join(context.temporary, "pycds-run-"));
  try {
    const trace = join(scratch, "trace");
    const end = await launch(context, { command: words, trace, children: options.children === true, archives });
    trackUnfinished(scratch, true);
    // whatever fails from here on, the program's end is ours
    try {
      // never two versions at work together: after an upgrade the next run renews
      if (statSync(trace, { throwIfNoEntry: false })?.size && isInstalledAsLoaded()) await (await import("../renewing.ts")).renew(context, options, { trace, named, bases, words });
    } catch (error) {
      warnOf(context, options, error);
    }
    ended = end;
  } finally {
    trackUnfinished(scratch, false);
    rmSync(scratch, { recursive: true, force: true });
  }
  endLike(ended);
}

/** Handed to the runtime when it is there; under PYCDS=on a named one that is not must be refused by it. */
function knownArchive({ env }: Context, archive: string | undefined): string | undefined {
  if (archive === undefined) return undefined;
  return existsSync(archive) || env["PYCDS"]?.toLowerCase() === "on" ? archive : undefined;
}

/** The cached archive of the Python that the command will run, as far as that can be told beforehand. */
async function expectedArchive(context: Context, words: readonly string[]): Promise<string | undefined> {
  const folder = cacheFolder(context);
  if (folder === undefined || !existsSync(folder)) return undefined;
  try {
    const guess = guessPython(words, context.env, context.cwd);
    const found = guess?.kind === "binary" ? { exe: guess.exe, optimize: optimizeLevel(guess.args, context.env) } : rememberedPython(context, words, guess?.args);
    if (found === undefined) return undefined;
    const name = archiveName(guess?.kind === "binary" ? await describeCached(context, found.exe) : known(context, found.exe), found.optimize);
    const file = join(folder, name);
    return existsSync(file) ? file : undefined;
  } catch (error) {
    faultsOf(error); // an interpreter that cannot be used runs without an archive; our own faults go on
    return undefined;
  }
}

function known(context: Context, exe: string): NonNullable<ReturnType<typeof describedBefore>> {
  const interpreter = describedBefore(context, exe);
  if (interpreter === undefined) throw new PycdsError("NOT_DESCRIBED", "cannot choose an archive", "the interpreter changed");
  return interpreter;
}

/** A shim or a wrapper runs what it ran last time, or the archive will not fit and be refused. */
function rememberedPython(context: Context, words: readonly string[], args: readonly string[] | undefined): { exe: string; optimize: number } | undefined {
  const program = findProgram(words[0] ?? "", context.env, context.cwd);
  const memory = program === undefined ? undefined : programMemory(context, program);
  if (memory === undefined) return undefined;
  return { exe: memory.executable, optimize: args === undefined ? memory.optimize : optimizeLevel(args, context.env) };
}

/** A failure of ours is one line and never the program's. */
function warnOf(context: Context, options: RunOptions, error: unknown): void {
  let line: string;
  try {
    line = faultsOf(error)[0]?.line ?? "";
  } catch {
    line = error instanceof Error ? error.message : String(error);
    if (options.debug === true && error instanceof Error) context.say(error.stack ?? "");
  }
  warn(context, options, `no archive was made for the next run: ${line}`);
}
