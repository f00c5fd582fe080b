/** Records of the schema's structs: their types, and reading and writing them. No offset is written by hand. */
import { fieldSize, layoutOf, structs } from "./schema.ts";
import type { FieldType, Struct, StructName } from "./schema.ts";

type ValueOf<T extends FieldType> = T extends "u64" | "i64" ? bigint : T extends string ? number : Uint8Array;

/** A struct as plain data: 64-bit fields are bigint, byte arrays are Uint8Array, all else is number. */
export type RecordOf<N extends StructName> = {
  readonly [F in (typeof structs)[N]["fields"][number] as F["name"]]: ValueOf<F["type"]>;
};

export interface Codec<N extends StructName> {
  readonly size: number;
  offsetOf(field: keyof RecordOf<N> & string): number;
  /** The caller has checked that `size` bytes are there. Byte arrays are views. */
  read(view: DataView, at: number): RecordOf<N>;
  write(view: DataView, at: number, record: RecordOf<N>): void;
}

type Value = number | bigint | Uint8Array;

function readField(view: DataView, at: number, type: FieldType): Value {
  switch (type) {
    case "u8":
      return view.getUint8(at);
    case "u16":
      return view.getUint16(at, true);
    case "u32":
      return view.getUint32(at, true);
    case "i32":
      return view.getInt32(at, true);
    case "u64":
      return view.getBigUint64(at, true);
    case "i64":
      return view.getBigInt64(at, true);
    default:
      return new Uint8Array(view.buffer, view.byteOffset + at, type.bytes);
  }
}

/** Numbers that do not fit are our bug: silently wrapped bits would be a wrong archive. */
function writeField(view: DataView, at: number, type: FieldType, value: Value): boolean {
  if (typeof type !== "string") {
    if (!(value instanceof Uint8Array) || value.byteLength !== type.bytes) return false;
    new Uint8Array(view.buffer, view.byteOffset + at, type.bytes).set(value);
    return true;
  }
  if (type === "u64" || type === "i64") {
    if (typeof value !== "bigint") return false;
    if (type === "u64") view.setBigUint64(at, value, true);
    else view.setBigInt64(at, value, true);
    return readField(view, at, type) === value;
  }
  if (typeof value !== "number") return false;
  if (type === "u8") view.setUint8(at, value);
  else if (type === "u16") view.setUint16(at, value, true);
  else if (type === "u32") view.setUint32(at, value, true);
  else view.setInt32(at, value, true);
  return readField(view, at, type) === value;
}

/** A record of any struct description, such as those of src/warm/schema.ts. */
export type RecordOfStruct<S extends Struct> = {
  readonly [F in S["fields"][number] as F["name"]]: ValueOf<F["type"]>;
};

export interface StructCodec<S extends Struct> {
  readonly size: number;
  offsetOf(field: keyof RecordOfStruct<S> & string): number;
  read(view: DataView, at: number): RecordOfStruct<S>;
  write(view: DataView, at: number, record: RecordOfStruct<S>): void;
}

function makeCodec<N extends StructName>(name: N): Codec<N> {
  return codecOf(structs[name]) as unknown as Codec<N>;
}

/** The codec of a struct that is described as the schema describes its own. */
export function codecOf<const S extends Struct>(struct: S): StructCodec<S> {
  const { name } = struct;
  const { offsets, size } = layoutOf(struct);
  const offsetOf = (field: string): number => {
    const offset = offsets.get(field);
    if (offset === undefined) throw new Error(`${name} has no field ${field}`);
    return offset;
  };
  const plan = struct.fields.map((field) => ({ name: field.name, type: field.type, offset: offsetOf(field.name) }));
  return {
    size,
    offsetOf,
    read(view, at) {
      const record: Record<string, Value> = {};
      for (const { name: field, type, offset } of plan) record[field] = readField(view, at + offset, type);
      // The plan and RecordOf come from one schema entry, so every field is there with its type.
      return record as RecordOfStruct<S>;
    },
    write(view, at, record) {
      const values: Readonly<Record<string, Value>> = record;
      for (const { name: field, type, offset } of plan) {
        const value = values[field];
        if (value === undefined || !writeField(view, at + offset, type, value)) {
          throw new RangeError(`${name}.${field} cannot hold ${String(value)} (${typeof type === "string" ? type : `${fieldSize(type)} bytes`})`);
        }
      }
    },
  };
}

