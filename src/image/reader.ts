/** Opens an archive file: validates it whole, then gives typed access to its tables, strings and units. */
import { PycdsError } from "../base/errors.ts";
import { decodeHalves, decodeTable, decodeWords, utf8 } from "./codec.ts";
import type { RecordOf } from "./codec.ts";
import { Faults, ImageError } from "./faults.ts";
import { readFrame } from "./frame.ts";
import type { Frame, SectionPlace } from "./frame.ts";
import { entryHash, folderHash, probe, pureHash } from "./hash.ts";
import { decodeMeta } from "./meta.ts";
import type { ImageMeta, ImageModule, ImageStamp } from "./meta.ts";
import { none, stampKind } from "./schema.ts";
import type { SectionName } from "./schema.ts";
import { tableStruct } from "./sections.ts";
import type { TableName, TableRecord } from "./sections.ts";
import { decodeRelocations } from "./slots.ts";
import type { Relocations } from "./slots.ts";
import { checkTables } from "./tables.ts";

export class ImageReader {
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly header: RecordOf<"FileHeader">;
  readonly sections: Readonly<Record<SectionName, SectionPlace>>;
  readonly abi: readonly RecordOf<"Abi">[];
  readonly selfChecks: readonly RecordOf<"SelfCheck">[];
  readonly roots: readonly RecordOf<"Root">[];
  readonly suffixes: readonly RecordOf<"Suffix">[];
  readonly folders: readonly RecordOf<"Folder">[];
  readonly entries: readonly RecordOf<"Entry">[];
  readonly units: readonly RecordOf<"Unit">[];
  readonly nameBlocks: readonly RecordOf<"NameBlock">[];
  readonly pures: readonly RecordOf<"Pure">[];
  readonly names: Uint16Array;
  readonly folderHash: Uint32Array;
  readonly entryHash: Uint32Array;
  readonly pureHash: Uint32Array;

  /** Use {@link openImage}; a frame alone proves nothing about the tables. */
  constructor(file: string, bytes: Uint8Array, frame: Frame) {
    this.file = file;
    this.bytes = bytes;
    this.header = frame.header;
    this.sections = frame.sections;
    this.abi = this.table("abi");
    this.selfChecks = this.table("selfChecks");
    this.roots = this.table("roots");
    this.suffixes = this.table("suffixes");
    this.folders = this.table("folders");
    this.entries = this.table("entries");
    this.units = this.table("units");
    this.nameBlocks = this.table("nameBlocks");
    this.pures = this.table("pures");
    this.names = decodeHalves(this.section("names"));
    this.folderHash = decodeWords(this.section("folderHash"));
    this.entryHash = decodeWords(this.section("entryHash"));
    this.pureHash = decodeWords(this.section("pureHash"));
  }

  private table<T extends TableName>(name: T): TableRecord<T>[] {
    return decodeTable(tableStruct[name], this.section(name));
  }

  /** A section's bytes (a view). */
  section(name: SectionName): Uint8Array {
    const { offset, size } = this.sections[name];
    return this.bytes.subarray(offset, offset + size);
  }

  /** The string at a reference; undefined when the reference is bad or the text is not UTF-8. */
  stringAt(ref: number): string | undefined {
    const strings = this.section("strings");
    if (ref >= strings.byteLength) return undefined;
    const end = strings.indexOf(0, ref);
    return end < 0 ? undefined : utf8(strings.subarray(ref, end));
  }

  /** The string at a reference that openImage has validated; `none` gives the empty string. */
  string(ref: number): string {
    return ref === none ? "" : (this.stringAt(ref) ?? "");
  }

  /** A unit's objects (a view). */
  unitData(unit: RecordOf<"Unit">): Uint8Array {
    const start = Number(unit.data_offset);
    return this.section("data").subarray(start, start + unit.data_size);
  }

  unitRelocationBytes(unit: RecordOf<"Unit">): Uint8Array {
    const start = Number(unit.reloc_offset);
    return this.section("relocations").subarray(start, start + unit.reloc_size);
  }

  /** Throws when the stream is damaged: streams are not decoded by openImage. */
  unitRelocations(unit: RecordOf<"Unit">): Relocations {
    const [shape] = this.abi;
    return decodeRelocations(this.unitRelocationBytes(unit), this.file, shape === undefined ? undefined : { shape, data: this.unitData(unit) });
  }

  nameBlockData(block: RecordOf<"NameBlock">): Uint8Array {
    const start = Number(block.data_offset);
    return this.section("data").subarray(start, start + block.data_size);
  }

