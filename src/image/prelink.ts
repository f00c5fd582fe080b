/**
 * Address hints: an archive made ready for one machine's interpreter.
 *
 * Where every object that a unit points at outside of the archive lies at the
 * same address in each process (Debian's python3 is an executable at a fixed
 * address), its slots can hold those addresses in the file. The runtime then
 * compares a unit's few hints with what it finds, and leaves the slots alone;
 * if one differs, all are written as ever. What makes an archive that archive
 * is unchanged: its digest counts without hints, and taking them out gives the
 * bytes that were built.
 */
import { ByteReader } from "../base/bytes.ts";
import { xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { codecs, viewOf } from "./codec.ts";
import type { RecordOf } from "./codec.ts";
import type { ImageReader } from "./reader.ts";
import { sectionOrder } from "./sections.ts";
import { decodeSlots, partsOf } from "./slots.ts";
import { headerDigest } from "./writer.ts";

/** One unit's slots by the external object that they point at. */
interface Group extends RecordOf<"RelocationGroup"> {
  /** Of its record in the file. */
  readonly offset: number;
  /** In the file. */
  readonly slots: readonly number[];
}

/**
 * Cheaper than decodeRelocations: stops behind the groups.
 * @throws PycdsError when the stream or a slot does not lie where it should
 */
function groupsOf(image: ImageReader, unit: RecordOf<"Unit">): Group[] {
  const reader = new ByteReader(image.unitRelocationBytes(unit), image.file);
  const streamAt = image.sections.relocations.offset + Number(unit.reloc_offset);
  const dataAt = image.sections.data.offset + Number(unit.data_offset);
  const head = codecs.Relocations.read(viewOf(reader.take(codecs.Relocations.size)), 0);
  const records: (RecordOf<"RelocationGroup"> & { readonly offset: number })[] = [];
  while (records.length < head.group_count) {
    const offset = streamAt + reader.offset;
    records.push({ ...codecs.RelocationGroup.read(viewOf(reader.take(codecs.RelocationGroup.size)), 0), offset });
  }
  const parts = partsOf(head);
  reader.take(parts.slots - parts.rebuilt);
  decodeSlots(reader, head.code_count, 8);
  decodeSlots(reader, head.internal_count, 8);
  return records.map((record) => ({
    ...record,
    slots: decodeSlots(reader, record.count, 8).map((slot) => {
      if (slot + 8 > unit.data_size) throw new PycdsError("IMAGE_RELOCATIONS", "relocation stream is damaged", `slot ${slot} lies behind the unit's ${unit.data_size} bytes`, { file: image.file, offset: record.offset });
      return dataAt + slot;
    }),
  }));
}

/** Whether the runtime will look at a unit's hints. */
function isPrelinked(groups: readonly RecordOf<"RelocationGroup">[]): boolean {
  return groups.length > 0 && groups.every(({ hint }) => hint !== 0);
}

/** The first slot (its offset in the file) that does not hold its group's hint. */
export function strayHint(image: ImageReader, unit: RecordOf<"Unit">): number | undefined {
  const view = viewOf(image.bytes);
  for (const { slots, hint } of groupsOf(image, unit)) {
    const stray = slots.find((slot) => view.getBigUint64(slot, true) !== BigInt(hint));
    if (stray !== undefined) return stray;
  }
  return undefined;
}

/** How many units carry hints. */
export function prelinkedUnits(image: ImageReader): number {
  return image.units.filter((unit) => isPrelinked(groupsOf(image, unit))).length;
}

export interface Prelinked {
  readonly bytes: Uint8Array;
  /** Units whose external objects all have a known address. */
  readonly units: number;
}

/**
 * A copy of a sound archive with the hints of an interpreter, or with none.
 * @param addresses by number (abi/externals.ts); what is missing is not at one address
 */
export function prelink(image: ImageReader, addresses: ReadonlyMap<number, bigint>): Prelinked {
  const bytes = new Uint8Array(image.bytes); // slice() of a Buffer is no copy
  const view = viewOf(bytes);
  let units = 0;
  image.units.forEach((unit, number) => {
    const groups = groupsOf(image, unit);
    const known = groups.map(({ external }) => addresses.get(external) ?? 0n);
    // hints have 32 bits: an executable with a fixed address lies below that
    const whole = groups.length > 0 && known.every((address) => address !== 0n && address <= 0xffff_ffffn);
    if (whole) units++;
    if (!whole && groups.every(({ hint }) => hint === 0)) return;
    groups.forEach(({ offset, slots }, index) => {
      const address = whole ? (known[index] ?? 0n) : 0n;
      view.setUint32(offset + codecs.RelocationGroup.offsetOf("hint"), Number(address), true);
      for (const slot of slots) view.setBigUint64(slot, address, true);
    });
    const dataAt = image.sections.data.offset + Number(unit.data_offset);
    const streamAt = image.sections.relocations.offset + Number(unit.reloc_offset);
    const digest = xxh3(bytes.subarray(dataAt, dataAt + unit.data_size), bytes.subarray(streamAt, streamAt + unit.reloc_size));
    view.setBigUint64(image.sections.units.offset + number * codecs.Unit.size + codecs.Unit.offsetOf("digest"), digest, true);
  });
  const { offset, size } = image.sections.units;
  const row = codecs.FileHeader.size + sectionOrder.indexOf("units") * codecs.Section.size;
  view.setBigUint64(row + codecs.Section.offsetOf("digest"), xxh3(bytes.subarray(offset, offset + size)), true);
  const tableEnd = codecs.FileHeader.size + sectionOrder.length * codecs.Section.size;
  view.setBigUint64(codecs.FileHeader.offsetOf("header_digest"), headerDigest(bytes, tableEnd), true);
  return { bytes, units };
}

/**
 * The bytes as they were built.
 * @throws PycdsError when relocations are damaged
 */
export function withoutHints(image: ImageReader): Uint8Array {
  return prelink(image, new Map()).bytes;
}