export const codecs: { readonly [N in StructName]: Codec<N> } = {
  FileHeader: makeCodec("FileHeader"),
  Section: makeCodec("Section"),
  Abi: makeCodec("Abi"),
  SelfCheck: makeCodec("SelfCheck"),
  Root: makeCodec("Root"),
  Suffix: makeCodec("Suffix"),
  Folder: makeCodec("Folder"),
  Entry: makeCodec("Entry"),
  Unit: makeCodec("Unit"),
  NameBlock: makeCodec("NameBlock"),
  Pure: makeCodec("Pure"),
  PurePattern: makeCodec("PurePattern"),
  PureGroup: makeCodec("PureGroup"),
  Relocations: makeCodec("Relocations"),
  RelocationGroup: makeCodec("RelocationGroup"),
  Rebuilt: makeCodec("Rebuilt"),
};

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A whole table: `records.length` structs, one after the other. */
export function encodeTable<N extends StructName>(name: N, records: readonly RecordOf<N>[]): Uint8Array {
  const codec: Codec<N> = codecs[name];
  const bytes = new Uint8Array(records.length * codec.size);
  const view = viewOf(bytes);
  records.forEach((record, index) => codec.write(view, index * codec.size, record));
  return bytes;
}

/** The whole structs in `bytes`; a remainder at the end is left to the caller's size check. */
export function decodeTable<N extends StructName>(name: N, bytes: Uint8Array): RecordOf<N>[] {
  const codec: Codec<N> = codecs[name];
  const view = viewOf(bytes);
  const records: RecordOf<N>[] = [];
  for (let at = 0; at + codec.size <= bytes.byteLength; at += codec.size) records.push(codec.read(view, at));
  return records;
}

export function encodeWords(words: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(words.length * 4);
  const view = viewOf(bytes);
  words.forEach((word, index) => view.setUint32(index * 4, word, true));
  return bytes;
}

export function decodeWords(bytes: Uint8Array): Uint32Array {
  const view = viewOf(bytes);
  const words = new Uint32Array(Math.floor(bytes.byteLength / 4));
  for (let index = 0; index < words.length; index++) words[index] = view.getUint32(index * 4, true);
  return words;
}

export function encodeHalves(halves: Uint16Array): Uint8Array {
  const bytes = new Uint8Array(halves.length * 2);
  const view = viewOf(bytes);
  halves.forEach((half, index) => view.setUint16(index * 2, half, true));
  return bytes;
}

export function decodeHalves(bytes: Uint8Array): Uint16Array {
  const view = viewOf(bytes);
  const halves = new Uint16Array(Math.floor(bytes.byteLength / 2));
  for (let index = 0; index < halves.length; index++) halves[index] = view.getUint16(index * 2, true);
  return halves;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** NUL-padded text of a fixed-size field; undefined when it is not valid UTF-8 or not padded with NULs alone. */
export function paddedText(bytes: Uint8Array): string | undefined {
  const end = bytes.indexOf(0);
  const text = end < 0 ? bytes : bytes.subarray(0, end);
  if (end >= 0 && bytes.subarray(end).some((byte) => byte !== 0)) return undefined;
  return utf8(text);
}

/** Text, or undefined when the bytes are not UTF-8. */
export function utf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Text into a fixed-size field. */
export function padText(text: string, size: number): Uint8Array {
  const encoded = new TextEncoder().encode(text);
  // The last byte stays NUL, so that C may read the field as a string.
  if (encoded.byteLength >= size) throw new RangeError(`"${text}" does not fit into ${size} bytes`);
  const bytes = new Uint8Array(size);
  bytes.set(encoded);
  return bytes;
}
