/**
 * Stamps files: what a build needs to know of a machine that it does not run
 * on. A build there writes one (`--write-stamps`); with copies of the folders
 * it gives the same bytes anywhere (`--target … --tree … --stamps …`).
 *
 * ```json
 * {
 *   "pycds": "stamps", "version": 1,
 *   "interpreter": { "hexversion": 51054576, "pycMagic": 168627623, "cacheTag": "cpython-311", "suffixes": [ … ], … },
 *   "optimize": 0,
 *   "paths": { "/usr/lib/python3.11/os.py": { "mtime_ns": "1700000000000000000", "size": 39504 }, … },
 *   "failures": { "/usr/lib/…/bad.py": "it cannot be compiled: SyntaxError: …" },
 *   "pures": { "SHA-256 of what was asked": { "code": "base64 of marshalled code" }, … }
 * }
 * ```
 * `paths` has every folder and file that was looked at; what it does not have
 * is not there, whatever the copy holds. `mtime_ns` may be a number or decimal text.
 */
import { z } from "zod";
import { PycdsError } from "../base/errors.ts";
import { suffixList } from "../trace/interpreter.ts";
import type { InterpreterFacts } from "./collect.ts";
import { resultLine } from "./collect-pure.ts";
import type { PureAnswers } from "./collect-pure.ts";
import { listFolder, machineView, readBytes, statFacts } from "./collect-view.ts";
import type { FileFacts, TreeView } from "./collect-view.ts";
import { compareText, joinPath } from "./path-index.ts";

const stampRow = z.object({
  mtime_ns: z.union([z.string().regex(/^-?\d+$/), z.int()]).transform(BigInt),
  /** Of files; a folder's size plays no part. */
  size: z.int().nonnegative().optional(),
});

const stampsSchema = z.object({
  pycds: z.literal("stamps"),
  version: z.literal(1),
  interpreter: z.object({
    hexversion: z.int().nonnegative(),
    pycMagic: z.int().nonnegative(),
    cacheTag: z.string(),
    platform: z.string(),
    flavour: z.enum(["release", "debug", "freethreaded"]),
    suffixes: suffixList,
    prefix: z.string(),
    basePrefix: z.string(),
    stdlib: z.string(),
    dynload: z.string().nullable(),
    sitePackages: z.array(z.string()),
    sysPath: z.array(z.string()),
  }),
  optimize: z.int().min(0).max(2),
  paths: z.record(z.string(), stampRow),
  failures: z.record(z.string(), z.string()).default({}),
  pures: z.record(z.string(), resultLine).default({}),
});

export interface Stamps {
  readonly interpreter: InterpreterFacts;
  readonly optimize: number;
  readonly paths: ReadonlyMap<string, { readonly mtimeNs: bigint; readonly size: number }>;
  /** Sources that the interpreter could not compile, with the reason. */
  readonly failures: ReadonlyMap<string, string>;
  /** What the interpreter made of traced source strings and patterns, at this level of optimization. */
  readonly pures: PureAnswers;
}

export function readStamps(text: string, file: string): Stamps {
  const fail = (why: string, cause?: unknown): PycdsError =>
    new PycdsError("STAMPS", "cannot read stamps", why, { file, next: "write them on the target with: pycds build … --write-stamps FILE", cause });
  let json: unknown;
  try {
    // ns since 1970 do not fit into a JavaScript number: made text before JSON.parse could round them
    json = JSON.parse(text.replaceAll(/("mtime_ns"\s*:\s*)(-?\d+)(?=\s*[,}])/g, '$1"$2"'));
  } catch (cause) {
    throw fail("it is not JSON", cause);
  }
  const parsed = stampsSchema.safeParse(json);
  if (!parsed.success) {
    throw fail(parsed.error.issues.slice(0, 5).map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; "), parsed.error);
  }
  const { interpreter, optimize, paths, failures, pures } = parsed.data;
  return {
    interpreter,
    optimize,
    paths: new Map(Object.entries(paths).map(([path, { mtime_ns, size }]) => [path, { mtimeNs: mtime_ns, size: size ?? 0 }])),
    failures: new Map(Object.entries(failures)),
    pures: new Map(Object.entries(pures)),
  };
}

