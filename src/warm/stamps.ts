/** Validity stamps: what the restorer compares before it serves an image. */
import { readFileSync, readdirSync, statSync } from "node:fs";
import type { BigIntStats } from "node:fs";
import { basename, dirname, join } from "node:path";
import { xxh3 } from "../base/digest.ts";
import { folderCounts, watchedPrefixes, watchedVariables } from "./schema.ts";

export interface Stamp {
  /** Name in the folder; empty for the folder itself. */
  readonly name: string;
  /** st_mode & S_IFMT; 0 where nothing is there. */
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly size: bigint;
  /** When it was last changed in any way; not part of the image. */
  readonly ctimeNs: bigint;
}

export interface FolderStamps {
  readonly path: string;
  readonly stamps: readonly Stamp[];
}

const fileTypeMask = 0o170000n;
const folderType = 0o040000n;

/** How a path looks now; what cannot be looked at is missing, as it is for the restorer. */
export function stampOf(path: string, name: string): Stamp {
  let stats: BigIntStats | undefined;
  try {
    stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    // a module in a zip file, a folder that may not be entered
  }
  if (stats === undefined) return { name, mode: 0, mtimeNs: 0n, size: 0n, ctimeNs: 0n };
  const type = stats.mode & fileTypeMask;
  return { name, mode: Number(type), mtimeNs: stats.mtimeNs, ctimeNs: stats.ctimeNs, size: type === folderType ? listingOf(path) : stats.size };
}

/** What an import could find, and the lines that site executes (check.c, is_importable, has the same). */
const importable = /\.(?:py|pyc|so|pth)$/;

function importableNames(path: string): Buffer[] {
  try {
    return readdirSync(path, { withFileTypes: true, encoding: "buffer" })
      .filter((entry) => {
        const text = entry.name.toString("latin1");
        return importable.test(text) || (!text.includes(".") && text !== "__pycache__" && (entry.isDirectory() || entry.isSymbolicLink()));
      })
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

/**
 * A number for the names in a folder that an import could find: files by their
 * suffix, folders and links by a name without a dot. Files that come and go beside
 * them (logs, caches, the image itself) make no difference.
 */
function listingOf(path: string): bigint {
  return importableNames(path).reduce((sum, name) => sum ^ xxh3(name), 0n);
}

/**
 * Paths that changed since a time, so that what was imported may not be what is there
 * now: a file whose inode changed, a folder that got a name. (A name that went from a
 * folder is not seen, unless a module's file went with it.)
 */
export function changedSince(folders: readonly FolderStamps[], sinceNs: bigint, except: ReadonlySet<string>): string[] {
  const found = new Set<string>();
  for (const { path, stamps } of folders) {
    for (const { name, mode, ctimeNs } of stamps) {
      const file = name === "" ? path : join(path, name);
      if (mode === 0 || ctimeNs < sinceNs || except.has(file)) continue;
      if (mode !== Number(folderType)) found.add(file);
      else for (const inside of importableNames(path).map((one) => join(path, one.toString()))) if (stampOf(inside, "").ctimeNs >= sinceNs && !isFolder(inside) && !except.has(inside)) found.add(inside);
    }
  }
  return [...found].sort();
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** The .pth files of folders: site executes them. */
export function pathConfigurations(folders: readonly string[]): string[] {
  return folders.flatMap((folder) => importableNames(folder).map((name) => name.toString()).filter((name) => name.endsWith(".pth")).map((name) => join(folder, name)));
}

export interface Identity {
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly size: bigint;
  readonly inode: bigint;
  /** XXH3 of its contents. */
  readonly digest: bigint;
}

/** A file that memory is mapped from. @throws Error when it cannot be read */
export function identityOf(path: string): Identity {
  const { mtimeNs, ctimeNs, size, ino } = statSync(path, { bigint: true });
  return { mtimeNs, ctimeNs, size, inode: ino, digest: xxh3(readFileSync(path)) };
}

/** Two stamps of one path are the same to the restorer. */
export function sameStamp(a: Stamp, b: Stamp): boolean {
  const isFolder = a.mode === Number(folderType);
  return a.mode === b.mode && (isFolder ? a.mtimeNs === b.mtimeNs || a.size === b.size : a.mtimeNs === b.mtimeNs && a.size === b.size);
}

/** Stamps of files by their folder, and of folders themselves. Sorted, each once. */
export function collectStamps(files: readonly string[], folders: readonly string[]): FolderStamps[] {
  const byFolder = new Map<string, Map<string, Stamp>>();
  const add = (folder: string, name: string, path: string): void => {
    const stamps = byFolder.get(folder) ?? new Map<string, Stamp>();
    byFolder.set(folder, stamps);
    if (!stamps.has(name)) stamps.set(name, stampOf(path, name));
  };
  for (const file of files) add(dirname(file), basename(file), file);
  for (const folder of folders) {
    // a zip file on the path is a file
    if (stampOf(folder, "").mode === Number(folderType)) add(folder, "", folder);
    else add(dirname(folder), basename(folder), folder);
  }
  return [...byFolder].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, stamps]) => ({ path, stamps: [...stamps.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) }));
}

/** Digests of top-level names that a file beside the program would take over (WarmHeader.names_offset). */
export function nameDigests(names: readonly (readonly [name: string, folderIsEnough: boolean])[]): bigint[] {
  const digests = new Map(names.map(([name, folderIsEnough]) => [xxh3(Buffer.from(name)) & ~folderCounts, folderIsEnough ? folderCounts : 0n]));
  return [...digests].map(([digest, bit]) => digest | bit).sort((a, b) => (a < b ? -1 : 1));
}

export interface Variable {
  readonly name: string;
  /** Undefined: it was not set. */
  readonly value: string | undefined;
}

/** Not watched though read: where and how deep the shell stood says nothing about imports; ours are no business of the program's. */
const unwatched = new Set(["_", "PWD", "OLDPWD", "SHLVL"]);

/** The environment that an image depends on: what imports read, and what is watched in any case. */
export function collectVariables(environment: Readonly<Record<string, string>>, reads: readonly string[]): { variables: Variable[]; prefixed: number } {
  const isPrefixed = (name: string): boolean => watchedPrefixes.some((prefix) => name.startsWith(prefix));
  const prefixed = Object.keys(environment).filter(isPrefixed);
  const names = new Set([...reads.filter((name) => !unwatched.has(name) && !name.startsWith("PYCDS")), ...watchedVariables, ...prefixed]);
  return { variables: [...names].sort().map((name) => ({ name, value: environment[name] })), prefixed: prefixed.length };
}
