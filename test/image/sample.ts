/** A small sound archive made by hand, one of everything, and a way to sign it again after a change. */
import { sha256, xxh3 } from "../../src/base/digest.ts";
import { codecs, viewOf } from "../../src/image/codec.ts";
import { buildHashTable, entryHash, folderHash } from "../../src/image/hash.ts";
import { encodeMeta } from "../../src/image/meta.ts";
import { pureTables } from "../../src/archive/pures.ts";
import type { PureTables } from "../../src/archive/pures.ts";
import { ImageReader } from "../../src/image/reader.ts";
import { entryKind, features, none, stampKind } from "../../src/image/schema.ts";
import { sectionOrder, undigested } from "../../src/image/sections.ts";
import type { SectionName } from "../../src/image/schema.ts";
import { encodeRelocations } from "../../src/image/slots.ts";
import type { Relocations } from "../../src/image/slots.ts";
import { StringTable } from "../../src/image/strings.ts";
import { archiveDigest, headerDigest, writeImage } from "../../src/image/writer.ts";
import { Faults } from "../../src/image/faults.ts";
import { readFrame } from "../../src/image/frame.ts";

const base = 0x10_0001_0000n;
const unitSize = 320;

/** A code object at 0 and a tuple at 272 (behind its GC header), tied to each other. */
function sampleUnit(offset: number, changes: Partial<Relocations>): { readonly data: Uint8Array; readonly relocations: Uint8Array } {
  const data = new Uint8Array(unitSize);
  const view = viewOf(data);
  view.setUint32(0, 0xffffffff, true);
  view.setUint32(272, 0xffffffff, true);
  view.setBigUint64(24, base + BigInt(offset + 272), true);
  view.setBigUint64(296, base + BigInt(offset), true);
  const relocations = encodeRelocations({
    internal: [24, 296],
    external: new Map([[0, [8]], [3, [280]], [16, [32]]]),
    names: [{ slot: 40, name: 0 }, { slot: 48, name: 1 }],
    filename: [112],
    codeVersion: [92],
    rebuilt: [{ kind: "frozenset", items: 40, count: 1, slots: [56] }],
    ...changes,
  });
  return { data, relocations };
}

/** CPython 3.12's. */
const collector = {
  gc_generations: 24, gc_packed_generations: 20, gc_generation_size: 24, gc_threshold: 16, gc_count: 20, gc_generation0: 96, gc_enabled: 12, gc_debug: 16, gc_collecting: 200,
  gc_callbacks: 216, gc_long_lived_total: 224, gc_long_lived_pending: 232, gc_initial_threshold: 700,
};

/** CPython 3.12's. */
const classes = {
  class_wrapper_base: 40, class_slotdef_size: 56, class_slotdef_offset: 8, class_slotdef_function: 16, class_slotdef_object: 48, class_dealloc: 48, class_flags: 168,
  class_base: 256, class_dict: 264, class_alloc: 304, class_new: 312, class_mro: 344, class_vectorcall: 400, class_slots_end: 832, class_module: 880,
  class_type_name: 888, class_size: 920,
};

/** CPython 3.12's. */
export const shape = {
  type_offset: 8, tuple_size: 16, tuple_items: 24, code_consts: 24, code_names: 32, code_exceptiontable: 40, code_localsplusnames: 96, code_localspluskinds: 104,
  code_filename: 112, code_name: 120, code_qualname: 128, code_linetable: 136, code_version: 92,
};

