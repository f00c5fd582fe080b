/** The open-addressing tables, as the runtime probes them (schema.ts, sectionDocs). */
import { xxh3 } from "../base/digest.ts";

const encoder = new TextEncoder();
const mask64 = (1n << 64n) - 1n;
const entryFactor = 0x9e3779b97f4a7c15n;

/** The hash of a folder's path before it is cut to the table's size. */
export function folderHash(path: string): bigint {
  return xxh3(encoder.encode(path));
}

/** The hash of a name in a folder before it is cut to the table's size. */
export function entryHash(tail: string, folder: number): bigint {
  return ((xxh3(encoder.encode(tail)) ^ ((BigInt(folder) * entryFactor) & mask64)) & mask64) >> 7n;
}

/** The hash of a pure function's input before it is cut to the table's size; Pure.hash. */
export function pureHash(kind: number, flags: number, text: Uint8Array): bigint {
  const mixed = (((BigInt(kind) << 32n) | BigInt(flags)) * entryFactor) & mask64;
  return (xxh3(text) ^ mixed) >> 7n;
}

/** At most half full, and never without an empty slot: a probe for a missing key must end. */
function tableSize(count: number): number {
  let size = 2;
  while (size < count * 2) size *= 2;
  return size;
}

/** @param hashes of item 0, 1, …; the table holds index + 1, 0 is empty */
export function buildHashTable(hashes: readonly bigint[]): Uint32Array {
  const table = new Uint32Array(tableSize(hashes.length));
  const mask = table.length - 1;
  hashes.forEach((hash, index) => {
    let slot = Number(hash & BigInt(mask));
    while (table[slot] !== 0) slot = (slot + 1) & mask;
    table[slot] = index + 1;
  });
  return table;
}

/** Index of the item for which `matches` holds, or undefined. Ends also in a full (damaged) table. */
export function probe(table: Uint32Array, hash: bigint, matches: (index: number) => boolean): number | undefined {
  if (table.length === 0) return undefined;
  const mask = table.length - 1;
  let slot = Number(hash & BigInt(mask));
  for (let steps = 0; steps < table.length; steps++) {
    const found = table[slot];
    if (found === undefined || found === 0) return undefined;
    if (matches(found - 1)) return found - 1;
    slot = (slot + 1) & mask;
  }
  return undefined;
}
