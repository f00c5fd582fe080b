/** What `build` and `run` share: from an interpreter and traces to an archive on the disk. */
import { availableParallelism } from "node:os";
import { dirname, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { linkArchive, planArchive } from "../archive/build.ts";
import type { BuildProgress, BuildReport } from "../archive/build.ts";
import { collect } from "../archive/collect.ts";
import type { Collected, CollectOptions } from "../archive/collect.ts";
import { interpreterCompiler } from "../archive/collect-compile.ts";
import type { Compiler } from "../archive/collect-compile.ts";
import { interpreterPureCompiler } from "../archive/collect-pure.ts";
import type { PureCompiler, PureCompilerOptions } from "../archive/collect-pure.ts";
import { pthSources } from "../archive/collect-pth.ts";
import { withoutBases } from "../archive/bases.ts";
import { machineView } from "../archive/collect-view.ts";
import { compileAll, worthThreads } from "../archive/compile-all.ts";
import { CompilePool } from "../archive/compile-pool.ts";
import { DamagedCache, memoryStore } from "../archive/stored.ts";
import type { UnitStore } from "../archive/stored.ts";
import type { BuildInput, PureInput, TargetInfo } from "../archive/types.ts";
import { PycdsError } from "../base/errors.ts";
import { freshnessOptions, freshnessText, sameFreshness } from "../image/freshness.ts";
import type { FreshnessOptions } from "../image/freshness.ts";
import { openImage } from "../image/reader.ts";
import type { ImageReader } from "../image/reader.ts";
import { versionText } from "../inspect/summary.ts";
import { PureInputs } from "../trace/pures.ts";
import { mergeTraces, readTrace } from "../trace/read.ts";
import type { Trace, TraceHeader } from "../trace/types.ts";
import { pthText } from "../venv/layout.ts";
import type { CommonOptions, Context } from "./context.ts";
import { readInput, trackUnfinished, writeOutputParts } from "./files.ts";
import { Progress, collectFaults } from "./report.ts";
import { abiOf } from "./target.ts";
import { openBuildMemory } from "./unit-cache.ts";
import type { BuildMemory } from "./unit-cache.ts";

/** Reads trace files; all faults of all files are reported. */
export function readTraces(files: readonly string[], accept?: (header: TraceHeader) => boolean): Trace {
  const options = accept === undefined ? {} : { accept };
  return mergeTraces(collectFaults(files, (file) => readTrace(readInput(file, "cannot read trace").toString("utf8"), file, options)));
}

/** The one -O level of the traced processes. */
export function tracedOptimize(trace: Trace): number {
  const levels = [...new Set(trace.headers.map((header) => header.python.optimize))].toSorted((a, b) => a - b);
  const [level = 0] = levels;
  if (levels.length > 1) {
    throw new PycdsError("TRACE_OPTIMIZE", "cannot build one archive", `the traces were made at different -O levels (${levels.join(", ")})`, {
      next: "choose one with --optimize N, or build an archive for each",
    });
  }
  return level;
}

export interface ArchiveRequest extends Omit<CollectOptions, "abi" | "progress"> {
  readonly output: string;
  /** Archives below this one: what they hold is left out. */
  readonly bases?: readonly string[];
}

export interface BuiltFile {
  readonly report: BuildReport;
  readonly collected: Collected;
}

export async function buildFile(context: Context, options: CommonOptions, request: ArchiveRequest): Promise<BuiltFile> {
  const progress = new Progress(context, options);
  // Inlining doubles what V8 spends on compiling us, which for 300 modules is most of a build; for 16,000 it gains nothing.
  setFlagsFromString("--no-turbo-inlining");
  const pool = new CompilePool(availableParallelism() - 1);
  let memory: BuildMemory | undefined;
  try {
    const abi = abiOf(request.interpreter);
    memory = request.view === machineView ? openBuildMemory(context, abi) : undefined;
    // nothing kept, much to do: the threads start, and the interpreter compiles strings, while files are looked at
    const expected = request.all ? Infinity : (request.trace?.modules.length ?? 0);
    if (memory?.units.isEmpty !== false && expected >= worthThreads) pool.start(abi.id);
    if (request.all) memory?.units.prefetch();
    const pures = computePures(request);
    const view = memory?.view ?? request.view;
    const { hexversion, flavour } = request.interpreter;
    const compiler = request.compiler === undefined ? undefined : (memory?.view.compiler(request.compiler, `${hexversion.toString(16)}-${flavour}`) ?? request.compiler);
    const home = request.relocatable === true && request.compiler !== undefined ? { home: dirname(resolve(context.cwd, request.output)) } : {};
    const found = await collect({ ...request, ...home, compiler, view, abi, pureCompiler: undefined, progress: (what, done, total) => progress.show(`${what} ${done}/${total}`) });
    const input = withoutBases(found.input, openBases(request.bases ?? [], found.input.target, request), request.view);
    await memory?.units.prefetched();
    const build: Build = { output: request.output, input, pures, pool, progress };
    const report = await compileAndLink(build, memory?.units ?? memoryStore, () => memory?.publish()).catch(async (error: unknown) => {
      if (!(error instanceof DamagedCache)) throw error;
      memory?.units.discard();
      return compileAndLink(build, memoryStore, () => memory?.publish());
    });
    return { report, collected: { ...found, input: { ...input, pures: await pures } } };
  } finally {
    memory?.units.close();
    await pool.end();
    progress.done();
  }
}

/** Begins at once; what fails shows where the results are awaited. */
function computePures({ pureCompiler, trace, optimize, interpreter, view }: ArchiveRequest): Promise<readonly PureInput[]> {
  const inputs = new PureInputs();
  for (const source of pthSources(interpreter, view, [pthText])) inputs.addSource(source, source.calls);
  inputs.nextProcess(); // a renewed archive has them already
  for (const source of trace?.sources ?? []) inputs.addSource(source, source.calls);
  for (const pattern of trace?.patterns ?? []) inputs.addPattern(pattern);
  const pures = pureCompiler === undefined ? Promise.resolve([]) : pureCompiler(inputs.done(), optimize);
  pures.catch(() => undefined);
  return pures;
}

interface Build {
  readonly output: string;
  /** Without results of pure functions, which come later. */
  readonly input: BuildInput;
  readonly pures: Promise<readonly PureInput[]>;
  readonly pool: CompilePool;
  readonly progress: Progress;
}

async function compileAndLink({ output, input, pures, pool, progress }: Build, store: UnitStore, publish: () => void): Promise<BuildReport> {
  const show = ({ pass, done, total }: BuildProgress): void => progress.show(`${passText[pass]} ${done}/${total}`);
  const plan = planArchive(input, show);
  const total = plan.placed.length;
  const compiled = await compileAll(plan.placed, input.abi, store, pool, (done) => show({ pass: "compile", done, total }));
  void pool.end();
  progress.show("compiling strings and patterns");
  const linked = linkArchive({ ...plan, input: { ...input, pures: await pures } }, compiled, show);
  return writeOutputParts(output, linked.size, async (sink) => linked.emit(sink), "cannot write the archive", publish);
}

const passText: Readonly<Record<BuildProgress["pass"], string>> = {
  index: "indexing folders", compile: "compiling modules", names: "numbering names", addresses: "assigning addresses", write: "writing modules",
};

/** What computes results of pure functions: the interpreter itself. */
export function scratchPureCompiler(context: Context, exe: string, onAnswer?: PureCompilerOptions["onAnswer"]): PureCompiler {
  return interpreterPureCompiler({ exe, env: context.env, ...(onAnswer === undefined ? {} : { onAnswer }) });
}

/** A base must be one that the same process can serve from. */
function openBases(files: readonly string[], target: TargetInfo, own: FreshnessOptions): ImageReader[] {
  return collectFaults(files, (file) => {
    const image = openImage(readInput(file, "cannot use the base archive"), file);
    const { header } = image;
    const theirs = freshnessOptions(header.required_features);
    if (!sameFreshness(theirs, own)) {
      throw new PycdsError("BASE_MIXED", "cannot use the base archive", `it ${freshnessText(theirs)}, this build ${freshnessText(own)}`, { file, next: "build both with --digest, both with --sealed, or both with neither" });
    }
    if (header.hexversion === target.hexversion && header.pyc_magic === target.pycMagic && header.optimize === target.optimize) return image;
    throw new PycdsError("BASE_FOREIGN", "cannot use the base archive", `it is for CPython ${versionText(header.hexversion)} at -O level ${header.optimize}, this build is for ${versionText(target.hexversion)} at ${target.optimize}`, {
      file, next: "build a base for the same interpreter and level",
    });
  });
}

/** A compiler whose scratch folder also goes when a signal ends us. */
export function scratchCompiler(context: Context, exe: string): Compiler {
  return interpreterCompiler({ exe, env: context.env, temporary: context.temporary, onScratch: trackUnfinished });
}
