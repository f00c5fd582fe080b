/** Reads a warm image: for inspect, verify and the tests. */
import { PycdsError } from "../base/errors.ts";
import { utf8, viewOf } from "../image/codec.ts";
import type { RecordOfStruct, StructCodec } from "../image/codec.ts";
import { byteOrderMark, none } from "../image/schema.ts";
import type { Struct } from "../image/schema.ts";
import { warmCodecs } from "./codec.ts";
import type { WarmHeader, WarmSegment, WarmState } from "./codec.ts";
import { pageSize, slotMark, warmFormatVersion, warmMagic } from "./schema.ts";
import type { FolderStamps, Identity, Variable } from "./stamps.ts";
import { tablesDigest } from "./write.ts";

/** Pages from an address on. */
export interface HotRange {
  readonly address: number;
  readonly pages: number;
}

export interface WarmImage {
  readonly header: WarmHeader;
  readonly state: WarmState;
  readonly segments: readonly WarmSegment[];
  readonly originals: readonly (Identity & { readonly path: string })[];
  readonly folders: readonly FolderStamps[];
  readonly variables: readonly Variable[];
  readonly command: readonly string[];
  readonly hot: readonly HotRange[];
  /** Bytes of Python objects by module. */
  readonly sizes: unknown;
  readonly meta: unknown;
  /** Where the tables begin in the file. */
  readonly base: number;
}

/** Whether a file is an image, of any format version, damaged or not: it has the restorer and an image's place. */
export function isWarmImage(bytes: Uint8Array): boolean {
  const mark = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(slotMark);
  return mark >= 0 && mark + warmCodecs.slot.size <= bytes.byteLength && viewOf(bytes).getBigUint64(mark + warmCodecs.slot.offsetOf("image_offset"), true) !== 0n;
}

/** @param file named in errors. @throws PycdsError WARM_DAMAGED, WARM_NO_IMAGE */
export function readWarm(bytes: Uint8Array, file: string): WarmImage {
  const noImage = (why: string): PycdsError => new PycdsError("WARM_NO_IMAGE", "cannot read the warm image", why, { file, next: "give a file that pycds warm create wrote" });
  const damaged = (why: string, offset: number): PycdsError => new PycdsError("WARM_DAMAGED", "cannot read the warm image", why, { file, offset, next: "build it again with pycds warm create" });
  const mark = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(slotMark);
  if (mark < 0 || mark + warmCodecs.slot.size > bytes.byteLength) throw noImage("it has no restorer");
  const base = Number(viewOf(bytes).getBigUint64(mark + warmCodecs.slot.offsetOf("image_offset"), true));
  if (base === 0) throw noImage("it is the restorer alone");
  if (base + warmCodecs.header.size > bytes.byteLength) throw damaged("it is cut off", bytes.byteLength);
  const header = warmCodecs.header.read(viewOf(bytes), base);
  if (Buffer.compare(header.magic, warmMagic) !== 0 || header.byte_order !== byteOrderMark || header.header_size !== warmCodecs.header.size) throw noImage("its header is no warm image's");
  if (header.format_version !== warmFormatVersion) throw noImage(`its format version is ${header.format_version}, ${warmFormatVersion} is known`);
  if (Number(header.file_size) !== bytes.byteLength || base + Number(header.tables_size) > bytes.byteLength) throw damaged("it is cut off", bytes.byteLength);
  const tables = bytes.subarray(base, base + Number(header.tables_size));
  if (tablesDigest(tables) !== header.tables_digest) throw damaged("its tables do not have their digest", base);

  const view = viewOf(tables);
  const table = <const S extends Struct>(codec: StructCodec<S>, at: number, count: number): RecordOfStruct<S>[] => {
    if (at + count * codec.size > tables.byteLength) throw damaged("a table lies outside the tables", base + at);
    return Array.from({ length: count }, (_, index) => codec.read(view, at + index * codec.size));
  };
  const string = (reference: number): string => {
    const from = header.strings_offset + reference;
    const end = tables.indexOf(0, from);
    const text = reference >= header.strings_size || end < 0 ? undefined : utf8(tables.subarray(from, end));
    if (text === undefined) throw damaged("a string cannot be read", base + from);
    return text;
  };
  const [state] = table(warmCodecs.state, header.state_offset, 1);
  if (state === undefined) throw damaged("it has no state", base);
  const stamps = table(warmCodecs.stamp, header.stamps_offset, header.stamp_count);
  return {
    header, state, base,
    sizes: JSON.parse(utf8(bytes.subarray(Number(header.sizes_offset), Number(header.sizes_offset + header.sizes_size))) ?? "null") as unknown,
    hot: table(warmCodecs.hot, header.hot_offset, header.hot_count).map(({ address, size }) => ({ address: Number(address), pages: Number(size) / pageSize })),
    segments: table(warmCodecs.segment, header.segments_offset, header.segment_count),
    originals: table(warmCodecs.file, header.files_offset, header.file_count).map(({ path, mtime_ns, ctime_ns, size, inode, digest }) => ({ path: string(path), mtimeNs: mtime_ns, ctimeNs: ctime_ns, size, inode, digest })),
    folders: table(warmCodecs.folder, header.folders_offset, header.folder_count).map(({ path, first_stamp, stamp_count }) => ({
      path: string(path),
      stamps: stamps.slice(first_stamp, first_stamp + stamp_count).map(({ name, mode, mtime_ns, size }) => ({ name: string(name), mode, mtimeNs: mtime_ns, size, ctimeNs: 0n })),
    })),
    variables: table(warmCodecs.variable, header.variables_offset, header.variable_count).map(({ name, value }) => ({ name: string(name), value: value === none ? undefined : string(value) })),
    command: Array.from({ length: header.command_count }, (_, index) => string(view.getUint32(header.command_offset + 4 * index, true))),
    meta: JSON.parse(utf8(tables.subarray(header.meta_offset, header.meta_offset + header.meta_size)) ?? "null") as unknown,
  };
}
