/**
 * Collects a BuildInput: which folders are listed, which modules go in, with
 * which .pyc, valid for how long. Reading order:
 *   collect-view.ts       files, of this machine or of a tree
 *   collect-enumerate.ts  what `--all` means
 *   collect-folders.ts    listings and their mtimes
 *   collect-pyc.ts        the .pyc that stock would load
 *   collect-compile.ts    … or would make
 *   collect-pure.ts       results of pure functions
 *   collect-modules.ts    code and stamp of each module
 *   collect-stamps.ts     the same for another machine, from recorded stamps
 */
import type { Abi } from "../abi/types.ts";
import { PycdsError } from "../base/errors.ts";
import type { InterpreterInfo, Trace, TraceModule } from "../trace/types.ts";
import type { Compiler } from "./collect-compile.ts";
import { enumerateModules } from "./collect-enumerate.ts";
import { cacheMtime, listFolders, systemClock } from "./collect-folders.ts";
import type { Clock } from "./collect-folders.ts";
import type { PureCompiler } from "./collect-pure.ts";
import { collectModules } from "./collect-modules.ts";
import type { Wanted } from "./collect-modules.ts";
import type { TreeView } from "./collect-view.ts";
import { compareText, folderOf, joinPath } from "./path-index.ts";
import type { BuildInput, ExcludedModule, TargetInfo } from "./types.ts";

/** An interpreter as far as building for it needs to know it; the rest of InterpreterInfo plays no part. */
export type InterpreterFacts = Omit<InterpreterInfo, "executable" | "implementation" | "version">;

export interface CollectOptions {
  readonly interpreter: InterpreterFacts;
  readonly abi: Abi;
  readonly optimize: number;
  readonly trace: Trace | undefined;
  /** Modules to archive behind the traced ones. */
  readonly further?: readonly TraceModule[];
  /** Every module of the standard library and of site-packages. */
  readonly all: boolean;
  readonly sealed: boolean;
  readonly digest: boolean;
  /** To serve where the tree lies elsewhere, too. */
  readonly relocatable?: boolean;
  /** The folder that a relocatable archive will lie in, as its tree is now. */
  readonly home?: string;
  readonly view: TreeView;
  /** Undefined: modules without a valid .pyc are left out. */
  readonly compiler: Compiler | undefined;
  /** Undefined: no results of pure functions are archived. */
  readonly pureCompiler?: PureCompiler | undefined;
  /** Why a source can't be compiled, where that is known beforehand. */
  readonly knownFailures?: ReadonlyMap<string, string>;
  readonly clock?: Clock;
  readonly progress?: (what: string, done: number, total: number) => void;
}

export interface Collected {
  readonly input: BuildInput;
  /** Sources that were compiled for this build, since they have no valid .pyc. */
  readonly compiled: readonly string[];
  /** Sources that can't be compiled, with the reason. */
  readonly failures: ReadonlyMap<string, string>;
}

export async function collect(options: CollectOptions): Promise<Collected> {
  const { interpreter, view, abi } = options;
  checkAbi(interpreter, abi);
  const excluded: ExcludedModule[] = [];
  const searched = new Set<string>();
  const addFolder = (path: string): void => {
    if (path.startsWith("/") && usable(path)) searched.add(path);
  };
  for (const path of [...interpreter.sysPath, ...(options.trace?.sysPath ?? [])]) addFolder(path);

  const wanted: Wanted[] = [];
  const want = (module: TraceModule): void => {
    for (const path of module.path ?? []) addFolder(path);
    const item = tracedModule(module, interpreter.suffixes, excluded);
    if (item === undefined) return;
    if (item.kind !== "extension") wanted.push({ name: module.module, kind: item.kind, file: item.file, tail: item.tail });
    addFolder(folderOf(item.file));
  };
  for (const module of options.trace?.modules ?? []) want(module);
  const tracedCount = wanted.length;
  for (const module of options.further ?? []) want(module);
  if (options.all) {
    const starts = [interpreter.stdlib, ...(interpreter.dynload === null ? [] : [interpreter.dynload]), ...interpreter.sitePackages];
    const found: Wanted[] = [];
    for (const start of new Set(starts)) {
      const { files, folders } = enumerateModules(view, start, interpreter.suffixes, new Set(starts));
      for (const folder of folders) addFolder(folder);
      for (const file of files) if (usable(file.file)) found.push({ ...file, tail: tailOf(file.file, interpreter.suffixes, file.kind) ?? "" });
    }
    wanted.push(...found.toSorted((a, b) => compareText(a.name, b.name) || compareText(a.file, b.file)));
  }

  options.progress?.("listing folders", 0, searched.size);
  const { folders, restless } = await listFolders(view, [...searched], options.clock);
  const caches = new Map<string, bigint>();
  for (const { path, names } of folders) {
    const mtimeNs = names.some(({ name }) => name === "__pycache__") ? await cacheMtime(view, path, options.clock) : undefined;
    if (mtimeNs !== undefined) caches.set(path, mtimeNs);
  }
  const target = targetOf(interpreter, options.optimize);
  const spellings = spellingsOf(folders.map(({ path }) => path));
  const collected = await collectModules({
    wanted, tracedCount, target, minor: abi.version.minor, view, digest: options.digest,
    compiler: options.compiler, knownFailures: options.knownFailures ?? new Map(), clock: options.clock ?? systemClock, progress: options.progress,
    foldersOf: (file) => spellings.get(joinPath(folderOf(file), "")) ?? [],
    noFolder: (file) => (restless.includes(folderOf(file)) ? "its folder keeps changing" : view.stat(file) === undefined ? goneReason : "its folder cannot be listed"),
  });
  const { sources = [], patterns = [] } = options.trace ?? {};
  options.progress?.("compiling strings and patterns", 0, sources.length + patterns.length);
  const pures = (await options.pureCompiler?.({ sources, patterns }, options.optimize)) ?? [];
  return {
    input: {
      target, abi,
      folders: folders.toSorted((a, b) => compareText(a.path, b.path)).map((folder) => ({ ...folder, ...cacheOf(caches.get(folder.path)) })),
      roots: [...rootsOf(interpreter), ...(options.home === undefined ? [] : [{ name: "archive", path: options.home }])],
      modules: collected.modules, traced: collected.traced,
      excluded: [...excluded, ...collected.excluded],
      pures,
      sealed: options.sealed, digest: options.digest, relocatable: options.relocatable === true,
    },
    compiled: collected.compiled,
    failures: collected.failures,
  };
}

