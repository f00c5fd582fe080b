/** After a run: makes or renews its archive when that would help. Loaded then only. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { machineView } from "../archive/collect-view.ts";
import { findProgram, guessPython } from "../trace/resolve.ts";
import type { TraceHeader } from "../trace/types.ts";
import { buildFile, readTraces, scratchCompiler, scratchPureCompiler } from "./building.ts";
import { archiveName, describeCached, isSettled, makeCacheFolder, rememberProgram, settle } from "./cache.ts";
import type { CommonOptions, Context } from "./context.ts";
import { renewal, unservedKey, unservedModules } from "./renewal.ts";

export interface Ran {
  readonly trace: string;
  /** The last `-a FILE`, which is the program's own archive. */
  readonly named: string | undefined;
  /** Those before it; one that isn't there holds nothing. */
  readonly bases: readonly string[];
  readonly words: readonly string[];
}

export async function renew(context: Context, options: CommonOptions, ran: Ran): Promise<void> {
  const first = readTraces([ran.trace]).headers[0];
  const executable = first?.python.executable;
  if (first === undefined || executable === undefined || executable === null || executable === "") return;
  const { optimize } = first.python;
  const program = findProgram(ran.words[0] ?? "", context.env, context.cwd);
  if (program !== undefined && guessPython(ran.words, context.env, context.cwd)?.kind !== "binary") rememberProgram(context, program, { executable, optimize });

  const trace = readTraces([ran.trace], (header) => isLike(header, first));
  const interpreter = await describeCached(context, executable);
  const archive = ran.named ?? join(makeCacheFolder(context), archiveName(interpreter, optimize));
  const unserved = unservedModules(trace);
  const key = unservedKey(unserved);
  if (isSettled(context, archive, key)) return;
  const bases = ran.bases.filter((base) => existsSync(base));
  const needed = renewal({ archive, bases, interpreter, optimize, trace, unserved });
  if (needed !== undefined) {
    const compiler = scratchCompiler(context, interpreter.executable);
    await buildFile(context, options, { ...needed, interpreter, optimize, output: archive, bases, all: false, view: machineView, compiler, pureCompiler: scratchPureCompiler(context, interpreter.executable) });
  }
  settle(context, archive, key);
}

function isLike({ python }: TraceHeader, first: TraceHeader): boolean {
  return python.hexversion === first.python.hexversion && python.prefix === first.python.prefix && python.optimize === first.python.optimize;
}
