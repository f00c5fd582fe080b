/** How collecting looks at files: this machine's, or a tree that stands for another's. */
import { readFileSync, readdirSync, statSync } from "node:fs";
import type { BigIntStats, Dirent } from "node:fs";
import type { PycFile } from "./pyc-file.ts";
import type { FolderInput } from "./types.ts";

export interface FileFacts {
  readonly kind: "file" | "directory" | "other";
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly size: number;
  /** Equal for two paths of one folder (links), for finding cycles. */
  readonly id: string;
}

export type NameFacts = FolderInput["names"][number];

/** A listing, with what stat said before it. */
export interface Listed {
  readonly facts: FileFacts;
  readonly names: readonly NameFacts[];
  /** When it had been made. */
  readonly nowNs: bigint;
}

/** Paths are those of the machine that the archive is for. */
export interface TreeView {
  /** Follows links; undefined: there is nothing that can be seen. */
  stat(path: string): FileFacts | undefined;
  /** Names in a folder, any order; undefined: not a readable folder. */
  list(path: string): readonly NameFacts[] | undefined;
  read(path: string): Uint8Array | undefined;
  /** A folder and its listing, perhaps of an earlier call: whoever relies on it looks at the folder again. */
  listed?(path: string): Listed | undefined;
  /** A .pyc that is unchanged since an earlier build read it; undefined: it must be read. */
  remembered?(path: string): PycFile | undefined;
}

/** The files of this machine. */
export const machineView: TreeView = { stat: statFacts, list: listFolder, read: readBytes };

export function statFacts(path: string): FileFacts | undefined {
  let stats: BigIntStats | undefined;
  try {
    stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
  if (stats === undefined) return undefined;
  return {
    kind: stats.isFile() ? "file" : stats.isDirectory() ? "directory" : "other",
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
    size: Number(stats.size),
    id: `${stats.dev}:${stats.ino}`,
  };
}

/** The contents of a regular file; anything else, a FIFO above all, is not opened. */
export function readBytes(path: string): Uint8Array | undefined {
  if (statFacts(path)?.kind !== "file") return undefined;
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** The names that FileFinder._fill_cache would hold, each as _path_isdir and _path_isfile see it (links followed). */
export function listFolder(path: string): readonly NameFacts[] | undefined {
  let entries: Dirent[];
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch {
    return undefined;
  }
  const names: NameFacts[] = [];
  for (const entry of entries) {
    const { name } = entry;
    if (entry.isFile()) names.push({ name, directory: false });
    else if (entry.isDirectory()) names.push({ name, directory: true });
    else if (entry.isSymbolicLink()) names.push({ name, directory: leadsToFolder(path, name) });
    // what is left (sockets, FIFOs, devices) is never imported
  }
  return names;
}

/**
 * Where a link leads nowhere, its target may appear without a change of this
 * folder's mtime. Such a name must not count as missing: without a suffix it is
 * recorded as a folder of unknown contents, with one as a file that can't be
 * stat'ed, and in both cases stock is asked.
 */
function leadsToFolder(folder: string, name: string): boolean {
  const target = statFacts(`${folder}/${name}`);
  return target === undefined ? !name.includes(".") : target.kind === "directory";
}
