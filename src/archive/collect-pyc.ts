/**
 * Which .pyc stock would load for a source file: SourceLoader.get_code
 * (Lib/importlib/_bootstrap_external.py), with `--check-hash-based-pycs default`
 * and no sys.pycache_prefix.
 */
import { ByteReader } from "../base/bytes.ts";
import { sourceHash } from "./collect-siphash.ts";
import type { FileFacts, TreeView } from "./collect-view.ts";
import { heldPyc } from "./pyc-file.ts";
import type { PycFile } from "./pyc-file.ts";

/** What the choice depends on besides the files. */
export interface PycRules {
  /** First four bytes of a .pyc as u32 LE. */
  readonly pycMagic: number;
  readonly cacheTag: string;
  readonly optimize: number;
  readonly minor: number;
}

export type PycChoice =
  | { readonly kind: "pyc"; readonly file: string; readonly pyc: PycFile; readonly validity: "timestamp" | "checked" | "unchecked"; readonly source: FileFacts }
  /** Stock would compile the source. */
  | { readonly kind: "compile"; readonly why: string; readonly hashed: boolean; readonly source: FileFacts }
  /** There is no such source file any more. */
  | { readonly kind: "gone" };

/** importlib.util.cache_from_source without a pycache prefix. */
export function cachedName(file: string, rules: PycRules): string {
  const slash = file.lastIndexOf("/");
  const tail = file.slice(slash + 1);
  const dot = tail.lastIndexOf(".");
  const stem = dot <= 0 ? tail.slice(dot + 1) : tail.slice(0, dot);
  const level = rules.optimize === 0 ? "" : `.opt-${rules.optimize}`;
  return `${file.slice(0, slash + 1)}__pycache__/${stem}${dot < 0 ? "" : "."}${rules.cacheTag}${level}.pyc`;
}

/**
 * int(st.st_mtime) mod 2^32, as importlib compares it with a .pyc's stamp.
 * st_mtime is a double made of seconds and nanoseconds (Modules/posixmodule.c,
 * fill_time), so the last hundred nanoseconds of a second count as the next one.
 */
export function importlibMtime(mtimeNs: bigint): number {
  const billion = 1_000_000_000n;
  const nanos = ((mtimeNs % billion) + billion) % billion;
  const seconds = Number((mtimeNs - nanos) / billion);
  return Number(BigInt.asUintN(32, BigInt(Math.trunc(seconds + 1e-9 * Number(nanos)))));
}

export function choosePyc(view: TreeView, sourceFile: string, rules: PycRules): PycChoice {
  const source = view.stat(sourceFile);
  if (source?.kind !== "file") return { kind: "gone" };
  const file = cachedName(sourceFile, rules);
  const pyc = view.remembered?.(file) ?? readPycFile(view, file);
  const compile = (why: string, hashed = false): PycChoice => ({ kind: "compile", why, hashed, source });
  if (pyc === undefined) return compile("there is no .pyc");
  const flags = pycFlags(pyc.head, rules.pycMagic);
  if (typeof flags === "string") return compile(flags);
  const reader = new ByteReader(pyc.head, file, 8);
  if ((flags & hashBased) === 0) {
    if (reader.u32() !== importlibMtime(source.mtimeNs) || reader.u32() !== source.size % 2 ** 32) return compile("its .pyc is stale");
    return { kind: "pyc", file, pyc, validity: "timestamp", source };
  }
  if ((flags & checkSource) === 0) return { kind: "pyc", file, pyc, validity: "unchecked", source };
  const contents = view.read(sourceFile);
  if (contents === undefined) return { kind: "gone" };
  if (reader.u64() !== sourceHash(contents, rules.pycMagic, rules.minor)) return compile("its .pyc is stale", true);
  return { kind: "pyc", file, pyc, validity: "checked", source };
}

function readPycFile(view: TreeView, file: string): PycFile | undefined {
  const bytes = view.read(file);
  return bytes === undefined ? undefined : heldPyc(bytes);
}

const hashBased = 0b01;
const checkSource = 0b10;

/** The flags of a .pyc, or why it is none that this interpreter would take (_classify_pyc). */
export function pycFlags(bytes: Uint8Array, pycMagic: number): number | string {
  if (bytes.byteLength < 4 || new ByteReader(bytes).u32() !== pycMagic) return "its .pyc is of another Python version";
  if (bytes.byteLength < 16) return "its .pyc is cut short";
  const flags = new ByteReader(bytes, undefined, 4).u32();
  return (flags & ~(hashBased | checkSource)) === 0 ? flags : "its .pyc has unknown flags";
}
