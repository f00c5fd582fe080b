/** The archive's description for people and tools (image/meta.ts): what its tables do not have. */
import type { StoredMeta } from "../image/meta.ts";
import type { CompiledModule } from "./build.ts";
import { compareText } from "./path-index.ts";
import type { IndexedEntry } from "./path-index.ts";
import type { BuildInput, ExcludedModule } from "./types.ts";
import { pycdsVersion } from "./version.ts";

/** An excluded module as the report names it. */
export interface ExcludedInput extends ExcludedModule {
  /** The .pyc that was refused; a path of the build machine, so it stays out of the archive. */
  readonly file?: string;
}

/** Sorted by name; of one name, each reason once. */
function describeExcluded(excluded: readonly ExcludedInput[]): StoredMeta["excluded"] {
  const rows = new Map(excluded.map(({ name, reason }) => [`${name}\0${reason}`, { name, reason }]));
  return [...rows].toSorted(([a], [b]) => compareText(a, b)).map(([, row]) => row);
}

export function describeArchive(
  input: BuildInput,
  modules: readonly CompiledModule[],
  excluded: readonly ExcludedInput[],
  entryIndex: ReadonlyMap<IndexedEntry, number>,
): StoredMeta {
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
    modules: modules.flatMap(({ module, entry, aliases, traced }) =>
      [module.name, ...aliases].map((name): StoredMeta["modules"][number] => [name, entryIndex.get(entry) ?? 0, traced ? 1 : 0])),
    excluded: describeExcluded(excluded),
  };
}
