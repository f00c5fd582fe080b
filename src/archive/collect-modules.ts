/** The code of each module, and the stamp that says how long it holds. */
import { xxh3 } from "../base/digest.ts";
import type { CompileResult, Compiler } from "./collect-compile.ts";
import { racyForNs } from "./collect-folders.ts";
import type { Clock } from "./collect-folders.ts";
import { choosePyc, importlibMtime, pycFlags } from "./collect-pyc.ts";
import type { PycChoice, PycRules } from "./collect-pyc.ts";
import type { FileFacts, TreeView } from "./collect-view.ts";
import type { ExcludedModule, ModuleInput, ModuleStamp, TargetInfo } from "./types.ts";

export interface Wanted {
  readonly name: string;
  readonly kind: "source" | "sourceless";
  readonly file: string;
  /** File name without suffix. */
  readonly tail: string;
}

export interface ModulesRequest {
  /** Traced ones first. */
  readonly wanted: readonly Wanted[];
  readonly tracedCount: number;
  readonly target: TargetInfo;
  readonly minor: number;
  readonly view: TreeView;
  readonly digest: boolean;
  readonly compiler: Compiler | undefined;
  readonly knownFailures: ReadonlyMap<string, string>;
  readonly clock: Clock;
  readonly progress: ((what: string, done: number, total: number) => void) | undefined;
  /** The listed folders that hold a file, as they are spelled in sys.path. */
  readonly foldersOf: (file: string) => readonly string[];
  /** Why a file's folder is not among the listed ones. */
  readonly noFolder: (file: string) => string;
}

export interface CollectedModules {
  readonly modules: readonly ModuleInput[];
  readonly traced: number;
  readonly excluded: readonly ExcludedModule[];
  readonly compiled: readonly string[];
  readonly failures: ReadonlyMap<string, string>;
}

/** Code and stamp of one file, or why there is none. */
type Content = Pick<ModuleInput, "pyc" | "pycFile" | "compiled" | "stamp"> | { readonly why: string };

export async function collectModules(request: ModulesRequest): Promise<CollectedModules> {
  const { target, view } = request;
  const rules: PycRules = { pycMagic: target.pycMagic, cacheTag: target.cacheTag, optimize: target.optimize, minor: request.minor };
  const contents = new Map<string, Content>();
  const toCompile = new Map<string, Extract<PycChoice, { kind: "compile" }>>();
  const every = 200;

  for (const [number, { file, kind }] of request.wanted.entries()) {
    if (number % every === 0) request.progress?.("reading modules", number, request.wanted.length);
    if (contents.has(file) || toCompile.has(file)) continue;
    if (kind === "sourceless") {
      contents.set(file, await sourcelessContent(request, file));
      continue;
    }
    const choice = choosePyc(view, file, rules);
    if (choice.kind === "compile") toCompile.set(file, choice);
    else contents.set(file, choice.kind === "gone" ? { why: "its source is gone" } : await pycContent(request, file, choice));
  }

  const failures = new Map<string, string>();
  const compiled: string[] = [];
  const results = await compileAll(request, [...toCompile.keys()]);
  for (const [file, choice] of toCompile) {
    const result = results.get(file) ?? { kind: "failed", why: `${choice.why}, and there is no interpreter to compile it with` };
    const content = compiledContent(request, file, choice, result);
    contents.set(file, content);
    if (result.kind === "failed") failures.set(file, result.why);
    else if (!("why" in content)) compiled.push(file);
  }
  return { ...assemble(request, contents), compiled, failures };
}

async function compileAll(request: ModulesRequest, files: readonly string[]): Promise<ReadonlyMap<string, CompileResult>> {
  const results = new Map<string, CompileResult>();
  const unknown: string[] = [];
  for (const file of files) {
    const why = request.knownFailures.get(file);
    if (why === undefined) unknown.push(file);
    else results.set(file, { kind: "failed", why });
  }
  if (request.compiler === undefined || unknown.length === 0) return results;
  const made = await request.compiler(unknown, request.target.optimize, (done) => request.progress?.("compiling modules", done, unknown.length));
  for (const [file, result] of made) results.set(file, result);
  return results;
}

