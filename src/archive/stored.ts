/** Where compiled modules wait for the linker: in memory, or in the unit cache's files. */
import { PycdsError } from "../base/errors.ts";
import { RecordHead } from "./record.ts";
import type { UnitRecord } from "./record.ts";

/** A unit's bytes in a file that others may have damaged. */
export interface KeptData {
  readonly fd: number;
  readonly offset: number;
  /** XXH3. */
  readonly digest: bigint;
}

export interface StoredUnit {
  readonly head: RecordHead;
  /** head.dataSize bytes. */
  readonly data: Uint8Array | KeptData;
}

/** Keeps results by what they were made from; `undefined`: not here. */
export interface UnitStore {
  get(key: string): StoredUnit | undefined;
  put(key: string, record: UnitRecord): StoredUnit;
}

export function heldUnit({ head, data }: UnitRecord): StoredUnit {
  return { head: new RecordHead(head), data };
}

export const memoryStore: UnitStore = { get: () => undefined, put: (_, record) => heldUnit(record) };

/** What a cache keeps changed after it was written: build again without it. */
export class DamagedCache extends PycdsError {
  constructor() {
    super("UNIT_CACHE", "cannot use the cache of compiled modules", "it is damaged", { next: "delete the folder pycds/units below XDG_CACHE_HOME" });
  }
}