export function writeStamps({ interpreter, optimize, paths, failures, pures }: Stamps): string {
  const { hexversion, pycMagic, cacheTag, platform, flavour, suffixes, prefix, basePrefix, stdlib, dynload, sitePackages, sysPath } = interpreter;
  const sorted = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].toSorted(([a], [b]) => compareText(a, b));
  return `${JSON.stringify({
    pycds: "stamps",
    version: 1,
    interpreter: { hexversion, pycMagic, cacheTag, platform, flavour, suffixes, prefix, basePrefix, stdlib, dynload, sitePackages, sysPath },
    optimize,
    paths: Object.fromEntries(sorted(paths).map(([path, { mtimeNs, size }]) => [path, { mtime_ns: String(mtimeNs), size }])),
    failures: Object.fromEntries(sorted(failures)),
    pures: Object.fromEntries(sorted(pures)),
  }, undefined, 1)}\n`;
}

/** This machine's files, remembering all that was looked at. */
export function recordingView(): TreeView & { readonly seen: Stamps["paths"] } {
  const seen = new Map<string, { mtimeNs: bigint; size: number }>();
  return {
    seen,
    stat: (path) => {
      const facts = machineView.stat(path);
      // a folder's size is the file system's own business
      if (facts !== undefined) seen.set(path, { mtimeNs: facts.mtimeNs, size: facts.kind === "file" ? facts.size : 0 });
      return facts;
    },
    list: (path) => machineView.list(path),
    read: (path) => {
      const bytes = machineView.read(path);
      const facts = bytes === undefined ? undefined : machineView.stat(path);
      if (facts !== undefined) seen.set(path, { mtimeNs: facts.mtimeNs, size: facts.size });
      return bytes;
    },
  };
}

/** `DIR=RUNTIME_PATH`: the copy and the path that it stands for. */
export interface TreeMapping {
  readonly folder: string;
  readonly runtimePath: string;
}

export function parseTree(text: string): TreeMapping {
  const at = text.lastIndexOf("=/");
  if (at <= 0) {
    throw new PycdsError("TREE", "cannot use --tree", `${JSON.stringify(text)} is not DIR=RUNTIME_PATH with an absolute RUNTIME_PATH`, {
      next: "for example --tree ./rootfs/usr/lib=/usr/lib",
    });
  }
  return { folder: text.slice(0, at), runtimePath: text.slice(at + 1) };
}

/**
 * Files of copies, with recorded stamps. The longest mapping counts. `lacking`
 * grows as it is used: paths that have a stamp but no copy.
 */
export function stampedView(trees: readonly TreeMapping[], stamps: Stamps): TreeView & { readonly lacking: ReadonlySet<string> } {
  const lacking = new Set<string>();
  const mappings = trees
    .map(({ folder, runtimePath }) => ({ folder, prefix: joinPath(runtimePath, "") }))
    .toSorted((a, b) => b.prefix.length - a.prefix.length);
  const locate = (path: string): string | undefined => {
    const mapping = mappings.find(({ prefix }) => `${path}/`.startsWith(prefix));
    return mapping === undefined ? undefined : joinPath(mapping.folder, path.slice(mapping.prefix.length));
  };
  const stat = (path: string): FileFacts | undefined => {
    const stamp = stamps.paths.get(path);
    const copy = stamp === undefined ? undefined : locate(path);
    const facts = copy === undefined ? undefined : statFacts(copy);
    if (stamp === undefined) return undefined;
    if (facts === undefined) {
      lacking.add(path);
      return undefined;
    }
    return { ...facts, mtimeNs: stamp.mtimeNs, size: facts.kind === "file" ? stamp.size : 0 };
  };
  return {
    lacking,
    stat,
    list: (path) => {
      const copy = locate(path);
      return copy === undefined ? undefined : listFolder(copy);
    },
    read: (path) => {
      const copy = stat(path)?.kind === "file" ? locate(path) : undefined;
      const bytes = copy === undefined ? undefined : readBytes(copy);
      if (bytes !== undefined && bytes.byteLength !== stamps.paths.get(path)?.size) {
        throw new PycdsError("TREE_DIFFERS", "cannot build from the copy", `${path} has ${bytes.byteLength} bytes here, ${stamps.paths.get(path)?.size ?? 0} by the stamps`, {
          ...(copy === undefined ? {} : { file: copy }),
          next: "copy the folders anew, or write new stamps",
        });
      }
      return bytes;
    },
  };
}
