/** Joins modules to the index: which entry's code each module is, and which modules stock would not load from there. */
import type { IndexedEntry, IndexedFolder } from "./path-index.ts";
import { joinPath } from "./path-index.ts";
import type { ModuleInput, ModuleStamp } from "./types.ts";

export interface PlacedModule {
  readonly module: ModuleInput;
  readonly entry: IndexedEntry;
  readonly traced: boolean;
  /** Further names that the same file was seen under. */
  readonly aliases: readonly string[];
}

export interface Placement {
  /** In the order of the input. */
  readonly placed: readonly PlacedModule[];
  readonly excluded: readonly { readonly module: ModuleInput; readonly reason: string }[];
}

/** Why the finder would not load this module's file under this entry, or undefined. */
function mismatch(module: ModuleInput, entry: IndexedEntry | undefined): string | undefined {
  if (entry === undefined) return "its folder's listing does not have it";
  switch (entry.kind) {
    case "source":
    case "sourceless":
    case "extension":
      return entry.kind === module.kind ? undefined : `the finder takes the ${entry.kind} file of that name`;
    case "package":
      return "a package of that name comes first";
    case "namespace":
      return "its folder's listing has only a folder of that name";
    case "ask":
      return "a listing cannot decide what the finder takes";
  }
}

/** The stamp with its .pyc named below the folder, as entries record it; undefined: it lies elsewhere. */
function belowFolder(folder: string, stamp: ModuleStamp): ModuleStamp | undefined {
  if (stamp.kind === "source" || stamp.file?.startsWith("/") !== true) return stamp;
  const prefix = joinPath(folder, "");
  return stamp.file.startsWith(prefix) ? { ...stamp, file: stamp.file.slice(prefix.length) } : undefined;
}

export function placeModules(modules: readonly ModuleInput[], traced: number, index: readonly IndexedFolder[]): Placement {
  const byFolder = new Map(index.map((folder) => [folder.path, new Map(folder.entries.map((entry) => [entry.name, entry]))]));
  const placed = new Map<IndexedEntry, { module: ModuleInput; traced: boolean; aliases: string[] }>();
  const excluded: { module: ModuleInput; reason: string }[] = [];
  modules.forEach((module, position) => {
    const folder = byFolder.get(module.folder);
    const entry = folder?.get(module.tail);
    const stamp = belowFolder(module.folder, module.stamp);
    const reason = folder === undefined ? "its folder is not in the index" : stamp === undefined ? "its .pyc is not below its folder" : mismatch(module, entry);
    if (reason !== undefined || entry === undefined || stamp === undefined) {
      excluded.push({ module, reason: reason ?? "" });
      return;
    }
    const known = placed.get(entry);
    if (known === undefined) placed.set(entry, { module: { ...module, stamp }, traced: position < traced, aliases: [] });
    else if (known.module.name !== module.name && !known.aliases.includes(module.name)) known.aliases.push(module.name);
  });
  return { placed: [...placed].map(([entry, rest]) => ({ entry, ...rest })), excluded };
}
