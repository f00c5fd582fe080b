/** Archives for the runtime to refuse: one field changed, all digests right again, so that only the rule in question can notice. */
import { xxh3 } from "../../src/base/digest.ts";
import { codecs, viewOf } from "../../src/image/codec.ts";
import type { RecordOf } from "../../src/image/codec.ts";
import { eagerSections, sectionKind } from "../../src/image/schema.ts";
import type { SectionName, StructName } from "../../src/image/schema.ts";
import { tableStruct } from "../../src/image/sections.ts";
import type { TableName } from "../../src/image/sections.ts";
import { headerDigest } from "../../src/image/writer.ts";

export class Damage {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;

  constructor(good: Uint8Array) {
    this.bytes = Uint8Array.from(good);
    this.view = viewOf(this.bytes);
  }

  get header(): RecordOf<"FileHeader"> {
    return codecs.FileHeader.read(this.view, 0);
  }

  private findRow(name: SectionName): number | undefined {
    for (let index = 0; index < this.header.section_count; index++) {
      const at = codecs.FileHeader.size + index * codecs.Section.size;
      if (codecs.Section.read(this.view, at).kind === sectionKind[name]) return at;
    }
    return undefined;
  }

  /** Where a section's row in the section table is. */
  rowOf(name: SectionName): number {
    const at = this.findRow(name);
    if (at === undefined) throw new Error(`no section ${name}`);
    return at;
  }

  section(name: SectionName): { readonly offset: number; readonly size: number } {
    const { offset, size } = codecs.Section.read(this.view, this.rowOf(name));
    return { offset: Number(offset), size: Number(size) };
  }

  /** Bytes of a section, to be changed in place. */
  sectionBytes(name: SectionName): Uint8Array {
    const { offset, size } = this.section(name);
    return this.bytes.subarray(offset, offset + size);
  }

  private put<N extends StructName>(name: N, at: number, change: Partial<RecordOf<N>>): this {
    codecs[name].write(this.view, at, { ...codecs[name].read(this.view, at), ...change });
    return this;
  }

  setHeader(change: Partial<RecordOf<"FileHeader">>): this {
    return this.put("FileHeader", 0, change);
  }

  setRow(name: SectionName, change: Partial<RecordOf<"Section">>): this {
    return this.setRowAt(this.rowOf(name), change);
  }

  /** For when two rows have one kind: the row that begins at byte `at`. */
  setRowAt(at: number, change: Partial<RecordOf<"Section">>): this {
    return this.put("Section", at, change);
  }

  rows<T extends TableName>(table: T): RecordOf<(typeof tableStruct)[T]>[] {
    const { offset, size } = this.section(table);
    const codec = codecs[tableStruct[table]];
    // codecs[K].read gives RecordOf<K>; TypeScript does not relate the two lookups.
    return Array.from({ length: size / codec.size }, (_, index) => codec.read(this.view, offset + index * codec.size) as RecordOf<(typeof tableStruct)[T]>);
  }

  set<T extends TableName>(table: T, row: number, change: Partial<RecordOf<(typeof tableStruct)[T]>>): this {
    const name: StructName = tableStruct[table];
    return this.put(name, this.section(table).offset + row * codecs[name].size, change as Partial<RecordOf<StructName>>);
  }

  setName(index: number, value: number): this {
    this.view.setUint16(this.section("names").offset + index * 2, value, true);
    return this;
  }

  get nameCount(): number {
    return this.section("names").size / 2;
  }

  setWord(section: "folderHash" | "entryHash", index: number, value: number): this {
    this.view.setUint32(this.section(section).offset + index * 4, value, true);
    return this;
  }

  words(section: "folderHash" | "entryHash"): number[] {
    const { offset, size } = this.section(section);
    return Array.from({ length: size / 4 }, (_, index) => this.view.getUint32(offset + index * 4, true));
  }

  /** All digests right again, of what can still be found: units, the sections checked at start, the header. */
  sealed(): Uint8Array {
    if ((["units", "data", "relocations"] as const).every((name) => this.findRow(name) !== undefined)) this.sealUnits();
    for (const name of eagerSections) {
      if (this.findRow(name) === undefined) continue;
      const { offset, size } = this.section(name);
      if (offset + size <= this.bytes.byteLength) this.setRow(name, { digest: xxh3(this.bytes.subarray(offset, offset + size)) });
    }
    return this.sealedHeader();
  }

  private sealUnits(): void {
    const data = this.sectionBytes("data");
    const relocations = this.sectionBytes("relocations");
    this.rows("units").forEach((unit, row) => {
      const offset = Number(unit.data_offset);
      const stream = Number(unit.reloc_offset);
      if (offset + unit.data_size > data.byteLength || stream + unit.reloc_size > relocations.byteLength) return;
      const digest = xxh3(data.subarray(offset, offset + unit.data_size), relocations.subarray(stream, stream + unit.reloc_size));
      this.set("units", row, { digest });
    });
  }

  sealedHeader(): Uint8Array {
    const size = codecs.FileHeader.size + this.header.section_count * codecs.Section.size;
    return this.setHeader({ header_digest: headerDigest(this.bytes, size) }).bytes;
  }
}
