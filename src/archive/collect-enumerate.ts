/** Every module below a folder, for `--all`. */
import type { NameFacts, TreeView } from "./collect-view.ts";
import { compareText, joinPath } from "./path-index.ts";
import type { TargetInfo } from "./types.ts";

export interface FoundFile {
  readonly name: string;
  readonly kind: "source" | "sourceless";
  readonly file: string;
}

export interface Found {
  readonly files: readonly FoundFile[];
  /** Folders with something importable in or below them, the start itself too. */
  readonly folders: readonly string[];
}

/**
 * Walks a folder of sys.path. A folder without `__init__` is walked too: it can
 * be part of a namespace package. Folders in `skip` (other folders of sys.path)
 * are their own; names with a dot can't be imported by name.
 */
export function enumerateModules(view: TreeView, start: string, suffixes: TargetInfo["suffixes"], skip: ReadonlySet<string>): Found {
  const files: FoundFile[] = [];
  const folders: string[] = [];
  const ofKind = (loader: "source" | "sourceless"): string[] => suffixes.filter((row) => row.loader === loader).map((row) => row.suffix);
  const sources = ofKind("source");
  const sourceless = ofKind("sourceless");
  const extensions = suffixes.filter((row) => row.loader === "extension").map((row) => row.suffix);

  const walk = (folder: string, prefix: string, ancestors: readonly string[]): boolean => {
    const listed = view.listed?.(folder);
    const facts = listed?.facts ?? view.stat(folder);
    // a link back to a folder above would go on for ever
    if (facts?.kind !== "directory" || ancestors.includes(facts.id)) return false;
    const names = (listed?.names ?? view.list(folder))?.toSorted((a, b) => compareText(a.name, b.name));
    if (names === undefined) return false;
    const at = folders.push(folder);
    const before = files.length;
    const fileNames = new Set(names.filter((entry) => !entry.directory).map((entry) => entry.name));
    let useful = names.some((entry) => !entry.directory && stemOf(entry, extensions) !== undefined);
    for (const entry of names) {
      const { name } = entry;
      if (entry.directory) {
        const path = joinPath(folder, name);
        if (name === "__pycache__" || name.includes(".") || skip.has(path)) continue;
        if (walk(path, `${prefix}${name}.`, [...ancestors, facts.id])) useful = true;
        continue;
      }
      const source = stemOf(entry, sources);
      // a .pyc beside its source is not what FileFinder takes
      const stem = source ?? stemOf(entry, sourceless);
      if (stem === undefined || (source === undefined && sources.some((suffix) => fileNames.has(stem + suffix)))) continue;
      const module = stem === "__init__" && prefix !== "" ? prefix.slice(0, -1) : prefix + stem;
      files.push({ name: module, kind: source === undefined ? "sourceless" : "source", file: joinPath(folder, name) });
    }
    if (!useful && files.length === before && prefix !== "") {
      folders.length = at - 1;
      return false;
    }
    return true;
  };
  walk(start, "", []);
  return { files, folders };
}

function stemOf({ name, directory }: NameFacts, suffixes: readonly string[]): string | undefined {
  if (directory) return undefined;
  for (const suffix of suffixes) {
    const stem = name.slice(0, -suffix.length);
    if (name.endsWith(suffix) && stem !== "" && !stem.includes(".")) return stem;
  }
  return undefined;
}
