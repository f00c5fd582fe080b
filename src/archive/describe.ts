/** The archive's description for people and tools (image/meta.ts). Names no path and no time that the archive does not record anyway. */
import type { ImageMeta, ImageStamp } from "../image/meta.ts";
import type { CompiledModule } from "./build.ts";
import { compareText, joinPath } from "./path-index.ts";
import type { IndexedEntry } from "./path-index.ts";
import type { BuildInput, ExcludedModule, ModuleStamp } from "./types.ts";
import { pycdsVersion } from "./version.ts";

/** An excluded module as the report names it. */
export interface ExcludedInput extends ExcludedModule {
  /** The .pyc that was refused; a path of the build machine, so it stays out of the archive. */
  readonly file?: string;
}

function describeStamp(stamp: ModuleStamp): ImageStamp {
  switch (stamp.kind) {
    case "source":
      return { kind: "source", mtime: stamp.mtime, size: stamp.size };
    case "pyc":
      return { kind: "pyc", file: stamp.file, mtime_ns: String(stamp.mtimeNs), size: stamp.size };
    case "digest":
      return { kind: "digest", digest: stamp.digest.toString(16).padStart(16, "0"), size: stamp.size, ...(stamp.file === undefined ? {} : { file: stamp.file }) };
  }
}

/** Sorted by name; of one name, each reason once. */
function describeExcluded(excluded: readonly ExcludedInput[]): ImageMeta["excluded"] {
  const rows = new Map(excluded.map(({ name, reason }) => [`${name}\0${reason}`, { name, reason }]));
  return [...rows].toSorted(([a], [b]) => compareText(a, b)).map(([, row]) => row);
}

export function describeArchive(
  input: BuildInput,
  modules: readonly CompiledModule[],
  excluded: readonly ExcludedInput[],
  entryIndex: ReadonlyMap<IndexedEntry, number>,
): ImageMeta {
  const { target, abi } = input;
  return {
    pycds: pycdsVersion,
    target: {
      abi: abi.id,
      hexversion: target.hexversion,
      pyc_magic: target.pycMagic,
      flavour: target.flavour,
      platform: target.platform,
      cache_tag: target.cacheTag,
      optimize: target.optimize,
    },
    options: { sealed: input.sealed, digest: input.digest, relocatable: input.relocatable === true },
    modules: modules.flatMap(({ module, entry, aliases, unit: { head: unit }, traced }, number) => {
      const suffix = target.suffixes[entry.suffix ?? -1]?.suffix ?? "";
      return [module.name, ...aliases].map((name) => ({
        name,
        entry: entryIndex.get(entry) ?? 0,
        unit: number,
        size: unit.dataSize,
        relocations: unit.relocationSize,
        file: joinPath(module.folder, `${module.tail}${suffix}`),
        traced,
        stamp: describeStamp(module.stamp),
      }));
    }),
    excluded: describeExcluded(excluded),
  };
}