/** @param changes other relocations for its units, sound or not */
export function sampleImage(changes: Partial<Relocations> = {}): Uint8Array {
  const strings = new StringTable();
  const text = (value: string): { ref: number; length: number } => strings.add(value);
  const offsets = [0, unitSize, unitSize * 2];
  const units = offsets.map((offset) => sampleUnit(offset, changes));
  const relocations = new Uint8Array(3 * 128);
  const block = new Uint8Array(128);
  viewOf(block).setUint32(0, 0xffffffff, true);
  const data = new Uint8Array(unitSize * 3 + block.byteLength);
  units.forEach((unit, index) => {
    data.set(unit.data, offsets[index]);
    relocations.set(unit.relocations, index * 128);
  });
  data.set(block, unitSize * 3);

  const folderPaths = ["/app", "/app/pkg"];
  const entry = { stamp_kind: stampKind.none, suffix: 0, unit: none, child: none, stamp_file: none, reason: none, stamp_mtime: 0n, stamp_size: 0n, stamp_digest: 0n };
  const names: readonly (readonly [number, string, object])[] = [
    [0, "left", { kind: entryKind.source, suffix: 1, reason: text("it has a list constant").ref }],
    [0, "mod", { kind: entryKind.source, suffix: 1, unit: 0, stamp_kind: stampKind.source, stamp_mtime: 7n, stamp_size: 9n }],
    [0, "pkg", { kind: entryKind.package, child: 1 }],
    [1, "__init__", { kind: entryKind.sourceless, suffix: 2, unit: 1, stamp_kind: stampKind.pyc, stamp_file: text("__init__.pyc").ref, stamp_mtime: 5n, stamp_size: 6n }],
    [1, "fast", { kind: entryKind.extension }],
    [1, "hashed", { kind: entryKind.source, suffix: 1, unit: 1, stamp_kind: stampKind.digest, stamp_size: 3n, stamp_digest: 4n }],
  ];
  const entries = names.map(([folder, name, rest]) => ({ folder, name: text(name).ref, name_length: text(name).length, kind: 0, ...entry, ...rest }));

  const parts = {
    identity: {
      requiredFeatures: features.codeVersion, preferredBase: base, hexversion: 0x030c01f0, pycMagic: 0x0a0d0dcb, abiFlags: 0, optimize: 0,
      platform: "linux-x86_64", cacheTag: "cpython-312", layoutDigest: sha256(Uint8Array.of(1)), dataHotSize: 0,
    },
    abi: [{ ...shape, code_basicsize: 200, small_int_min: -5, small_int_max: 256, gc_header_size: 16, cfunction_def: 16, ...collector, ...classes }],
    selfChecks: [
      { subject: 0, what: 0, offset: 52, name: text("co_argcount").ref },
      { subject: 1, what: 2, offset: 200, name: text("PyCode_Type").ref },
    ],
    roots: [{ name: text("app").ref, path: text("/app").ref }],
    suffixes: [".so", ".py", ".pyc"].map((suffix, loader) => ({ suffix: text(suffix).ref, length: text(suffix).length, loader })),
    folders: folderPaths.map((path, index) => ({
      path: text(path).ref, path_length: text(path).length, root: 0, relative: text(path.slice(5)).ref, mtime_ns: 1n, cache_mtime_ns: 0n,
      first_entry: index * 3, entry_count: 3,
    })),
    folderHash: buildHashTable(folderPaths.map(folderHash)),
    entries,
    entryHash: buildHashTable(names.map(([folder, name]) => entryHash(name, folder))),
    units: units.map((unit, index) => ({
      data_offset: BigInt(offsets[index] ?? 0), data_size: unitSize, root: 0, reloc_offset: BigInt(index * 128), reloc_size: unit.relocations.byteLength,
      flags: 0, digest: xxh3(unit.data, unit.relocations),
    })),
    names: Uint16Array.of(0, 0x8041, 4),
    nameBlocks: [{ data_offset: BigInt(unitSize * 3), data_size: block.byteLength, first_name: 0, name_count: 3, reserved: 0, digest: xxh3(block) }],
    ...samplePures(),
    relocations,
    meta: encodeMeta({
      pycds: "0",
      target: { abi: "made-up", hexversion: 0x030c01f0, pyc_magic: 0x0a0d0dcb, flavour: "release", platform: "linux-x86_64", cache_tag: "cpython-312", optimize: 0 },
      options: { sealed: false, digest: false, relocatable: false },
      modules: [["mod", 1, 1], ["pkg", 3, 1]],
      excluded: [{ name: "left", reason: "it has a list constant" }],
    }),
    data,
  };
  return writeImage({ ...parts, strings: strings.done() });
}

/** A pattern, and a source string whose code is the third unit. */
function samplePures(): PureTables {
  const pattern = { kind: "pattern", pattern: "(?P<n>a)", bytes: false, flags: 0, result: { flags: 32, groups: 1, code: [14, 4, 1], names: [{ name: "n", group: 1 }] } } as const;
  const input = { kind: "source", source: "1", mode: "eval", flags: 0, uses: 2, code: new Uint8Array() } as const;
  return pureTables({ patterns: [pattern], sources: [{ input }] }, 2);
}

/** Where a section lies, as the bytes themselves say. */
export function place(bytes: Uint8Array, name: SectionName): { readonly offset: number; readonly size: number } {
  const frame = readFrame(bytes, new Faults("sample"));
  if (frame === undefined) throw new Error("no frame");
  return frame.sections[name];
}

/** The bytes, changed, with every digest made right again: what is found then is found by the checks of values. */
export function resign(bytes: Uint8Array, change: (bytes: Uint8Array, view: DataView) => void): Uint8Array {
  const signed = bytes.slice();
  const frame = readFrame(bytes, new Faults("sample"));
  if (frame === undefined) throw new Error("no frame");
  const view = viewOf(signed);
  change(signed, view);
  const image = new ImageReader("sample", signed, frame);
  image.units.forEach((unit, index) => {
    const at = frame.sections.units.offset + index * codecs.Unit.size + codecs.Unit.offsetOf("digest");
    view.setBigUint64(at, xxh3(image.unitData(unit), image.unitRelocationBytes(unit)), true);
  });
  image.nameBlocks.forEach((block, index) => {
    const at = frame.sections.nameBlocks.offset + index * codecs.NameBlock.size + codecs.NameBlock.offsetOf("digest");
    view.setBigUint64(at, xxh3(image.nameBlockData(block)), true);
  });
  sectionOrder.forEach((name, index) => {
    if (undigested.has(name)) return;
    const at = codecs.FileHeader.size + index * codecs.Section.size + codecs.Section.offsetOf("digest");
    view.setBigUint64(at, xxh3(image.section(name)), true);
  });
  signed.set(archiveDigest((name) => image.section(name)), codecs.FileHeader.offsetOf("archive_digest"));
  const tableEnd = codecs.FileHeader.size + sectionOrder.length * codecs.Section.size;
  view.setBigUint64(codecs.FileHeader.offsetOf("header_digest"), headerDigest(signed, tableEnd), true);
  return signed;
}
