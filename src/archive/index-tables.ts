/** The path index as the image's tables: folders, entries, the two hash tables, roots, suffixes. */
import type { RecordOf } from "../image/codec.ts";
import { buildHashTable, entryHash, folderHash } from "../image/hash.ts";
import { entryKind, none, stampKind, suffixLoader } from "../image/schema.ts";
import type { StringTable } from "../image/strings.ts";
import type { IndexedEntry, IndexedFolder } from "./path-index.ts";
import type { BuildInput, ModuleStamp } from "./types.ts";

/** What is archived for an entry: code with its stamp, or the reason why there is none. */
export type EntryContent =
  | { readonly kind: "unit"; readonly unit: number; readonly stamp: ModuleStamp; readonly compiled: boolean }
  | { readonly kind: "reason"; readonly reason: string };

export interface IndexTables {
  readonly roots: readonly RecordOf<"Root">[];
  readonly suffixes: readonly RecordOf<"Suffix">[];
  readonly folders: readonly RecordOf<"Folder">[];
  readonly folderHash: Uint32Array;
  readonly entries: readonly RecordOf<"Entry">[];
  readonly entryHash: Uint32Array;
  /** Index of an entry in `entries`. */
  readonly entryIndex: ReadonlyMap<IndexedEntry, number>;
}

interface RootPlace {
  readonly root: number;
  readonly relative: string;
}

/** The root with the longest path that holds `path`; only whole components count. */
export function findRoot(path: string, roots: BuildInput["roots"]): RootPlace {
  let best: RootPlace = { root: none, relative: "" };
  let bestLength = -1;
  roots.forEach(({ path: root }, index) => {
    const prefix = root.endsWith("/") ? root : `${root}/`;
    const relative = path === root ? "" : path.startsWith(prefix) && path.length > prefix.length ? path.slice(prefix.length) : undefined;
    if (relative === undefined || root.length <= bestLength) return;
    best = { root: index, relative };
    bestLength = root.length;
  });
  return best;
}

type StampFields = Pick<RecordOf<"Entry">, "stamp_kind" | "stamp_file" | "stamp_mtime" | "stamp_size" | "stamp_digest">;

const noStamp: StampFields = { stamp_kind: stampKind.none, stamp_file: none, stamp_mtime: 0n, stamp_size: 0n, stamp_digest: 0n };

function stampFields(stamp: ModuleStamp, strings: StringTable): StampFields {
  switch (stamp.kind) {
    case "source":
      // importlib compares mtime and size mod 2^32 with the .pyc (_validate_timestamp_pyc).
      return { ...noStamp, stamp_kind: stampKind.source, stamp_mtime: BigInt(stamp.mtime >>> 0), stamp_size: BigInt(stamp.size >>> 0) };
    case "pyc":
      return { ...noStamp, stamp_kind: stampKind.pyc, stamp_file: strings.add(stamp.file).ref, stamp_mtime: stamp.mtimeNs, stamp_size: BigInt(stamp.size) };
    case "digest":
      return {
        ...noStamp, stamp_kind: stampKind.digest, stamp_size: BigInt(stamp.size), stamp_digest: stamp.digest,
        ...(stamp.file === undefined ? {} : { stamp_file: strings.add(stamp.file).ref }),
      };
  }
}

const compiled = (content: EntryContent | undefined): boolean => content?.kind === "unit" && content.compiled;

export function indexTables(
  input: Pick<BuildInput, "roots" | "target">,
  index: readonly IndexedFolder[],
  contents: ReadonlyMap<IndexedEntry, EntryContent>,
  strings: StringTable,
): IndexTables {
  const roots = input.roots.map(({ name, path }) => ({ name: strings.add(name).ref, path: strings.add(path).ref }));
  const suffixes = input.target.suffixes.map(({ suffix, loader }) => {
    const { ref, length } = strings.add(suffix);
    return { suffix: ref, length, loader: suffixLoader[loader] };
  });

  const folderNumber = new Map(index.map(({ path }, number) => [path, number]));
  const folders: RecordOf<"Folder">[] = [];
  const entries: RecordOf<"Entry">[] = [];
  const entryHashes: bigint[] = [];
  const entryIndex = new Map<IndexedEntry, number>();
  index.forEach((folder, number) => {
    const { ref, length } = strings.add(folder.path);
    const { root, relative } = findRoot(folder.path, input.roots);
    folders.push({
      path: ref,
      path_length: length,
      root,
      relative: strings.add(relative).ref,
      mtime_ns: folder.mtimeNs,
      cache_mtime_ns: folder.entries.some((entry) => compiled(contents.get(entry))) ? 0n : (folder.cacheMtimeNs ?? 0n),
      first_entry: entries.length,
      entry_count: folder.entries.length,
    });
    for (const entry of folder.entries) {
      const content = contents.get(entry);
      const name = strings.add(entry.name);
      entryIndex.set(entry, entries.length);
      entryHashes.push(entryHash(entry.name, number));
      entries.push({
        folder: number,
        name: name.ref,
        name_length: name.length,
        kind: entryKind[entry.kind],
        suffix: entry.suffix ?? 0,
        unit: content?.kind === "unit" ? content.unit : none,
        child: entry.child === undefined ? none : (folderNumber.get(entry.child) ?? none),
        reason: content?.kind === "reason" ? strings.add(content.reason).ref : none,
        ...(content?.kind === "unit" ? stampFields(content.stamp, strings) : noStamp),
      });
    }
  });
  return {
    roots,
    suffixes,
    folders,
    folderHash: buildHashTable(index.map(({ path }) => folderHash(path))),
    entries,
    entryHash: buildHashTable(entryHashes),
    entryIndex,
  };
}
