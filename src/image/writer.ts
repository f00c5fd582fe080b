/** Puts the parts of an archive into one file: sections, their digests, the header. */
import { alignUp } from "../base/bytes.ts";
import { sha256, xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { codecs, encodeHalves, encodeTable, encodeWords, padText, viewOf } from "./codec.ts";
import { byteOrderMark, dataAlignment, formatVersion, magic, sectionKind } from "./schema.ts";
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
  readonly names: Uint16Array;
  readonly pureData: Uint8Array;
  readonly relocations: Uint8Array;
  /** UTF-8 JSON. */
  readonly meta: Uint8Array;
  readonly data: Uint8Array;
}

/** All sections but those that the units lie in. */
export type WholeSections = Readonly<Record<Exclude<SectionName, "relocations" | "data">, Uint8Array>>;

export function encodeSections(parts: Omit<ImageParts, "identity" | "relocations" | "data">): WholeSections {
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
    names: encodeHalves(parts.names),
    nameBlocks: encodeTable("NameBlock", parts.nameBlocks),
    pures: encodeTable("Pure", parts.pures),
    pureHash: encodeWords(parts.pureHash),
    pureData: parts.pureData,
    meta: parts.meta,
  };
}

/** The digest of the header and section table, in which the digest itself counts as 0. */
export function headerDigest(bytes: Uint8Array, size: number): bigint {
  const copy = new Uint8Array(bytes.subarray(0, size)); // slice() of a Buffer is no copy
  viewOf(copy).setBigUint64(codecs.FileHeader.offsetOf("header_digest"), 0n, true);
  return xxh3(copy);
}

/** Where the bytes of an archive go, in any order; what is not written is 0. */
export interface ImageOutput {
  write(at: number, bytes: Uint8Array): void;
}

/** Likewise, while we go on: the bytes must stay as they are until their promise is settled. */
export interface ImageSink {
  write(at: number, bytes: Uint8Array): Promise<void>;
}

export interface ImageLayout {
  readonly places: Readonly<Record<SectionName, { readonly offset: number; readonly size: number }>>;
  /** Of the file. */
  readonly size: number;
}

const tableEnd = codecs.FileHeader.size + sectionOrder.length * codecs.Section.size;

export function layOutImage(sizes: Readonly<Record<SectionName, number>>, platform: string): ImageLayout {
  let end = tableEnd;
  const places = sectionOrder.map((name) => {
    const offset = alignUp(end, name === "data" ? dataAlignment(platform) : 16);
    end = offset + sizes[name];
    return [name, { offset, size: sizes[name] }] as const;
  });
  // Node cannot hold more than 2^32 bytes in one array on every supported version.
  if (end > 0xffffffff) {
    throw new PycdsError("IMAGE_TOO_LARGE", "cannot write the archive", `it would have ${end} bytes, the limit is 4 GiB`, { next: "archive fewer modules" });
  }
  return { places: Object.fromEntries(places) as ImageLayout["places"], size: end };
}

/** SHA-256 of all other sections; units and name blocks are in it by the digests in their tables. */
export function archiveDigest(section: (name: SectionName) => Uint8Array): Uint8Array {
  return sha256(...sectionOrder.filter((name) => name !== "relocations" && name !== "data").map(section));
}

/** Writes all but relocations and DATA, the header last; returns the archive's digest. */
export function finishImage(output: ImageOutput, layout: ImageLayout, identity: ImageIdentity, sections: WholeSections): Uint8Array {
  const whole = new Map<SectionName, Uint8Array>(Object.entries(sections) as [SectionName, Uint8Array][]);
  const head = new Uint8Array(tableEnd);
  const view = viewOf(head);
  sectionOrder.forEach((name, index) => {
    const { offset, size } = layout.places[name];
    const bytes = whole.get(name);
    if (bytes !== undefined && bytes.byteLength !== size) throw new Error(`section ${name} has ${bytes.byteLength} bytes, ${size} were planned`);
    const digest = bytes === undefined || undigested.has(name) ? 0n : xxh3(bytes);
    codecs.Section.write(view, codecs.FileHeader.size + index * codecs.Section.size, { kind: sectionKind[name], reserved: 0, offset: BigInt(offset), size: BigInt(size), digest });
    if (bytes !== undefined) output.write(offset, bytes);
  });
  const digest = archiveDigest((name) => whole.get(name) ?? new Uint8Array(0));
  codecs.FileHeader.write(view, 0, {
    magic,
    byte_order: byteOrderMark,
    format_version: formatVersion,
    header_digest: 0n,
    file_size: BigInt(layout.size),
    required_features: identity.requiredFeatures,
    archive_digest: digest,
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
  view.setBigUint64(codecs.FileHeader.offsetOf("header_digest"), headerDigest(head, tableEnd), true);
  output.write(0, head);
  return digest;
}

/** A whole archive in memory. */
export function writeImage(parts: ImageParts): Uint8Array {
  const sections = encodeSections(parts);
  const all = { ...sections, relocations: parts.relocations, data: parts.data };
  const sizes = Object.fromEntries(sectionOrder.map((name) => [name, all[name].byteLength])) as Record<SectionName, number>;
  const layout = layOutImage(sizes, parts.identity.platform);
  const file = new Uint8Array(layout.size);
  file.set(parts.relocations, layout.places.relocations.offset);
  file.set(parts.data, layout.places.data.offset);
  finishImage({ write: (at, bytes) => file.set(bytes, at) }, layout, parts.identity, sections);
  return file;
}
