/**
 * From buffered to requested addresses (words: layout/types.ts): where units and
 * name blocks lie in DATA, the base they are written for, and the rewriting of
 * internal slots.
 */
import { alignUp } from "../base/bytes.ts";
import { PycdsError } from "../base/errors.ts";
import { segmentAlignment, unitAlignment } from "../image/schema.ts";
import type { LaidOutUnit } from "../layout/types.ts";

export interface DataPlan {
  readonly data: Uint8Array;
  /** Offset in DATA of each unit. */
  readonly units: readonly number[];
  /** Offset in DATA of each name block. */
  readonly blocks: readonly number[];
  /** End of the last traced unit. */
  readonly hotEnd: number;
}

/** Units in order, those of modules before those of source strings, then name blocks; every byte of a unit is its buffered one still. */
export function planData(units: readonly LaidOutUnit[], traced: number, blocks: readonly { readonly bytes: Uint8Array }[]): DataPlan {
  let end = 0;
  let hotEnd = 0;
  const place = ({ bytes }: { readonly bytes: Uint8Array }): number => {
    const offset = alignUp(end, unitAlignment);
    end = offset + bytes.byteLength;
    return offset;
  };
  const unitOffsets = units.map((unit, index) => {
    const offset = place(unit);
    if (index < traced) hotEnd = end;
    return offset;
  });
  const blockOffsets = blocks.map(place);
  // One Uint8Array, and the file around it, must hold all of it.
  if (end >= 0xffff0000) {
    throw new PycdsError("ARCHIVE_TOO_LARGE", "cannot build the archive", `its objects would take ${end} bytes, the limit is 4 GiB`, { next: "archive fewer modules" });
  }
  const data = new Uint8Array(end);
  units.forEach((unit, index) => data.set(unit.bytes, unitOffsets[index]));
  blocks.forEach((block, index) => data.set(block.bytes, blockOffsets[index]));
  return { data, units: unitOffsets, blocks: blockOffsets, hotEnd };
}

/** Addresses that 39- and 48-bit address spaces leave free (facts/cpython.md §9). */
const firstBase = 0x10_0000_0000n;
const endOfBases = 0x40_0000_0000n;

/** The requested address of DATA: spread by the contents' digest, so that two archives seldom ask for one place. */
export function chooseBase(digest: Uint8Array, size: number): bigint {
  const step = BigInt(segmentAlignment);
  const room = endOfBases - firstBase - BigInt(alignUp(size, segmentAlignment));
  const seed = new DataView(digest.buffer, digest.byteOffset, digest.byteLength).getBigUint64(0, true);
  return firstBase + (seed % (room / step + 1n)) * step;
}

/** Adds a unit's requested address to its internal slots, which hold buffered offsets. */
export function requestAddresses(data: Uint8Array, offset: number, unit: LaidOutUnit, base: bigint): void {
  const view = new DataView(data.buffer, data.byteOffset + offset, unit.bytes.byteLength);
  // Below 2^38: exact in a number, and much faster than bigint for millions of slots.
  const start = Number(base) + offset;
  for (const slot of unit.relocations.internal) {
    const target = view.getUint32(slot, true);
    if (view.getUint32(slot + 4, true) !== 0 || target >= unit.bytes.byteLength) throw new Error(`slot ${slot} does not lead into its unit`);
    const address = start + target;
    view.setUint32(slot, address % 0x1_0000_0000, true);
    view.setUint32(slot + 4, Math.floor(address / 0x1_0000_0000), true);
  }
}
