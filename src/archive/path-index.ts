/**
 * The path index: for each name in each folder, what FileFinder would find.
 *
 * The rules are those of FileFinder.find_spec (CPython,
 * Lib/importlib/_bootstrap_external.py), for a tail T in a folder F:
 *  1. T is in F's listing: the first suffix in finder order with a regular
 *     file F/T/__init__SUFFIX makes T a package; none, but F/T is a folder: a
 *     namespace portion, unless rule 2 finds a file.
 *  2. The first suffix with a regular file F/T+SUFFIX makes T that module.
 * A listing decides both when F/T has been listed too; otherwise stock is asked.
 */
import { PycdsError } from "../base/errors.ts";
import type { entryKind } from "../image/schema.ts";
import type { FolderInput, TargetInfo } from "./types.ts";

export interface IndexedEntry {
  /** The tail: what stands behind the last dot of a module's name. */
  readonly name: string;
  readonly kind: keyof typeof entryKind;
  /** Index in the target's suffixes; only of kinds that are files. */
  readonly suffix: number | undefined;
  /** Path of F/T where that is a folder of the index. */
  readonly child: string | undefined;
}

export interface IndexedFolder {
  readonly path: string;
  readonly mtimeNs: bigint;
  readonly cacheMtimeNs: bigint | undefined;
  /** Ascending by name. */
  readonly entries: readonly IndexedEntry[];
}

type Suffixes = TargetInfo["suffixes"];

interface Listing {
  readonly files: ReadonlySet<string>;
  readonly directories: ReadonlySet<string>;
}

/** UTF-8 order, which is C's memcmp order. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  // only there is the order of UTF-16 units another one
  if (surrogatesAndAbove.test(a) || surrogatesAndAbove.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : 1;
}

const surrogatesAndAbove = /[\ud800-\uffff]/;

/** _path_join of a folder and a name (POSIX, Lib/importlib/_bootstrap_external.py). */
export function joinPath(folder: string, name: string): string {
  return `${folder.replace(/\/+$/, "")}/${name}`;
}

/** The folder that holds a file, by its absolute path. */
export function folderOf(file: string): string {
  return file.slice(0, Math.max(1, file.lastIndexOf("/")));
}

function listingOf(folder: FolderInput): Listing {
  const files = new Set<string>();
  const directories = new Set<string>();
  for (const { name, directory } of folder.names) (directory ? directories : files).add(name);
  return { files, directories };
}

/** The first suffix in finder order with which `stem` is a file of the folder. */
function firstFile(stem: string, listing: Listing, suffixes: Suffixes): number | undefined {
  const index = suffixes.findIndex(({ suffix }) => listing.files.has(stem + suffix));
  return index < 0 ? undefined : index;
}

/** Every name that an import could ask for and that has something of that name in the folder. */
function tails(listing: Listing, suffixes: Suffixes): Set<string> {
  const found = new Set<string>(listing.directories);
  for (const file of listing.files) {
    for (const { suffix } of suffixes) if (file.endsWith(suffix)) found.add(file.slice(0, file.length - suffix.length));
  }
  // The tail is what rpartition(".") leaves, so it has no dot.
  for (const tail of found) if (tail.includes(".")) found.delete(tail);
  return found;
}

function decide(tail: string, folder: string, listing: Listing, listings: ReadonlyMap<string, Listing>, suffixes: Suffixes): IndexedEntry | undefined {
  const ask: IndexedEntry = { name: tail, kind: "ask", suffix: undefined, child: undefined };
  // Stands for bytes that are not UTF-8: the real name is not known.
  if (tail.includes("\ufffd")) return ask;
  const childPath = listing.directories.has(tail) ? joinPath(folder, tail) : undefined;
  if (childPath !== undefined) {
    const child = listings.get(childPath);
    if (child === undefined) return ask;
    if (firstFile("__init__", child, suffixes) !== undefined) {
      // With a folder of that name, the child's entry `__init__` would not be the file.
      return child.directories.has("__init__") ? ask : { name: tail, kind: "package", suffix: undefined, child: childPath };
    }
  }
  const suffix = firstFile(tail, listing, suffixes);
  const kind = suffix === undefined ? undefined : suffixes[suffix]?.loader;
  if (kind !== undefined) return { name: tail, kind, suffix, child: childPath };
  return childPath === undefined ? undefined : { name: tail, kind: "namespace", suffix: undefined, child: childPath };
}

/**
 * Folders ascending by path, with their entries; a name without entry is known
 * to be missing. What a folder's `names` call a file but FileFinder would not
 * (a dangling link) still gets its entry: the stat at the look-up sends that to
 * stock.
 */
export function indexFolders(folders: readonly FolderInput[], suffixes: Suffixes): IndexedFolder[] {
  const listings = new Map<string, Listing>();
  for (const folder of folders) {
    if (listings.has(folder.path)) throw new PycdsError("ARCHIVE_DUPLICATE_FOLDER", "cannot build the path index", "the folder was listed twice", { file: folder.path });
    listings.set(folder.path, listingOf(folder));
  }
  return folders
    .toSorted((a, b) => compareText(a.path, b.path))
    .map(({ path, mtimeNs, cacheMtimeNs }) => {
      const listing = listings.get(path) ?? { files: new Set(), directories: new Set() };
      const entries = [...tails(listing, suffixes)]
        .toSorted(compareText)
        .map((tail) => decide(tail, path, listing, listings, suffixes))
        .filter((entry) => entry !== undefined);
      return { path, mtimeNs, cacheMtimeNs, entries };
    });
}
