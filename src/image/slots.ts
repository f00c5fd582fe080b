/**
 * Slot streams and the relocation stream of a unit (schema.ts, Relocations).
 *
 * A slot is the offset in its unit of something that changes at load. Streams
 * store the distance to the previous slot in 4-byte words as u16; 0xffff says
 * that the distance follows as two u16, low half first.
 */
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { PycdsError } from "../base/errors.ts";
import { codecs, viewOf } from "./codec.ts";
import type { Codec, RecordOf } from "./codec.ts";
import { rebuiltKind } from "./schema.ts";
import type { StructName } from "./schema.ts";

/** What a unit needs at load; the layout room's UnitRelocations has this shape. */
export interface Relocations {
  readonly internal: readonly number[];
  readonly external: ReadonlyMap<number, readonly number[]>;
  readonly names: readonly { readonly slot: number; readonly name: number }[];
  readonly filename: readonly number[];
  readonly codeVersion: readonly number[];
  readonly rebuilt: readonly {
    readonly kind: keyof typeof rebuiltKind;
    readonly items: number;
    readonly count: number;
    readonly slots: readonly number[];
  }[];
}

const escape = 0xffff;

export function encodeSlots(writer: ByteWriter, slots: readonly number[]): void {
  let previous = 0;
  for (const slot of slots) {
    const delta = slot - previous;
    if (delta < 0 || delta % 4 !== 0 || delta / 4 > 0xffffffff) throw new RangeError(`slot ${slot} cannot follow ${previous}`);
    const words = delta / 4;
    if (words < escape) {
      writer.u16(words);
    } else {
      writer.u16(escape);
      writer.u16(words & 0xffff);
      writer.u16(Math.floor(words / 0x10000));
    }
    previous = slot;
  }
}

/** `count` slots; throws TRUNCATED when the stream ends before. */
export function decodeSlots(reader: ByteReader, count: number): number[] {
  expect(reader, count, 2);
  const slots: number[] = [];
  let previous = 0;
  for (let index = 0; index < count; index++) {
    let words = reader.u16();
    if (words === escape) words = reader.u16() + reader.u16() * 0x10000;
    previous += words * 4;
    slots.push(previous);
  }
  return slots;
}

/** A count that the rest of the stream cannot hold is refused before anything is allocated for it. */
function expect(reader: ByteReader, count: number, size: number): void {
  if (count * size <= reader.remaining) return;
  throw new PycdsError("IMAGE_RELOCATIONS", "relocation stream is damaged", `${count} items of ${size} bytes announced, ${reader.remaining} bytes left`, {
    ...(reader.file === undefined ? {} : { file: reader.file }),
    offset: reader.offset,
  });
}

function put<N extends StructName>(writer: ByteWriter, name: N, record: RecordOf<N>): void {
  const codec: Codec<N> = codecs[name];
  const bytes = new Uint8Array(codec.size);
  codec.write(viewOf(bytes), 0, record);
  writer.bytes(bytes);
}

function get<N extends StructName>(reader: ByteReader, name: N): RecordOf<N> {
  const codec: Codec<N> = codecs[name];
  return codec.read(viewOf(reader.take(codec.size)), 0);
}

export function encodeRelocations(relocations: Relocations): Uint8Array {
  const writer = new ByteWriter(256);
  // Ascending numbers and no empty groups: one set of relocations has one encoding.
  const groups = [...relocations.external].filter(([, slots]) => slots.length > 0).toSorted(([a], [b]) => a - b);
  put(writer, "Relocations", {
    internal_count: relocations.internal.length,
    group_count: groups.length,
    name_count: relocations.names.length,
    filename_count: relocations.filename.length,
    version_count: relocations.codeVersion.length,
    rebuilt_count: relocations.rebuilt.length,
  });
  for (const [external, slots] of groups) put(writer, "RelocationGroup", { external, count: slots.length });
  for (const { name } of relocations.names) writer.u32(name);
  for (const { kind, items, count, slots } of relocations.rebuilt) {
    put(writer, "Rebuilt", { kind: rebuiltKind[kind], items, item_count: count, slot_count: slots.length });
  }
  encodeSlots(writer, relocations.internal);
  for (const [, slots] of groups) encodeSlots(writer, slots);
  encodeSlots(writer, relocations.names.map(({ slot }) => slot));
  encodeSlots(writer, relocations.filename);
  encodeSlots(writer, relocations.codeVersion);
  for (const { slots } of relocations.rebuilt) encodeSlots(writer, slots);
  return writer.done().slice();
}

/**
 * Reads a stream back. Throws a PycdsError when it is cut, has bytes left over,
 * names a kind that does not exist or a group twice; whether the slots lie in
 * the unit is for the caller, who knows the unit.
 */
export function decodeRelocations(bytes: Uint8Array, file?: string): Relocations {
  const reader = new ByteReader(bytes, file);
  const head = get(reader, "Relocations");
  const fail = (why: string): never => {
    throw new PycdsError("IMAGE_RELOCATIONS", "relocation stream is damaged", why, { ...(file === undefined ? {} : { file }), offset: reader.offset });
  };
  expect(reader, head.group_count, codecs.RelocationGroup.size);
  const groups = Array.from({ length: head.group_count }, () => get(reader, "RelocationGroup"));
  expect(reader, head.name_count, 4);
  const names = Array.from({ length: head.name_count }, () => reader.u32());
  expect(reader, head.rebuilt_count, codecs.Rebuilt.size);
  const records = Array.from({ length: head.rebuilt_count }, () => get(reader, "Rebuilt"));

  const internal = decodeSlots(reader, head.internal_count);
  const external = new Map<number, readonly number[]>();
  for (const group of groups) {
    if (external.has(group.external)) fail(`external ${group.external} has two groups`);
    external.set(group.external, decodeSlots(reader, group.count));
  }
  const nameSlots = decodeSlots(reader, head.name_count);
  const filename = decodeSlots(reader, head.filename_count);
  const codeVersion = decodeSlots(reader, head.version_count);
  const rebuilt = records.map((record) => {
    if (record.kind !== rebuiltKind.frozenset) fail(`rebuilt kind ${record.kind} does not exist`);
    return { kind: "frozenset" as const, items: record.items, count: record.item_count, slots: decodeSlots(reader, record.slot_count) };
  });
  if (reader.remaining !== 0) fail(`${reader.remaining} bytes left over`);
  return {
    internal,
    external,
    names: nameSlots.map((slot, index) => ({ slot, name: names[index] ?? 0 })),
    filename,
    codeVersion,
    rebuilt,
  };
}
