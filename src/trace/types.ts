/**
 * The trace file: JSON lines, appended to by the runtime's tracer
 * (native/runtime/trace.c) and read by the builder. `PYCDSLIST` files are the same.
 */
import { z } from "zod";

/** The tracer writes null for text that UTF-8 cannot hold: no import of ours could use it. */
const texts = z.array(z.string().nullable()).transform((items) => items.filter((item) => item !== null));

/** First line of each traced process. */
export const traceHeader = z.object({
  pycds: z.literal("trace"),
  version: z.literal(1),
  python: z.object({
    executable: z.string().nullable(),
    hexversion: z.number().int(),
    cache_tag: z.string(),
    optimize: z.number().int().min(0).max(2),
    prefix: z.string(),
    base_prefix: z.string(),
  }),
  /** sys.path when tracing began. */
  sys_path: texts,
});

export const traceKinds = ["source", "sourceless", "extension", "builtin", "frozen", "namespace", "other"] as const;

/** One import, written when its loading begins (modules that were there before tracing come first). */
export const traceModule = z.object({
  module: z.string().nullable(),
  /** By the loader's exact type; `other`: a foreign loader. */
  kind: z.enum(traceKinds),
  /** spec.origin where it is a location. */
  file: z.string().nullable(),
  /** submodule_search_locations of a package. */
  path: texts.nullable(),
  /** Its code came from the archive (false or absent: stock loaded it). */
  served: z.boolean().optional(),
});

/** A name that no finder found. */
export const traceMissing = z.object({ missing: z.string().nullable() });
/** sys.path entries seen during a lookup that the header does not have. */
export const tracePath = z.object({ sys_path_entry: z.string().nullable() });

/** A str that exec(), eval() or compile() was given while importing. Written at each call. */
export const traceSource = z.object({
  /** Its text; eval's without the blanks in front, which it skips. */
  source: z.string(),
  mode: z.enum(["exec", "eval", "single"]),
  /** The future statements in force, compile()'s and the caller's: bits of PyCF_MASK. */
  flags: z.number().int().min(0).max(0xffffffff),
});
/** A pattern that re compiled while importing. Written at each call. */
export const tracePattern = z.object({
  /** Of a bytes pattern each byte as one character. */
  pattern: z.string(),
  bytes: z.boolean(),
  /** Given to re's compiler, as an int. */
  flags: z.number().int().min(0).max(0xffffffff),
});

export const traceLine = z.union([traceHeader, traceModule, traceMissing, tracePath, traceSource, tracePattern]);
export type TraceHeader = z.infer<typeof traceHeader>;
export type TraceModule = z.infer<typeof traceModule> & { readonly module: string };
export type TraceSource = z.infer<typeof traceSource>;
export type TracePattern = z.infer<typeof tracePattern>;
export type TraceLine = z.infer<typeof traceLine>;

/** A whole trace, merged over its processes in order of first appearance. */
export interface Trace {
  readonly headers: readonly TraceHeader[];
  readonly modules: readonly TraceModule[];
  readonly missing: readonly string[];
  /** Every sys.path entry seen, in order of first appearance. */
  readonly sysPath: readonly string[];
  /** Source strings in order of first appearance; `calls`: the most that one process made. */
  readonly sources: readonly (TraceSource & { readonly calls: number })[];
  /** Patterns in order of first appearance. */
  readonly patterns: readonly TracePattern[];
}

/** An interpreter as it describes itself (`python -I -c …`), all that the toolchain needs to know of it. */
export interface InterpreterInfo {
  /** sys.executable of the run (a venv's python stays the venv's). */
  readonly executable: string;
  readonly implementation: string;
  readonly hexversion: number;
  readonly version: string;
  readonly pycMagic: number;
  readonly cacheTag: string;
  readonly platform: string;
  readonly flavour: "release" | "debug" | "freethreaded";
  readonly suffixes: readonly { readonly suffix: string; readonly loader: "extension" | "source" | "sourceless" }[];
  readonly prefix: string;
  readonly basePrefix: string;
  /** Folder of the standard library (sysconfig stdlib), and lib-dynload. */
  readonly stdlib: string;
  readonly dynload: string | null;
  /** site-packages folders, purelib first. */
  readonly sitePackages: readonly string[];
  /** sys.path without the script's folder. */
  readonly sysPath: readonly string[];
}
