/**
 * Slot streams and the relocation stream of a unit (schema.ts, Relocations).
 *
 * A slot is the offset in its unit of something that changes at load. Streams
 * store the distance to the previous slot in words of 8 bytes (co_version: 4) as
 * one byte; 0xfe and 0xff say that it follows as u16 or u32.
 */
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { PycdsError } from "../base/errors.ts";
import { codecs, viewOf } from "./codec.ts";
import type { Codec, RecordOf } from "./codec.ts";
import { codeMask, rebuiltKind, wideIndex } from "./schema.ts";
import type { StructName } from "./schema.ts";
import { putShapes, shapedNameSlots, takeShapes } from "./shapes.ts";
import type { ObjectShape } from "./shapes.ts";

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

/** A byte of a slot stream: the distance itself below these; behind them it follows as u16 or u32. */
const follows16 = 0xfe;
const follows32 = 0xff;

/** Words that a slot is a multiple of: pointers, and u32 co_version. */
type SlotWidth = 4 | 8;

export function encodeSlots(writer: ByteWriter, slots: readonly number[], width: SlotWidth): void {
  let previous = 0;
  const bytes = new Uint8Array(slots.length * 5);
  let end = 0;
  for (const slot of slots) {
    const words = (slot - previous) / width;
    if (words >= 0 && words < follows16 && words === (words | 0)) {
      bytes[end++] = words;
      previous = slot;
      continue;
    }
    if (!Number.isInteger(words) || words < 0 || words > 0xffffffff) throw new RangeError(`slot ${slot} cannot follow ${previous}`);
    const size = words <= 0xffff ? 2 : 4;
    bytes[end++] = size === 2 ? follows16 : follows32;
    for (let shift = 0; shift < size * 8; shift += 8) bytes[end++] = words >>> shift;
    previous = slot;
  }
  writer.bytes(bytes.subarray(0, end));
}

/** `count` slots; throws TRUNCATED when the stream ends before. */
export function decodeSlots(reader: ByteReader, count: number, width: SlotWidth): number[] {
  expect(reader, count, 1);
  const slots: number[] = [];
  let previous = 0;
  for (let index = 0; index < count; index++) {
    let words = reader.u8();
    if (words === follows16) words = reader.u16();
    else if (words === follows32) words = reader.u32();
    previous += words * width;
    slots.push(previous);
  }
  return slots;
}

/** Indexes into the unit's own list of names: schema.ts, wideIndex. */
function encodeIndexes(writer: ByteWriter, indexes: readonly number[]): void {
  for (const index of indexes) {
    const above = index - wideIndex;
    if (above < 0) {
      writer.u8(index);
    } else if (above < (0xff - wideIndex) * 0x100) {
      writer.u8(wideIndex + (above >>> 8));
      writer.u8(above & 0xff);
    } else {
      writer.u8(0xff);
      writer.u32(index);
    }
  }
}

function decodeIndexes(reader: ByteReader, count: number): number[] {
  expect(reader, count, 1);
  return Array.from({ length: count }, () => {
    const byte = reader.u8();
    if (byte < wideIndex) return byte;
    return byte === 0xff ? reader.u32() : (byte - wideIndex) * 0x100 + wideIndex + reader.u8();
  });
}

/** Most slots of one group. */
const fullGroup = 0xffff;

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

/** A stream before the unit's names have their numbers in an archive. */
export interface NamelessStream {
  /** Like a stream, but with neither known numbers nor bits, and their fields in its head 0. */
  readonly stream: Uint8Array;
  /** The unit's list of names, by the numbers they came with. */
  readonly names: readonly number[];
}