function cacheOf(mtimeNs: bigint | undefined): { readonly cacheMtimeNs?: bigint } {
  return mtimeNs === undefined ? {} : { cacheMtimeNs: mtimeNs };
}

export const goneReason = "its source is gone";

/** Paths that the archive's strings cannot hold: UTF-8 without NUL. */
function usable(path: string): boolean {
  return !/\p{Surrogate}/u.test(path) && !path.includes("\0") && !path.includes("\ufffd");
}

function tailOf(file: string, suffixes: TargetInfo["suffixes"], loader: "source" | "sourceless" | "extension"): string | undefined {
  const name = file.slice(file.lastIndexOf("/") + 1);
  const suffix = suffixes.find((row) => row.loader === loader && name.endsWith(row.suffix))?.suffix;
  return suffix === undefined ? undefined : name.slice(0, -suffix.length);
}

/** The file of a traced module that has one and is importlib's own; what needs no code is undefined, what can't be served excluded. */
function tracedModule(
  { module, kind, file }: TraceModule, suffixes: TargetInfo["suffixes"], excluded: ExcludedModule[],
): { kind: "source" | "sourceless" | "extension"; file: string; tail: string } | undefined {
  const exclude = (reason: string): undefined => void excluded.push({ name: module, reason });
  switch (kind) {
    case "builtin":
    case "frozen":
    case "namespace":
      return undefined;
    case "other":
      return exclude("it was loaded by a loader that is not importlib's own");
    case "source":
    case "sourceless":
    case "extension": {
      if (file === null) return exclude("the trace names no file for it");
      if (!file.startsWith("/")) return exclude("its path is not absolute");
      if (!usable(file)) return exclude("its path is not UTF-8");
      const tail = tailOf(file, suffixes, kind);
      return tail === undefined || tail === "" ? exclude("its file's name is none that FileFinder looks for") : { kind, file, tail };
    }
  }
}

/** A folder may stand in sys.path with slashes at its end; a module's file doesn't show them (_path_join). */
function spellingsOf(paths: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const spellings = new Map<string, string[]>();
  for (const path of paths) {
    const key = joinPath(path, "");
    const known = spellings.get(key);
    if (known === undefined) spellings.set(key, [path]);
    else known.push(path);
  }
  return spellings;
}

function checkAbi(interpreter: InterpreterFacts, abi: Abi): void {
  const version = (abi.version.major << 24) | (abi.version.minor << 16);
  const same = (interpreter.hexversion & 0xffff_0000) === version && interpreter.platform === abi.platform && interpreter.flavour === abi.flavour;
  if (!same || (interpreter.pycMagic & 0xffff) !== abi.pycMagic) {
    throw new PycdsError("ABI_MISMATCH", "cannot build for this interpreter", `its version, platform or .pyc magic number is not that of ${abi.id}`, {
      next: "use a released CPython, not an alpha or beta",
    });
  }
}

function targetOf(interpreter: InterpreterFacts, optimize: number): TargetInfo {
  const { hexversion, pycMagic, flavour, platform, cacheTag, suffixes } = interpreter;
  return { hexversion, pycMagic, flavour, platform, cacheTag, optimize, suffixes };
}

function rootsOf({ stdlib, sitePackages, prefix, basePrefix }: InterpreterFacts): { name: string; path: string }[] {
  const roots = [
    { name: "stdlib", path: stdlib },
    ...sitePackages.map((path, number) => ({ name: number === 0 ? "site-packages" : `site-packages-${number + 1}`, path })),
    { name: "prefix", path: prefix },
    { name: "base-prefix", path: basePrefix },
  ];
  return roots.filter(({ path }, at) => path.startsWith("/") && usable(path) && roots.findIndex((other) => other.path === path) === at);
}
