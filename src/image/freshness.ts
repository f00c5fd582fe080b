/** By what an archive tells that a file or a folder changed. Archives of one process must agree on it (docs/layers.md). */
import { features } from "./schema.ts";

export interface FreshnessOptions {
  readonly sealed: boolean;
  readonly digest: boolean;
}

export function freshnessOptions(requiredFeatures: bigint): FreshnessOptions {
  return { sealed: (requiredFeatures & features.sealed) !== 0n, digest: (requiredFeatures & features.contents) !== 0n };
}

export function sameFreshness(a: FreshnessOptions, b: FreshnessOptions): boolean {
  return a.sealed === b.sealed && a.digest === b.digest;
}

/** As the runtime says it (native/runtime/layers.c). */
export function freshnessText({ sealed, digest }: FreshnessOptions): string {
  return sealed ? "does not look for changes (--sealed)" : digest ? "goes by contents (--digest)" : "goes by mtimes";
}