/** @param shape with the unit's bytes: code objects and tuples are told by their shape */
export function encodeNameless(relocations: Relocations, shape?: ObjectShape, data?: Uint8Array): NamelessStream {
  const writer = new ByteWriter(256);
  const { codes, tuples, names: shapedNames, rest } = takeShapes(relocations, shape, data);
  // Ascending numbers and no empty groups: one set of relocations has one encoding.
  const groups = [...rest.external].toSorted(([a], [b]) => a - b).flatMap(([external, slots]) => inGroups(external, slots));
  const used = [...shapedNames, ...rest.names.map(({ name }) => name)];
  const own = byUse(used);
  const place = new Map(own.map((name, index) => [name, index]));
  put(writer, "Relocations", {
    internal_count: rest.internal.length,
    group_count: groups.length,
    name_count: own.length,
    name_slot_count: rest.names.length,
    filename_count: rest.filename.length,
    version_count: rest.codeVersion.length,
    rebuilt_count: rest.rebuilt.length,
    known_count: 0,
    first_new: 0,
    code_count: codes.length,
    tuple_count: tuples.length,
  });
  for (const { external, slots } of groups) put(writer, "RelocationGroup", { external, count: slots.length, hint: 0 });
  for (const { kind, items, count, slots } of rest.rebuilt) {
    put(writer, "Rebuilt", { kind: rebuiltKind[kind], items, item_count: count, slot_count: slots.length });
  }
  for (const { mask } of codes) writer.u8(mask);
  encodeSlots(writer, codes.map(({ start }) => start), 8);
  encodeSlots(writer, rest.internal, 8);
  for (const { slots } of groups) encodeSlots(writer, slots, 8);
  encodeSlots(writer, tuples, 8);
  encodeSlots(writer, rest.names.map(({ slot }) => slot), 8);
  encodeSlots(writer, rest.filename, 8);
  encodeSlots(writer, rest.codeVersion, 4);
  for (const { slots } of rest.rebuilt) encodeSlots(writer, slots, 8);
  encodeIndexes(writer, used.map((name) => place.get(name) ?? 0));
  return { stream: writer.done().slice(), names: own };
}

function inGroups(external: number, slots: readonly number[]): { readonly external: number; readonly slots: readonly number[] }[] {
  const groups = [];
  for (let at = 0; at < slots.length; at += fullGroup) groups.push({ external, slots: slots.slice(at, at + fullGroup) });
  return groups;
}

/** Most used first, then as they are met: their indexes are the shortest. */
function byUse(names: readonly number[]): number[] {
  const uses = new Map<number, number>();
  for (const name of names) uses.set(name, (uses.get(name) ?? 0) + 1);
  // a unit whose indexes have one byte each keeps the order of first use, in which its names lie close together
  return uses.size <= wideIndex ? [...uses.keys()] : [...uses].toSorted(([, a], [, b]) => b - a).map(([name]) => name);
}

/** @param numbers of the unit's names, in its order; those from `firstNew` on ascend by 1: nothing before this unit has them */
export function withNames(nameless: Uint8Array, numbers: ArrayLike<number>, firstNew: number): Uint8Array {
  const head = codecs.Relocations.read(viewOf(nameless), 0);
  let known = 0;
  let highest = -1;
  for (let index = 0; index < numbers.length; index++) {
    const number = numbers[index] ?? 0;
    if (number < firstNew) known++;
    if (number > highest) highest = number;
  }
  const first = known === numbers.length ? highest + 1 : firstNew;
  const parts = partsOf({ ...head, known_count: known, first_new: first });
  const stream = new Uint8Array(nameless.byteLength + parts.masks - parts.known);
  stream.set(nameless.subarray(0, parts.known));
  stream.set(nameless.subarray(parts.known), parts.masks);
  const view = viewOf(stream);
  view.setUint32(codecs.Relocations.offsetOf("known_count"), known, true);
  view.setUint32(codecs.Relocations.offsetOf("first_new"), first, true);
  let at = parts.known;
  for (let index = 0; index < numbers.length; index++) {
    const number = numbers[index] ?? 0;
    if (number >= firstNew) continue;
    stream[parts.bits + (index >> 3)] = (stream[parts.bits + (index >> 3)] ?? 0) | (1 << (index & 7));
    if (parts.knownWidth === 2) view.setUint16(at, number, true);
    else view.setUint32(at, number, true);
    at += parts.knownWidth;
  }
  return stream;
}

/** A stream whose names all count as known. */
export function encodeRelocations(relocations: Relocations, shape?: ObjectShape, data?: Uint8Array): Uint8Array {
  const { stream, names } = encodeNameless(relocations, shape, data);
  return withNames(stream, names, Infinity);
}

