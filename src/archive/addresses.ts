/**
 * From buffered to requested addresses (words: layout/types.ts): where units and
 * name blocks lie in DATA, and the base they are written for.
 */
import { alignUp } from "../base/bytes.ts";
import { PycdsError } from "../base/errors.ts";
import { segmentAlignment, unitAlignment } from "../image/schema.ts";

export interface DataPlan {
  /** Bytes of DATA. */
  readonly size: number;
  /** Offset in DATA of each unit. */
  readonly units: readonly number[];
  /** Offset in DATA of each name block. */
  readonly blocks: readonly number[];
  /** End of the last traced unit. */
  readonly hotEnd: number;
}

/** Units in order, then name blocks, by their sizes. */
export function planData(units: readonly number[], traced: number, blocks: readonly number[]): DataPlan {
  let end = 0;
  let hotEnd = 0;
  const place = (size: number): number => {
    const offset = alignUp(end, unitAlignment);
    end = offset + size;
    return offset;
  };
  const unitOffsets = units.map((size, index) => {
    const offset = place(size);
    if (index < traced) hotEnd = end;
    return offset;
  });
  const blockOffsets = blocks.map(place);
  // One Uint8Array, and the file around it, must hold all of it where an archive is read whole.
  if (end >= 0xffff0000) {
    throw new PycdsError("ARCHIVE_TOO_LARGE", "cannot build the archive", `its objects would take ${end} bytes, the limit is 4 GiB`, { next: "archive fewer modules" });
  }
  return { size: end, units: unitOffsets, blocks: blockOffsets, hotEnd };
}

/** Addresses that 39- and 48-bit address spaces leave free (facts/cpython.md §9). */
const firstBase = 0x10_0000_0000n;
const endOfBases = 0x40_0000_0000n;

/** The requested address of DATA: spread by a digest of what goes in, so that two archives seldom ask for one place. */
export function chooseBase(digest: Uint8Array, size: number): bigint {
  const step = BigInt(segmentAlignment);
  const room = endOfBases - firstBase - BigInt(alignUp(size, segmentAlignment));
  const seed = new DataView(digest.buffer, digest.byteOffset, digest.byteLength).getBigUint64(0, true);
  return firstBase + (seed % (room / step + 1n)) * step;
}
