/**
 * What an earlier build found in .pyc files, by path, for those that have not
 * changed since: device, inode, size, mtime and ctime are the same, and were old
 * enough when the file was read that a later change had to show in them (as
 * git's index does it; ctime can't be set back). With the unit cache such a file need not be
 * read again: its head and the name of its contents are known.
 *
 * The memory is a line of JSON behind its XXH3; anything else counts as none.
 */
import { readFileSync } from "node:fs";
import { xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import type { CompileResult, Compiler } from "./collect-compile.ts";
import { racyForNs } from "./collect-folders.ts";
import { statFacts } from "./collect-view.ts";
import type { FileFacts, Listed, TreeView } from "./collect-view.ts";
import { contentKey, heldPyc } from "./pyc-file.ts";
import type { PycFile } from "./pyc-file.ts";

/** Stamp, head in hex, key. */
type Row = readonly [stamp: string, head: string, key: string];
/** Of a source that cannot be compiled: stamp, why. Its key is no path: {@link failureKey}. */
type FailureRow = readonly [stamp: string, why: string];
const failureKey = (path: string, interpreter: string): string => `${interpreter}\0${path}`;
/** What depends on the source and the interpreter alone, and not on memory or stack. */
const lastingFailure = /^it cannot be compiled: (?:SyntaxError|IndentationError|TabError): /;
/** Paths beyond these are forgotten, those not met in the last build first. */
const mostRows = 200_000;

export interface RememberingView extends TreeView {
  /**
   * Spares compiling what could not be compiled before, and is unchanged.
   * @param interpreter what the compiler is; another one has other errors
   */
  compiler(compiler: Compiler, interpreter: string): Compiler;
  /** The memory to keep for the next build, if it is another one than was read. */
  memory(): string | undefined;
}

function stampOf(facts: FileFacts): string {
  return `${facts.id}:${facts.size}:${facts.mtimeNs}:${facts.ctimeNs}`;
}

/** Whether any change after `now` gets other times. */
function isSettled({ mtimeNs, ctimeNs }: FileFacts, now: bigint): boolean {
  const later = mtimeNs > ctimeNs ? mtimeNs : ctimeNs;
  return later <= now && racyForNs(later, now) === 0n;
}

function isFailure(row: unknown): row is FailureRow {
  return Array.isArray(row) && row.length === 2 && row.every((item) => typeof item === "string");
}

/** By hand: a schema takes three times as long, which for a whole venv shows. */
function isRow(row: unknown): row is Row {
  if (!Array.isArray(row) || row.length !== 3) return false;
  const [stamp, head, key] = row as readonly unknown[];
  return typeof stamp === "string" && typeof head === "string" && head.length <= 32 && typeof key === "string" && key.length === 32;
}

function readMemory(text: string | undefined): Map<string, Row | FailureRow> {
  const rows = new Map<string, Row | FailureRow>();
  const end = text?.indexOf("\n") ?? -1;
  const body = text?.slice(end + 1) ?? "";
  if (text === undefined || end < 0 || xxh3(Buffer.from(body, "utf8")).toString(16) !== text.slice(0, end)) return rows;
  const json: unknown = JSON.parse(body);
  if (typeof json !== "object" || json === null) return rows;
  for (const [path, row] of Object.entries(json)) {
    if (isRow(row) || isFailure(row)) rows.set(path, row);
  }
  return rows;
}

/** @param text what memory() gave in an earlier build */
export function rememberingView(view: TreeView, text: string | undefined, nowNs: () => bigint): RememberingView {
  const before = readMemory(text);
  const met = new Map<string, Row | FailureRow>();
  /** Folders are listed by several passes. */
  const listings = new Map<string, Listed>();
  let changed = false;
  return {
    stat: (path) => view.stat(path),
    list: (path) => view.list(path),
    listed: (path) => {
      const known = listings.get(path);
      if (known !== undefined) return known;
      const facts = view.stat(path);
      const names = facts?.kind === "directory" ? view.list(path) : undefined;
      if (facts === undefined || names === undefined) return undefined;
      const listed = { facts, names, nowNs: nowNs() };
      listings.set(path, listed);
      return listed;
    },
    read: (path) => view.read(path),
    remembered: (path) => {
      const facts = statFacts(path);
      if (facts?.kind !== "file") return undefined;
      const stamp = stampOf(facts);
      const known = before.get(path);
      if (isRow(known) && known[0] === stamp) {
        met.set(path, known);
        return rememberedPyc(view, path, known);
      }
      const now = nowNs();
      const bytes = view.read(path);
      if (bytes === undefined) return undefined;
      const pyc = heldPyc(bytes);
      if (bytes.byteLength === facts.size && isSettled(facts, now)) {
        met.set(path, [stamp, Buffer.from(pyc.head).toString("hex"), pyc.key()]);
        changed = true;
      }
      return pyc;
    },
    compiler: (compiler, interpreter) => async (paths, optimize, progress) => {
      const results = new Map<string, CompileResult>();
      const stamps = new Map<string, string>();
      const who = `${interpreter}-${optimize}`;
      const now = nowNs();
      for (const path of paths) {
        const facts = statFacts(path);
        const known = before.get(failureKey(path, who));
        if (facts === undefined) continue;
        if (isFailure(known) && known[0] === stampOf(facts)) {
          met.set(failureKey(path, who), known);
          results.set(path, { kind: "failed", why: known[1] });
        } else if (isSettled(facts, now)) {
          stamps.set(path, stampOf(facts));
        }
      }
      const others = paths.filter((path) => !results.has(path));
      if (others.length === 0) return results;
      for (const [path, result] of await compiler(others, optimize, progress)) {
        results.set(path, result);
        const stamp = stamps.get(path);
        if (stamp === undefined || result.kind !== "failed" || !lastingFailure.test(result.why)) continue;
        met.set(failureKey(path, who), [stamp, result.why]);
        changed = true;
      }
      return results;
    },
    memory: () => {
      if (!changed) return undefined;
      const rows = [...met];
      for (const row of before) if (!met.has(row[0]) && rows.length < mostRows) rows.push(row);
      const body = JSON.stringify(Object.fromEntries(rows.slice(0, mostRows)));
      return `${xxh3(Buffer.from(body, "utf8")).toString(16)}\n${body}`;
    },
  };
}

function rememberedPyc(view: TreeView, path: string, [, head, key]: Row): PycFile {
  return {
    head: Buffer.from(head, "hex"),
    key: () => key,
    bytes: () => {
      const bytes = view.read(path);
      if (bytes === undefined || contentKey(bytes) !== key) {
        throw new PycdsError("PYC_CHANGED", "cannot build the archive", "it changed during the build", { file: path, next: "build again" });
      }
      return bytes;
    },
  };
}

/** The memory's text; undefined: there is none. */
export function readMemoryFile(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