interface Parts {
  /** Offsets in the stream. */
  readonly groups: number;
  readonly rebuilt: number;
  readonly known: number;
  readonly bits: number;
  readonly masks: number;
  readonly slots: number;
  /** Bytes of a known number. */
  readonly knownWidth: 2 | 4;
}

/** Where the parts of a stream with this head lie, as if it held them all. */
export function partsOf(head: RecordOf<"Relocations">): Parts {
  const knownWidth = head.name_count <= 0x10000 && head.first_new <= 0x10000 ? 2 : 4;
  const groups = codecs.Relocations.size;
  const rebuilt = groups + head.group_count * codecs.RelocationGroup.size;
  const known = rebuilt + head.rebuilt_count * codecs.Rebuilt.size;
  const bits = known + head.known_count * knownWidth;
  const masks = bits + Math.ceil(head.name_count / 8);
  return { groups, rebuilt, known, bits, masks, slots: masks + head.code_count, knownWidth };
}

/**
 * Adds `start`, the unit's requested address (below 2^38), to its internal slots, which hold buffered
 * offsets; those of code objects too. Of an encoded stream that this toolchain made: millions of slots, so nothing is decoded into lists.
 */
export function requestAddresses(stream: Uint8Array, data: Uint8Array, start: number, shape: ObjectShape): void {
  const head = codecs.Relocations.read(viewOf(stream), 0);
  const { masks, slots } = partsOf(head);
  const view = viewOf(data);
  const request = (slot: number): void => {
    const target = view.getUint32(slot, true);
    if (view.getUint32(slot + 4, true) !== 0 || target >= data.byteLength) throw new Error(`slot ${slot} does not lead into its unit`);
    const address = start + target;
    view.setUint32(slot, address % 0x1_0000_0000, true);
    view.setUint32(slot + 4, Math.floor(address / 0x1_0000_0000), true);
  };
  const { code_consts: consts, code_names: names, code_localsplusnames: variables, code_exceptiontable: exceptions, code_localspluskinds: kinds, code_linetable: lines } = shape;
  let at = slots;
  const total = head.code_count + head.internal_count;
  for (let index = 0, slot = 0; index < total; index++) {
    let words = stream[at++] ?? 0;
    if (words === follows16) {
      words = (stream[at] ?? 0) + (stream[at + 1] ?? 0) * 0x100;
      at += 2;
    } else if (words === follows32) {
      words = (stream[at] ?? 0) + (stream[at + 1] ?? 0) * 0x100 + (stream[at + 2] ?? 0) * 0x1_0000 + (stream[at + 3] ?? 0) * 0x100_0000;
      at += 4;
    }
    if (index === head.code_count) slot = 0;
    slot += words * 8;
    if (index >= head.code_count) {
      // as request(), which costs a call for each of millions
      const target = view.getUint32(slot, true);
      if (view.getUint32(slot + 4, true) !== 0 || target >= data.byteLength) throw new Error(`slot ${slot} does not lead into its unit`);
      const address = start + target;
      view.setUint32(slot, address % 0x1_0000_0000, true);
      view.setUint32(slot + 4, Math.floor(address / 0x1_0000_0000), true);
      continue;
    }
    const mask = stream[masks + index] ?? 0;
    if ((mask & codeMask.consts) !== 0) request(slot + consts);
    if ((mask & codeMask.names) !== 0) request(slot + names);
    if ((mask & codeMask.localsplusnames) !== 0) request(slot + variables);
    if ((mask & codeMask.exceptiontable) !== 0) request(slot + exceptions);
    if ((mask & codeMask.localspluskinds) !== 0) request(slot + kinds);
    request(slot + lines);
  }
}

