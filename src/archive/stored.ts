/** Where compiled modules wait for the linker: in memory, or in the unit cache's files. */
import { RecordHead } from "./record.ts";
import type { UnitRecord } from "./record.ts";

export interface StoredUnit {
  readonly head: RecordHead;
  /** The unit's bytes, once: the linker changes them. Valid until another unit of the same store is asked for its own. */
  data(): Uint8Array;
}

/** Keeps results by what they were made from; `undefined`: not here. */
export interface UnitStore {
  get(key: string): StoredUnit | undefined;
  put(key: string, record: UnitRecord): StoredUnit;
}

export function heldUnit({ head, data }: UnitRecord): StoredUnit {
  return { head: new RecordHead(head), data: () => data };
}

export const memoryStore: UnitStore = { get: () => undefined, put: (_, record) => heldUnit(record) };
