/** Puts the parts of an archive into one file: sections, their digests, the header. */
import { alignUp } from "../base/bytes.ts";
import { sha256, xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { codecs, encodeTable, encodeWords, padText, viewOf } from "./codec.ts";
import type { RecordOf } from "./codec.ts";
import { byteOrderMark, formatVersion, magic, sectionKind, segmentAlignment } from "./schema.ts";
import type { SectionName } from "./schema.ts";
import { sectionOrder, undigested } from "./sections.ts";
import type { TableName, TableRecord, WordSectionName } from "./sections.ts";

/** What the builder decides of the header; the rest follows from the sections. */
export interface ImageIdentity {
  readonly requiredFeatures: bigint;
  readonly preferredBase: bigint;
  readonly hexversion: number;
  readonly pycMagic: number;
  readonly abiFlags: number;
  readonly optimize: number;
  readonly platform: string;
  readonly cacheTag: string;
  readonly layoutDigest: Uint8Array;
  /** In units of 4 KiB. */
  readonly dataHotSize: number;
}

export type ImageTables = { readonly [T in TableName]: readonly TableRecord<T>[] };
export type ImageWords = { readonly [W in WordSectionName]: Uint32Array };

export interface ImageParts extends ImageTables, ImageWords {
  readonly identity: ImageIdentity;
  readonly strings: Uint8Array;
  readonly pureData: Uint8Array;
  readonly relocations: Uint8Array;
  /** UTF-8 JSON. */
  readonly meta: Uint8Array;
  readonly data: Uint8Array;
}

function sectionBytes(parts: ImageParts): Readonly<Record<SectionName, Uint8Array>> {
  return {
    abi: encodeTable("Abi", parts.abi),
    selfChecks: encodeTable("SelfCheck", parts.selfChecks),
    strings: parts.strings,
    roots: encodeTable("Root", parts.roots),
    suffixes: encodeTable("Suffix", parts.suffixes),
    folders: encodeTable("Folder", parts.folders),
    folderHash: encodeWords(parts.folderHash),
    entries: encodeTable("Entry", parts.entries),
    entryHash: encodeWords(parts.entryHash),
    units: encodeTable("Unit", parts.units),
    names: encodeWords(parts.names),
    nameBlocks: encodeTable("NameBlock", parts.nameBlocks),
    pures: encodeTable("Pure", parts.pures),
    pureHash: encodeWords(parts.pureHash),
    pureData: parts.pureData,
    relocations: parts.relocations,
    meta: parts.meta,
    data: parts.data,
  };
}

/** The digest of the header and section table, in which the digest itself counts as 0. */
export function headerDigest(bytes: Uint8Array, size: number): bigint {
  const copy = bytes.slice(0, size);
  viewOf(copy).setBigUint64(codecs.FileHeader.offsetOf("header_digest"), 0n, true);
  return xxh3(copy);
}

export function writeImage(parts: ImageParts): Uint8Array {
  const sections = sectionBytes(parts);
  const tableEnd = codecs.FileHeader.size + sectionOrder.length * codecs.Section.size;
  const rows: RecordOf<"Section">[] = [];
  let end = tableEnd;
  for (const name of sectionOrder) {
    const bytes = sections[name];
    const offset = alignUp(end, name === "data" ? segmentAlignment : 16);
    rows.push({
      kind: sectionKind[name],
      reserved: 0,
      offset: BigInt(offset),
      size: BigInt(bytes.byteLength),
      digest: undigested.has(name) ? 0n : xxh3(bytes),
    });
    end = offset + bytes.byteLength;
  }

  // Node cannot hold more than 2^32 bytes in one array on every supported version.
  if (end > 0xffffffff) {
    throw new PycdsError("IMAGE_TOO_LARGE", "cannot write the archive", `it would have ${end} bytes, the limit is 4 GiB`, { next: "archive fewer modules" });
  }
  const file = new Uint8Array(end);
  const view = viewOf(file);
  rows.forEach((row, index) => {
    codecs.Section.write(view, codecs.FileHeader.size + index * codecs.Section.size, row);
    const name = sectionOrder[index];
    if (name !== undefined) file.set(sections[name], Number(row.offset));
  });

  const { identity } = parts;
  codecs.FileHeader.write(view, 0, {
    magic,
    byte_order: byteOrderMark,
    format_version: formatVersion,
    header_digest: 0n,
    file_size: BigInt(end),
    required_features: identity.requiredFeatures,
    archive_digest: sha256(...sectionOrder.map((name) => sections[name])),
    preferred_base: identity.preferredBase,
    hexversion: identity.hexversion,
    pyc_magic: identity.pycMagic,
    abi_flags: identity.abiFlags,
    optimize: identity.optimize,
    platform: padText(identity.platform, 32),
    cache_tag: padText(identity.cacheTag, 32),
    layout_digest: identity.layoutDigest,
    section_count: sectionOrder.length,
    data_hot_size: identity.dataHotSize,
  });
  view.setBigUint64(codecs.FileHeader.offsetOf("header_digest"), headerDigest(file, tableEnd), true);
  return file;
}