/** The unit's list of names: known numbers and new ones, as the bits say. */
function ownNumbers({ name_count: count, first_new: first }: RecordOf<"Relocations">, known: readonly number[], bits: Uint8Array, fail: (why: string) => never): number[] {
  let taken = 0;
  let next = first;
  const own: number[] = [];
  for (let index = 0; index < bits.byteLength * 8; index++) {
    const isKnown = ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
    if (index >= count) {
      if (isKnown) fail("bits behind its list of names are not 0");
    } else if (!isKnown) {
      own.push(next++);
    } else {
      own.push(known[taken++] ?? fail(`its list takes more than ${known.length} known names`));
    }
  }
  if (taken !== known.length) fail(`its list takes ${taken} of ${known.length} known names`);
  if (next > 0x1_0000_0000) fail("numbers of names beyond 2^32");
  const highest = known.reduce((most, number) => Math.max(most, number), -1);
  if (taken === count ? first !== highest + 1 : highest >= first) fail(`its new names cannot begin at ${first}`);
  return own;
}

/** What the streams of code objects and tuples need to be read: the unit that they are of. */
export interface ShapedUnit {
  readonly shape: ObjectShape;
  readonly data: Uint8Array;
}

/**
 * Reads a stream back. Throws a PycdsError when it is cut, has bytes left over,
 * names a kind that does not exist or a group twice; whether the slots lie in
 * the unit is for the caller, who knows the unit.
 */
export function decodeRelocations(bytes: Uint8Array, file?: string, unit?: ShapedUnit): Relocations {
  const reader = new ByteReader(bytes, file);
  const head = get(reader, "Relocations");
  const fail = (why: string): never => {
    throw new PycdsError("IMAGE_RELOCATIONS", "relocation stream is damaged", why, { ...(file === undefined ? {} : { file }), offset: reader.offset });
  };
  expect(reader, head.group_count, codecs.RelocationGroup.size);
  const groups = Array.from({ length: head.group_count }, () => get(reader, "RelocationGroup"));
  expect(reader, head.rebuilt_count, codecs.Rebuilt.size);
  const records = Array.from({ length: head.rebuilt_count }, () => get(reader, "Rebuilt"));
  const { knownWidth } = partsOf(head);
  expect(reader, head.known_count, knownWidth);
  const known = Array.from({ length: head.known_count }, () => (knownWidth === 2 ? reader.u16() : reader.u32()));
  const bits = Math.ceil(head.name_count / 8);
  expect(reader, bits, 1);
  const own = ownNumbers(head, known, reader.take(bits), fail);
  expect(reader, head.code_count, 1);
  const masks = reader.take(head.code_count);

  const codes = decodeSlots(reader, head.code_count, 8).map((start, index) => ({ start, mask: masks[index] ?? 0 }));
  const internal = decodeSlots(reader, head.internal_count, 8);
  const external = new Map<number, number[]>();
  for (const [index, group] of groups.entries()) {
    const slots = decodeSlots(reader, group.count, 8);
    const before = groups[index - 1];
    if (before !== undefined && before.external === group.external && before.count === fullGroup && group.count > 0) external.get(group.external)?.push(...slots);
    else if (external.has(group.external)) fail(`external ${group.external} has two groups`);
    else external.set(group.external, slots);
  }
  const tuples = decodeSlots(reader, head.tuple_count, 8);
  const nameSlots = decodeSlots(reader, head.name_slot_count, 8);
  const filename = decodeSlots(reader, head.filename_count, 8);
  const codeVersion = decodeSlots(reader, head.version_count, 4);
  const rebuilt = records.map((record) => {
    if (record.kind !== rebuiltKind.frozenset) fail(`rebuilt kind ${record.kind} does not exist`);
    return { kind: "frozenset" as const, items: record.items, count: record.item_count, slots: decodeSlots(reader, record.slot_count, 8) };
  });
  const places = shapedNameSlots({ codes, tuples }, unit, reader.remaining, fail);
  const indexes = decodeIndexes(reader, places.length + nameSlots.length);
  const names = indexes.map((index) => own[index] ?? fail(`name ${index} of its ${own.length} does not exist`));
  if (reader.remaining !== 0) fail(`${reader.remaining} bytes left over`);
  if (new Set(indexes).size !== own.length) fail("its list has names that it does not use");
  const rest: Relocations = {
    internal, external, filename, codeVersion, rebuilt,
    names: nameSlots.map((slot, index) => ({ slot, name: names[places.length + index] ?? 0 })),
  };
  return putShapes({ codes, tuples, names: names.slice(0, places.length), rest }, places, unit?.shape);
}
