/** What an archive is, in numbers, and what is in it. All results are JSON-able. */
import { abiFlag, features, none, pureKind } from "../image/schema.ts";
import { hex } from "../base/digest.ts";
import { paddedText } from "../image/codec.ts";
import type { ImageModule } from "../image/meta.ts";
import { prelinkedUnits } from "../image/prelink.ts";
import type { ImageReader } from "../image/reader.ts";
import { sectionOrder } from "../image/sections.ts";

export interface Summary {
  readonly file: string;
  readonly size: number;
  readonly format: number;
  /** Identity: SHA-256 of the sections. */
  readonly digest: string;
  readonly built_with: string;
  readonly target: {
    readonly version: string;
    readonly pyc_magic: number;
    readonly flavour: "release" | "debug" | "freethreaded";
    readonly platform: string;
    readonly cache_tag: string;
    readonly optimize: number;
    readonly layout_digest: string;
  };
  readonly features: readonly string[];
  readonly preferred_base: string;
  readonly modules: number;
  readonly traced: number;
  readonly excluded: number;
  readonly units: number;
  /** Units with the addresses of one machine's interpreter. */
  readonly prelinked: number;
  readonly folders: number;
  readonly entries: number;
  /** Entries that serve code. */
  readonly served: number;
  /** Archived results of pure functions: patterns, and code of source strings. */
  readonly patterns: number;
  readonly sources: number;
  readonly names: number;
  readonly name_blocks: number;
  readonly roots: readonly { readonly name: string; readonly path: string }[];
  readonly sections: readonly { readonly name: string; readonly offset: number; readonly size: number }[];
}

/** `3.11.7`, `3.13.0rc1`: PY_VERSION_HEX as people write it (Include/patchlevel.h). */
export function versionText(hexversion: number): string {
  const level = { 0xa: "a", 0xb: "b", 0xc: "rc" }[(hexversion >>> 4) & 0xf];
  const release = `${hexversion >>> 24}.${(hexversion >>> 16) & 0xff}.${(hexversion >>> 8) & 0xff}`;
  return level === undefined ? release : `${release}${level}${hexversion & 0xf}`;
}

export function flavourOf(flags: number): Summary["target"]["flavour"] {
  if ((flags & abiFlag.freeThreaded) !== 0) return "freethreaded";
  return (flags & abiFlag.debug) !== 0 ? "debug" : "release";
}

export function featureNames(bits: bigint): string[] {
  return Object.entries(features).filter(([, bit]) => (bits & bit) !== 0n).map(([name]) => name);
}

export const addressText = (address: number | bigint): string => `0x${address.toString(16)}`;

export function summary(image: ImageReader): Summary {
  const { header } = image;
  const meta = image.meta();
  return {
    file: image.file,
    size: image.bytes.byteLength,
    format: header.format_version,
    digest: hex(header.archive_digest),
    built_with: meta.pycds,
    target: {
      version: versionText(header.hexversion),
      pyc_magic: header.pyc_magic & 0xffff,
      flavour: flavourOf(header.abi_flags),
      platform: paddedText(header.platform) ?? "",
      cache_tag: paddedText(header.cache_tag) ?? "",
      optimize: header.optimize,
      layout_digest: hex(header.layout_digest),
    },
    features: featureNames(header.required_features),
    preferred_base: addressText(header.preferred_base),
    modules: meta.modules.length,
    traced: meta.modules.filter(({ traced }) => traced).length,
    excluded: meta.excluded.length,
    units: image.units.length,
    prelinked: prelinkedUnits(image),
    folders: image.folders.length,
    entries: image.entries.length,
    served: image.entries.filter(({ unit }) => unit !== none).length,
    patterns: image.pures.filter(({ kind }) => kind <= pureKind.bytesPattern).length,
    sources: image.pures.filter(({ kind }) => kind > pureKind.bytesPattern).length,
    names: image.names.length,
    name_blocks: image.nameBlocks.length,
    roots: image.roots.map(({ name, path }) => ({ name: image.string(name), path: image.string(path) })),
    sections: sectionOrder.map((name) => ({ name, offset: image.sections[name].offset, size: image.sections[name].size })),
  };
}

export function listModules(image: ImageReader): readonly ImageModule[] {
  return image.meta().modules;
}
