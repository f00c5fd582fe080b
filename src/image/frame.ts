/** The frame of an archive: header and section table. What it accepts can be sliced without further checks. */
import { xxh3 } from "../base/digest.ts";
import { codecs, paddedText, viewOf } from "./codec.ts";
import type { RecordOf } from "./codec.ts";
import type { Faults } from "./faults.ts";
import { abiFlag, byteOrderMark, dataAlignment, features, formatVersion, magic, segmentAlignment } from "./schema.ts";
import type { SectionName } from "./schema.ts";
import { sectionName, sectionOrder, undigested } from "./sections.ts";
import { headerDigest } from "./writer.ts";

export interface SectionPlace {
  readonly offset: number;
  readonly size: number;
  readonly digest: bigint;
}

export interface Frame {
  readonly header: RecordOf<"FileHeader">;
  readonly sections: Readonly<Record<SectionName, SectionPlace>>;
}

const what = "cannot read the archive";
const headerSize = codecs.FileHeader.size;
const rowSize = codecs.Section.size;
const addressLimit = 1n << 38n;

const at = (field: keyof RecordOf<"FileHeader"> & string): number => codecs.FileHeader.offsetOf(field);

/** Checks that decide whether the rest of the file means anything to us; false: stop here. */
function checkKind(bytes: Uint8Array, view: DataView, faults: Faults): boolean {
  const shared = Math.min(bytes.byteLength, magic.length);
  if (bytes.byteLength === 0) {
    faults.add("IMAGE_TRUNCATED", what, "the file is empty", 0);
    return false;
  }
  if (magic.some((byte, index) => index < shared && byte !== bytes[index])) {
    faults.add("IMAGE_MAGIC", what, "it does not begin as a PyCDS archive does", 0, "name a file that `pycds build` wrote");
    return false;
  }
  if (bytes.byteLength < headerSize) {
    faults.add("IMAGE_TRUNCATED", what, `the header needs ${headerSize} bytes, the file has ${bytes.byteLength}`, bytes.byteLength);
    return false;
  }
  const order = view.getUint32(at("byte_order"), true);
  if (order !== byteOrderMark) {
    const foreign = view.getUint32(at("byte_order"), false) === byteOrderMark;
    faults.add("IMAGE_BYTE_ORDER", what, foreign ? "it is for machines of the other byte order (big-endian)" : `byte order mark 0x${order.toString(16)} does not exist`, at("byte_order"));
    return false;
  }
  const version = view.getUint32(at("format_version"), true);
  if (version !== formatVersion) {
    faults.add("IMAGE_VERSION", what, `it has format version ${version}, this pycds reads ${formatVersion}`, at("format_version"));
    return false;
  }
  return true;
}

function checkHeader(header: RecordOf<"FileHeader">, size: number, faults: Faults): void {
  const bad = (field: keyof RecordOf<"FileHeader"> & string, why: string, code = "IMAGE_HEADER"): void => faults.add(code, "archive header is damaged", why, at(field));
  if (header.file_size !== BigInt(size)) bad("file_size", `the file should have ${header.file_size} bytes, it has ${size}`, BigInt(size) < header.file_size ? "IMAGE_TRUNCATED" : "IMAGE_SIZE");
  const known = Object.values(features).reduce((all, bit) => all | bit, 0n);
  if ((header.required_features & ~known) !== 0n) {
    faults.add("IMAGE_FEATURES", what, `it requires features 0x${(header.required_features & ~known).toString(16)} that this pycds does not know`, at("required_features"), "use the pycds that built it, or build it again");
  }
  if (header.preferred_base % BigInt(segmentAlignment) !== 0n || header.preferred_base >= addressLimit) bad("preferred_base", `address 0x${header.preferred_base.toString(16)} is not a multiple of 64 KiB below 2^38`);
  const knownFlags = Object.values(abiFlag).reduce((all, bit) => all | bit, 0);
  if ((header.abi_flags & ~knownFlags) !== 0) bad("abi_flags", `flags 0x${header.abi_flags.toString(16)} are not known`);
  if (header.optimize > 2) bad("optimize", `optimization level ${header.optimize} does not exist`);
  // The last two bytes of every .pyc magic are \r\n (importlib/_bootstrap_external.py, MAGIC_NUMBER).
  if (header.pyc_magic >>> 16 !== 0x0a0d) bad("pyc_magic", `0x${header.pyc_magic.toString(16)} is not the magic number of a .pyc`);
  for (const field of ["platform", "cache_tag"] as const) {
    const text = paddedText(header[field]);
    if (text === undefined || text === "") bad(field, "it is not NUL-padded text");
  }
}