  /** The input of a pure result (a view). */
  pureText(pure: RecordOf<"Pure">): Uint8Array {
    return this.section("pureData").subarray(pure.text, pure.text + pure.text_size);
  }

  /** The bytes of a pattern's result (a view). */
  pureResult(pure: RecordOf<"Pure">): Uint8Array {
    return this.section("pureData").subarray(pure.result, pure.result + pure.result_size);
  }

  /** Throws when the section is damaged, or names an entry without a unit. */
  meta(): ImageMeta {
    const { offset } = this.sections.meta;
    const stored = decodeMeta(this.section("meta"), this.file, offset);
    const modules = stored.modules.map(([name, entry, traced]) => {
      const module = this.describedModule(name, entry, traced === 1);
      if (module !== undefined) return module;
      throw new PycdsError("IMAGE_META", "cannot read the archive's description", `module ${name}: entry ${entry} does not lead to a unit`, { file: this.file, offset, next: "build the archive again" });
    });
    return { ...stored, modules };
  }

  private describedModule(name: string, number: number, traced: boolean): ImageModule | undefined {
    const entry = this.entries[number];
    const unit = this.units[entry?.unit ?? none];
    const folder = this.folders[entry?.folder ?? none];
    const suffix = this.suffixes[entry?.suffix ?? none];
    if (entry === undefined || unit === undefined || folder === undefined || suffix === undefined) return undefined;
    const file = `${this.string(folder.path).replace(/\/+$/, "")}/${this.string(entry.name)}${this.string(suffix.suffix)}`;
    return { name, entry: number, unit: entry.unit, size: unit.data_size, relocations: unit.reloc_size, file, traced, stamp: this.stampOf(entry) };
  }

  private stampOf(entry: RecordOf<"Entry">): ImageStamp {
    const size = Number(entry.stamp_size);
    switch (entry.stamp_kind) {
      case stampKind.pyc:
        return { kind: "pyc", file: this.string(entry.stamp_file), mtime_ns: String(entry.stamp_mtime), size };
      case stampKind.digest:
        return { kind: "digest", digest: entry.stamp_digest.toString(16).padStart(16, "0"), size, ...(entry.stamp_file === none ? {} : { file: this.string(entry.stamp_file) }) };
      default:
        return { kind: "source", mtime: Number(entry.stamp_mtime), size };
    }
  }

  /** The requested address of the first byte of DATA. */
  get base(): number {
    return Number(this.header.preferred_base);
  }

  /** The folder with this path, through the hash table as the runtime finds it. */
  findFolder(path: string): number | undefined {
    return probe(this.folderHash, folderHash(path), (index) => {
      const folder = this.folders[index];
      return folder !== undefined && this.stringAt(folder.path) === path;
    });
  }

  /** The pure result for an input, through the hash table as the runtime finds it. */
  findPure(kind: number, flags: number, text: Uint8Array): number | undefined {
    return probe(this.pureHash, pureHash(kind, flags, text), (index) => {
      const pure = this.pures[index];
      return pure !== undefined && pure.kind === kind && pure.flags === flags && Buffer.compare(this.pureText(pure), text) === 0;
    });
  }

  /** The entry for a name in a folder, through the hash table as the runtime finds it; undefined: known to be missing. */
  findEntry(folder: number, tail: string): number | undefined {
    return probe(this.entryHash, entryHash(tail, folder), (index) => {
      const entry = this.entries[index];
      return entry !== undefined && entry.folder === folder && this.stringAt(entry.name) === tail;
    });
  }
}

export interface CheckedImage {
  /** There when the file's frame could be read, however damaged the rest is. */
  readonly image: ImageReader | undefined;
  readonly faults: readonly PycdsError[];
}

/** Reads and validates; never throws on any bytes. */
export function checkImage(bytes: Uint8Array, file: string): CheckedImage {
  const faults = new Faults(file);
  const frame = readFrame(bytes, faults);
  if (frame === undefined) return { image: undefined, faults: faults.done() };
  const image = new ImageReader(file, bytes, frame);
  checkTables(image, faults);
  return { image, faults: faults.done() };
}

/**
 * Opens an archive. Everything the runtime checks at start is checked here, and
 * every index and string reference besides; what is inside units is left to
 * `inspect`'s verify.
 * @throws ImageError with every fault found
 */
export function openImage(bytes: Uint8Array, file: string): ImageReader {
  const { image, faults } = checkImage(bytes, file);
  const [first, ...rest] = faults;
  if (first !== undefined) throw new ImageError([first, ...rest]);
  if (image === undefined) throw new Error("an archive without frame has a fault");
  return image;
}
