/**
 * Leaves out of a build what the archives below it hold, so that a layer for one
 * application is small. What a base holds counts only while it is valid on the
 * machine that the archive is built for; a base is never pointed into, so the
 * layer works without it too (stock then imports what it leaves out).
 */
import type { ImageReader } from "../image/reader.ts";
import type { TreeView } from "./collect-view.ts";
import { isStale } from "./fresh.ts";
import { folderOf, joinPath } from "./path-index.ts";
import type { BuildInput, ModuleInput } from "./types.ts";

/** The reason that entries have whose code is in a base. */
export const heldReason = "an archive below this one has it";

/** The input without what the bases hold; `held` names what that is. */
export function withoutBases(input: BuildInput, bases: readonly ImageReader[], view: TreeView): BuildInput {
  if (bases.length === 0) return input;
  const files = new Set<string>();
  for (const { file, stamp } of bases.flatMap((base) => base.meta().modules)) if (!files.has(file) && !isStale({ file, stamp }, view)) files.add(file);
  const isHeld = (module: ModuleInput): boolean => files.has(fileOf(module, input.target.suffixes));

  const modules = input.modules.filter((module) => !isHeld(module));
  const traced = input.modules.slice(0, input.traced).filter((module) => !isHeld(module)).length;
  const held = input.modules.filter(isHeld).map(({ name, folder, tail }) => ({ name, folder, tail }));
  return { ...input, modules, traced, held, folders: input.folders.filter(keptFolders(input, modules, bases)) };
}

function fileOf({ kind, folder, tail }: ModuleInput, suffixes: BuildInput["target"]["suffixes"]): string {
  return joinPath(folder, `${tail}${suffixes.find(({ loader }) => loader === kind)?.suffix ?? ""}`);
}

/**
 * A folder goes when it has no code of ours left and a base knows it as it is
 * now, together with its parent and all folders in it that are ours: an index can
 * tell that a name is a package only when it has that package's folder too.
 */
function keptFolders(input: BuildInput, modules: readonly ModuleInput[], bases: readonly ImageReader[]): (folder: BuildInput["folders"][number]) => boolean {
  const withCode = new Set(modules.map(({ folder }) => folder));
  const known = bases.map((base) => new Map(base.folders.map(({ path, mtime_ns }) => [base.string(path), mtime_ns])));
  const ours = new Set(input.folders.map(({ path }) => path));
  const inside = new Map<string, string[]>();
  for (const path of ours) inside.set(folderOf(path), [...(inside.get(folderOf(path)) ?? []), path]);
  return ({ path, mtimeNs }) => {
    if (withCode.has(path)) return true;
    const around = [...(inside.get(path) ?? []), ...(ours.has(folderOf(path)) ? [folderOf(path)] : [])];
    return !known.some((folders) => folders.get(path) === mtimeNs && around.every((folder) => folders.has(folder)));
  };
}