function checkRow(row: RecordOf<"Section">, name: SectionName, rowAt: number, header: RecordOf<"FileHeader">, size: number, faults: Faults): boolean {
  const bad = (why: string): void => faults.add("IMAGE_SECTION", "section table is damaged", `section ${name}: ${why}`, rowAt);
  const alignment = name === "data" ? BigInt(dataAlignment(paddedText(header.platform) ?? "")) : 16n;
  if (row.reserved !== 0) bad("its reserved field is not 0");
  if (row.offset % alignment !== 0n) bad(`offset ${row.offset} is not a multiple of ${alignment}`);
  if (undigested.has(name) && row.digest !== 0n) bad("it has a digest, but its units carry theirs");
  if (row.offset + row.size > BigInt(size)) {
    bad(`bytes ${row.offset} to ${row.offset + row.size} end behind the file's ${size}`);
    return false;
  }
  return true;
}

function checkOverlap(places: readonly (readonly [string, SectionPlace])[], tableEnd: number, bytes: Uint8Array, faults: Faults): void {
  let end = tableEnd;
  let before = "the section table";
  for (const [name, place] of places.toSorted(([, a], [, b]) => a.offset - b.offset || a.size - b.size)) {
    if (place.offset < end) {
      faults.add("IMAGE_SECTION", "section table is damaged", `section ${name} begins inside ${before}, which ends at ${end}`, place.offset);
    } else {
      const stray = bytes.subarray(end, place.offset).findIndex((byte) => byte !== 0);
      if (stray >= 0) faults.add("IMAGE_PADDING", "archive is damaged", `bytes between ${before} and section ${name} are not 0`, end + stray);
    }
    end = Math.max(end, place.offset + place.size);
    before = `section ${name}`;
  }
  if (end < bytes.byteLength) faults.add("IMAGE_SIZE", "archive is damaged", `${bytes.byteLength - end} bytes follow the last section`, end);
}

/** Reads and checks the frame; undefined when the sections cannot be told. */
export function readFrame(bytes: Uint8Array, faults: Faults): Frame | undefined {
  const view = viewOf(bytes);
  if (!checkKind(bytes, view, faults)) return undefined;
  const header = codecs.FileHeader.read(view, 0);
  checkHeader(header, bytes.byteLength, faults);

  if (header.section_count !== sectionOrder.length) {
    faults.add("IMAGE_SECTION", "section table is damaged", `${header.section_count} sections announced, this format has ${sectionOrder.length}`, at("section_count"));
    return undefined;
  }
  const tableEnd = headerSize + sectionOrder.length * rowSize;
  if (tableEnd > bytes.byteLength) {
    faults.add("IMAGE_TRUNCATED", what, `the section table ends at ${tableEnd}, the file at ${bytes.byteLength}`, bytes.byteLength);
    return undefined;
  }
  const digest = headerDigest(bytes, tableEnd);
  if (digest !== header.header_digest) faults.add("IMAGE_HEADER_DIGEST", "archive header is damaged", "its digest differs", at("header_digest"));

  const places = new Map<SectionName, SectionPlace>();
  let sound = true;
  sectionOrder.forEach((_, index) => {
    const rowAt = headerSize + index * rowSize;
    const row = codecs.Section.read(view, rowAt);
    const name = sectionName(row.kind);
    if (name === undefined || places.has(name)) {
      faults.add("IMAGE_SECTION", "section table is damaged", name === undefined ? `section kind ${row.kind} does not exist` : `section ${name} is there twice`, rowAt);
      sound = false;
      return;
    }
    if (name !== sectionOrder[index]) faults.add("IMAGE_SECTION", "section table is damaged", `section ${name} is not in its place`, rowAt);
    if (!checkRow(row, name, rowAt, header, bytes.byteLength, faults)) {
      sound = false;
      return;
    }
    const place = { offset: Number(row.offset), size: Number(row.size), digest: row.digest };
    places.set(name, place);
    if (!undigested.has(name) && xxh3(bytes.subarray(place.offset, place.offset + place.size)) !== place.digest) {
      faults.add("IMAGE_DIGEST", "archive is damaged", `the digest of section ${name} differs`, place.offset);
    }
  });
  checkOverlap([...places], tableEnd, bytes, faults);

  if (!sound) return undefined;
  const data = places.get("data");
  if (data !== undefined) {
    if (header.preferred_base + BigInt(data.size) > addressLimit) faults.add("IMAGE_HEADER", "archive header is damaged", "its objects would end above 2^38", at("preferred_base"));
    if (header.data_hot_size * 4096 > data.size) faults.add("IMAGE_HEADER", "archive header is damaged", `${header.data_hot_size} pages of traced modules do not fit into ${data.size} bytes`, at("data_hot_size"));
  }
  // As many rows as sections, none twice, none unknown: all are there.
  return { header, sections: Object.fromEntries(places) as Record<SectionName, SectionPlace> };
}