/** One row for each name that a file was found under, in each spelling of its folder. */
function assemble(request: ModulesRequest, contents: ReadonlyMap<string, Content>): Pick<CollectedModules, "modules" | "traced" | "excluded"> {
  const modules: ModuleInput[] = [];
  const excluded: ExcludedModule[] = [];
  const seen = new Set<string>();
  let traced = 0;
  for (const [number, { name, kind, file, tail }] of request.wanted.entries()) {
    const key = `${name}\0${file}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const content = contents.get(file);
    const folders = request.foldersOf(file);
    if (content === undefined || "why" in content) excluded.push({ name, reason: content?.why ?? "it was not read" });
    else if (folders.length === 0) excluded.push({ name, reason: request.noFolder(file) });
    else for (const folder of folders) modules.push({ name, kind, folder, tail, ...content });
    if (number < request.tracedCount) traced = modules.length;
  }
  return { modules, traced, excluded };
}

/** How often a file that changes under our hands is read again. */
const attempts = 5;

/** What stock reads; the stamp fits it, or it is left out. */
async function pycContent(request: ModulesRequest, file: string, choice: Extract<PycChoice, { kind: "pyc" }>): Promise<Content> {
  switch (choice.validity) {
    case "timestamp": {
      const { mtimeNs, size } = choice.source;
      const stamp = request.digest ? digestStamp(request.view, file, choice.source) : sourceStamp(importlibMtime(mtimeNs), size);
      return stamp === undefined ? { why: changed } : { pyc: choice.pyc, pycFile: choice.file, stamp };
    }
    case "checked": {
      const stamp = digestStamp(request.view, file, choice.source);
      return stamp === undefined ? { why: changed } : { pyc: choice.pyc, pycFile: choice.file, stamp };
    }
    case "unchecked": {
      // stock looks at the .pyc alone, whatever the source holds: so does the stamp
      const below = `__pycache__/${choice.file.slice(choice.file.lastIndexOf("/") + 1)}`;
      return request.digest ? pycDigested(request, choice.file, below) : pycStamped(request, choice.file, below);
    }
  }
}

const changed = "its source changed during the build";

function sourceStamp(mtime: number, size: number): ModuleStamp {
  return { kind: "source", mtime, size: size % 2 ** 32 };
}

/** Digest of contents that belong to `facts`; undefined when the file changed meanwhile. */
function digestStamp(view: TreeView, file: string, facts: FileFacts): ModuleStamp | undefined {
  const contents = view.read(file);
  const after = view.stat(file);
  if (contents === undefined || after === undefined || after.mtimeNs !== facts.mtimeNs || contents.byteLength !== facts.size || after.size !== facts.size) return undefined;
  return { kind: "digest", digest: xxh3(contents), size: contents.byteLength };
}

async function sourcelessContent(request: ModulesRequest, file: string): Promise<Content> {
  // the runtime digests the file that was found, which here is the .pyc
  return request.digest ? pycDigested(request, file) : pycStamped(request, file, file.slice(file.lastIndexOf("/") + 1));
}

/** A .pyc stamped with its contents. */
function pycDigested(request: ModulesRequest, file: string, below?: string): Content {
  const facts = request.view.stat(file);
  if (facts?.kind !== "file") return { why: "its .pyc is gone" };
  const pyc = request.view.read(file);
  if (pyc === undefined || pyc.byteLength !== facts.size) return { why: changed };
  return checkedPyc(request, pyc, file, { kind: "digest", digest: xxh3(pyc), size: pyc.byteLength, ...(below === undefined ? {} : { file: below }) });
}

/** A .pyc stamped with its own mtime and size: read when it is at rest, as collect-folders.ts does with folders. */
async function pycStamped(request: ModulesRequest, file: string, below: string): Promise<Content> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const before = request.view.stat(file);
    if (before?.kind !== "file") return { why: "its .pyc is gone" };
    const pyc = request.view.read(file);
    const wait = racyForNs(before.mtimeNs, request.clock.nowNs());
    const after = request.view.stat(file);
    if (pyc !== undefined && wait === 0n && after?.mtimeNs === before.mtimeNs && after.size === pyc.byteLength) {
      return checkedPyc(request, pyc, file, { kind: "pyc", file: below, mtimeNs: after.mtimeNs, size: after.size });
    }
    await request.clock.sleep(Number(wait / 1_000_000n) + 1);
  }
  return { why: "its .pyc keeps changing" };
}

function checkedPyc(request: ModulesRequest, pyc: Uint8Array, pycFile: string, stamp: ModuleStamp): Content {
  const flags = pycFlags(pyc, request.target.pycMagic);
  return typeof flags === "string" ? { why: flags } : { pyc, pycFile, stamp };
}

function compiledContent(request: ModulesRequest, file: string, choice: Extract<PycChoice, { kind: "compile" }>, result: CompileResult): Content {
  if (result.kind === "failed") return { why: result.why };
  const { pyc, mtime, size } = result;
  if (mtime !== importlibMtime(choice.source.mtimeNs) || size !== choice.source.size % 2 ** 32) return { why: changed };
  // where stock goes by the source's contents, a stamp by its mtime would be weaker
  const stamp = request.digest || choice.hashed ? digestStamp(request.view, file, choice.source) : sourceStamp(mtime, size);
  return stamp === undefined ? { why: changed } : { pyc, pycFile: file, compiled: true, stamp };
}
