/** What the layout of one module hands to the image: bytes, and where they must change at load. */

/**
 * Address words, used everywhere in this room:
 * - *source*: an object of the graph, no address yet;
 * - *buffered*: byte offset in {@link LaidOutUnit.bytes};
 * - *requested*: preferred base + unit's offset in DATA + buffered offset, written by the image;
 * - *mapped*: where the runtime really finds it (requested + delta).
 */
export interface LaidOutUnit {
  /** Pointer-closed over itself: internal slots hold the buffered offset of their target. */
  readonly bytes: Uint8Array;
  /** Buffered offset of the module's code object. */
  readonly root: number;
  readonly relocations: UnitRelocations;
  /** For the map file: every object, by buffered offset, in ascending order. */
  readonly objects: readonly LaidOutObject[];
}

export interface LaidOutObject {
  /** Of the object proper (after its GC header). */
  readonly offset: number;
  /** With what only it points at: a code object of 3.9 or 3.10 ends in its co_cell2arg. */
  readonly size: number;
  readonly type: "code" | "str" | "bytes" | "tuple" | "int" | "float" | "complex" | "slice";
}

/** All offsets are buffered offsets of 8-byte slots (co_version: 4-byte), ascending within each list. */
export interface UnitRelocations {
  /** Slots holding a buffered offset: mapped address = unit's mapped start + that offset. */
  readonly internal: readonly number[];
  /** External reference number (abi/externals.ts) → slots. */
  readonly external: ReadonlyMap<number, readonly number[]>;
  /** Slots that receive the canonical interned string of a name. */
  readonly names: readonly { readonly slot: number; readonly name: number }[];
  /** Slots (co_filename) that receive the str of the module's path. */
  readonly filename: readonly number[];
  /** u32 slots that receive a process-wide unique number. */
  readonly codeVersion: readonly number[];
  /** Objects that are made anew at load (frozensets), children before parents. */
  readonly rebuilt: readonly RebuiltObject[];
}

export interface RebuiltObject {
  readonly kind: "frozenset";
  /** `count` consecutive 8-byte slots at `items`, relocated like all others before the object is made. */
  readonly items: number;
  readonly count: number;
  /** Slots that receive the new object. */
  readonly slots: readonly number[];
}
