/** Checks every record of an archive's tables: sizes, string references, indices, order, and the hash tables. */
import type { RecordOf } from "./codec.ts";
import { codecs } from "./codec.ts";
import type { Faults } from "./faults.ts";
import { entryHash, folderHash, probe, pureHash } from "./hash.ts";
import type { ImageReader } from "./reader.ts";
import { features, nameLatin1, entryKind, mostUses, none, objectAlignment, pureKind, selfCheckSubject, selfCheckWhat, stampKind, suffixLoader, unitAlignment } from "./schema.ts";
import { tableStruct, wordSections } from "./sections.ts";
import type { TableName } from "./sections.ts";

type Report = (why: string) => void;

/** No type that is checked comes near it. */
const largestBasicsize = 4096;
/** No release has begun with more; the runtime insists on the same. */
const largestInitialThreshold = 10_000;

class TableChecks {
  private readonly image: ImageReader;
  private readonly faults: Faults;

  constructor(image: ImageReader, faults: Faults) {
    this.image = image;
    this.faults = faults;
  }

  private row(table: TableName, index: number, field?: string): Report {
    const codec = codecs[tableStruct[table]];
    // The field names come from the callers below; an unknown one would throw, which tests see.
    const within = field === undefined ? 0 : codec.offsetOf(field as never);
    const offset = this.image.sections[table].offset + index * codec.size + within;
    return (why) => this.faults.add("IMAGE_TABLE", "archive is damaged", `${table}[${index}]${field === undefined ? "" : `.${field}`}: ${why}`, offset);
  }

  sizes(): void {
    const bad = (name: keyof ImageReader["sections"], why: string): void =>
      this.faults.add("IMAGE_SECTION", "archive is damaged", `section ${name}: ${why}`, this.image.sections[name].offset);
    for (const name of Object.keys(tableStruct) as TableName[]) {
      const size = codecs[tableStruct[name]].size;
      if (this.image.sections[name].size % size !== 0) bad(name, `${this.image.sections[name].size} bytes are not a multiple of ${size}`);
    }
    if (this.image.sections.names.size % 2 !== 0) bad("names", `${this.image.sections.names.size} bytes are not a multiple of 2`);
    for (const name of wordSections) if (this.image.sections[name].size % 4 !== 0) bad(name, `${this.image.sections[name].size} bytes are not a multiple of 4`);
    if (this.image.abi.length !== 1) bad("abi", `it holds ${this.image.abi.length} structs, not 1`);
    const strings = this.image.section("strings");
    if (strings.byteLength === 0 || strings[strings.byteLength - 1] !== 0) {
      this.faults.add("IMAGE_SECTION", "archive is damaged", "section strings does not end with NUL", this.image.sections.strings.offset);
    }
  }

  /** The text at a reference, or undefined after a report. */
  private text(ref: number, report: Report, length?: number): string | undefined {
    const text = this.image.stringAt(ref);
    if (text === undefined) {
      report(`string reference ${ref} is out of range or not UTF-8 text`);
      return undefined;
    }
    if (length !== undefined && Buffer.byteLength(text) !== length) report(`the string has ${Buffer.byteLength(text)} bytes, not ${length}`);
    return text;
  }

  abi(): void {
    const [abi] = this.image.abi;
    if (abi === undefined) return;
    // What any CPython has (facts/cpython.md §1, §3): -5 … 256, or 1024 from 3.15 on; sizes with room to grow.
    if (abi.small_int_min !== -5) this.row("abi", 0, "small_int_min")(`${abi.small_int_min} cannot be the first small int`);
    if (abi.small_int_max < 256 || abi.small_int_max > 1024) this.row("abi", 0, "small_int_max")(`${abi.small_int_max} cannot be the last small int`);
    if (abi.type_offset === 0 || abi.type_offset % 8 !== 0 || abi.type_offset > 64) this.row("abi", 0, "type_offset")(`${abi.type_offset} cannot be the offset of ob_type`);
    if (abi.code_basicsize < abi.type_offset + 8 || abi.code_basicsize > largestBasicsize) this.row("abi", 0, "code_basicsize")(`${abi.code_basicsize} cannot be the size of a code object`);
    if (abi.gc_header_size % 8 !== 0 || abi.gc_header_size > 64) this.row("abi", 0, "gc_header_size")(`${abi.gc_header_size} bytes cannot be a GC header`);
    if (abi.cfunction_def % 8 !== 0 || abi.cfunction_def > 64) this.row("abi", 0, "cfunction_def")(`${abi.cfunction_def} cannot be the offset of m_ml`);
    this.collector(abi);
    this.classes(abi);
    this.shapes(abi);
  }

  /** As native/runtime/shapes.c has it: offsets of pointers in a tuple and a code object, or none of the latter. */
  private shapes(abi: RecordOf<"Abi">): void {
    const inCode = ["code_consts", "code_names", "code_exceptiontable", "code_localsplusnames", "code_localspluskinds", "code_filename", "code_name", "code_qualname", "code_linetable"] as const;
    const known = abi.code_consts !== none;
    const numbered = known && (this.image.header.required_features & features.codeVersion) !== 0n;
    const check = (name: keyof typeof abi & `code_${string}` | "tuple_size" | "tuple_items", there: boolean, size: number, end: number): void => {
      const possible = there ? abi[name] % size === 0 && abi[name] + size <= end : abi[name] === none;
      if (!possible) this.row("abi", 0, name)(`${abi[name]} cannot be the offset of ${name.slice(name.indexOf("_") + 1)}`);
    };
    for (const name of inCode) check(name, known, 8, abi.code_basicsize);
    check("code_version", numbered, 4, abi.code_basicsize);
    for (const name of ["tuple_size", "tuple_items"] as const) check(name, true, 8, 72);
  }

  /** As native/runtime/tables.c has it: all of it none, or offsets of pointers in a type, in a row of slotdefs, in a descriptor. */
  private classes(abi: RecordOf<"Abi">): void {
    const inType = ["class_dealloc", "class_flags", "class_base", "class_dict", "class_alloc", "class_new", "class_mro", "class_vectorcall", "class_slots_end", "class_module", "class_type_name"] as const;
    const inRow = ["class_slotdef_function", "class_slotdef_object"] as const;
    const known = abi.class_wrapper_base !== none;
    const check = (name: keyof typeof abi & `class_${string}`, end: number, size: number): void => {
      const possible = known ? abi[name] % size === 0 && abi[name] + size <= end : abi[name] === none;
      if (!possible) this.row("abi", 0, name)(`${abi[name]} cannot be right${known ? "" : " where class_wrapper_base is none"}`);
    };
    for (const name of ["class_wrapper_base", "class_slotdef_size", "class_size"] as const) check(name, largestBasicsize, 8);
    for (const name of inType) check(name, abi.class_size, 8);
    for (const name of inRow) check(name, abi.class_slotdef_size, 8);
    check("class_slotdef_offset", abi.class_slotdef_size, 4);
  }

  /** As native/runtime/tables.c has it: all of it none, or offsets in a state of at most 4 KiB, each aligned to its size. */
  private collector(abi: RecordOf<"Abi">): void {
    const pointers = ["gc_generations", "gc_generation_size", "gc_generation0", "gc_callbacks", "gc_long_lived_total", "gc_long_lived_pending"] as const;
    const words = ["gc_packed_generations", "gc_threshold", "gc_count", "gc_enabled", "gc_debug", "gc_collecting"] as const;
    const known = abi.gc_generations !== none;
    for (const [names, size] of [[pointers, 8], [words, 4]] as const) {
      for (const name of names) {
        const possible = known ? abi[name] % size === 0 && abi[name] <= largestBasicsize : abi[name] === none;
        if (!possible) this.row("abi", 0, name)(`${abi[name]} cannot be right${known ? "" : " where gc_generations is none"}`);
      }
    }
    const threshold = abi.gc_initial_threshold;
    if (known ? threshold === 0 || threshold > largestInitialThreshold : threshold !== none) this.row("abi", 0, "gc_initial_threshold")(`${threshold} cannot be a collector's first threshold`);
    for (const name of ["gc_threshold", "gc_count"] as const) {
      if (known && abi[name] + 4 > abi.gc_generation_size) this.row("abi", 0, name)(`${abi[name]} is outside of a generation`);
    }
  }

  selfChecks(): void {
    this.image.selfChecks.forEach((check, index) => {
      this.text(check.name, this.row("selfChecks", index, "name"));
      const ofType = check.what === selfCheckWhat.basicsize;
      if (check.what > selfCheckWhat.basicsize) this.row("selfChecks", index, "what")(`${check.what} does not exist`);
      else if (check.subject !== (ofType ? selfCheckSubject.type : selfCheckSubject.code)) this.row("selfChecks", index, "subject")(`${check.subject} does not go with what ${check.what}`);
      const end = ofType ? check.offset : check.offset + (check.what === selfCheckWhat.i32 ? 4 : 8);
      if (end > (ofType ? largestBasicsize : (this.image.abi[0]?.code_basicsize ?? 0))) this.row("selfChecks", index, "offset")(`${check.offset} is outside of the object`);
    });
  }

  roots(): void {
    this.image.roots.forEach((root, index) => {
      this.text(root.name, this.row("roots", index, "name"));
      this.text(root.path, this.row("roots", index, "path"));
    });
  }

  suffixes(): void {
    this.image.suffixes.forEach((suffix, index) => {
      this.text(suffix.suffix, this.row("suffixes", index, "suffix"), suffix.length);
      if (suffix.loader > suffixLoader.sourceless) this.row("suffixes", index, "loader")(`${suffix.loader} does not exist`);
    });
  }

  folders(): void {
    const { folders, entries, roots } = this.image;
    let previous: string | undefined;
    let entry = 0;
    folders.forEach((folder, index) => {
      const path = this.text(folder.path, this.row("folders", index, "path"), folder.path_length);
      if (path !== undefined && previous !== undefined && Buffer.compare(Buffer.from(previous), Buffer.from(path)) >= 0) this.row("folders", index, "path")(`it does not follow ${previous}`);
      previous = path ?? previous;
      const relative = this.text(folder.relative, this.row("folders", index, "relative"));
      if (folder.root !== none) {
        const root = roots[folder.root];
        const rootPath = root === undefined ? undefined : this.image.stringAt(root.path);
        if (root === undefined) this.row("folders", index, "root")(`root ${folder.root} does not exist`);
        else if (path !== undefined && rootPath !== undefined && relative !== undefined && !isBelow(path, rootPath, relative)) this.row("folders", index, "relative")(`${rootPath} and ${relative} do not make ${path}`);
      }
      if (folder.first_entry !== entry) this.row("folders", index, "first_entry")(`it is ${folder.first_entry}, not ${entry}`);
      entry += folder.entry_count;
    });
    if (entry !== entries.length) this.faults.add("IMAGE_TABLE", "archive is damaged", `folders have ${entry} entries, the table has ${entries.length}`, this.image.sections.entries.offset);
    this.hashTable("folderHash", folders.length, (index) => {
      const path = this.image.stringAt(folders[index]?.path ?? none);
      return path === undefined ? undefined : folderHash(path);
    });
  }

  entries(): void {
    const { folders, entries } = this.image;
    let previous: { readonly folder: number; readonly name: Buffer } | undefined;
    entries.forEach((entry, index) => {
      const folder = folders[entry.folder];
      if (folder === undefined || index < folder.first_entry || index >= folder.first_entry + folder.entry_count) this.row("entries", index, "folder")(`folder ${entry.folder} does not hold it`);
      const name = Buffer.from(this.text(entry.name, this.row("entries", index, "name"), entry.name_length) ?? "");
      if (previous !== undefined && previous.folder === entry.folder && Buffer.compare(previous.name, name) >= 0) this.row("entries", index, "name")("names are not in order");
      previous = { folder: entry.folder, name };
      this.entry(entry, index);
    });
    this.hashTable("entryHash", entries.length, (index) => {
      const entry = entries[index];
      const name = entry === undefined ? undefined : this.image.stringAt(entry.name);
      return entry === undefined || name === undefined ? undefined : entryHash(name, entry.folder);
    });
  }

  private entry(entry: RecordOf<"Entry">, index: number): void {
    const bad = (field: keyof RecordOf<"Entry"> & string, why: string): void => this.row("entries", index, field)(why);
    const { folders, suffixes, units } = this.image;
    if (entry.kind > entryKind.ask) bad("kind", `${entry.kind} does not exist`);
    const loader = { [entryKind.source]: suffixLoader.source, [entryKind.extension]: suffixLoader.extension, [entryKind.sourceless]: suffixLoader.sourceless }[entry.kind];
    if (loader === undefined ? entry.suffix !== 0 : suffixes[entry.suffix]?.loader !== loader) bad("suffix", `suffix ${entry.suffix} does not go with kind ${entry.kind}`);
    if (entry.child === none ? entry.kind === entryKind.package || entry.kind === entryKind.namespace : entry.child >= folders.length) bad("child", `folder ${entry.child} does not exist`);
    if (entry.reason !== none) this.text(entry.reason, this.row("entries", index, "reason"));

    if (entry.stamp_kind > stampKind.digest) bad("stamp_kind", `${entry.stamp_kind} does not exist`);
    if ((entry.stamp_kind === stampKind.none) !== (entry.unit === none)) bad("stamp_kind", entry.unit === none ? "a stamp without code" : "code without a stamp");
    if (entry.stamp_kind === stampKind.pyc || (entry.stamp_kind === stampKind.digest && entry.stamp_file !== none)) this.text(entry.stamp_file, this.row("entries", index, "stamp_file"));
    else if (entry.stamp_file !== none) bad("stamp_file", `${entry.stamp_file} does not go with stamp kind ${entry.stamp_kind}`);
    this.stamp(entry, bad);
    if (entry.unit === none) return;
    if (entry.unit >= units.length) bad("unit", `unit ${entry.unit} does not exist`);
    if (entry.kind !== entryKind.source && entry.kind !== entryKind.sourceless) bad("unit", `kind ${entry.kind} has no code`);
    if (entry.reason !== none) bad("reason", "it has code and a reason for having none");
  }

  /** Fields that a stamp kind does not use are 0, those that it compares mod 2^32 are below that. */
  private stamp(entry: RecordOf<"Entry">, bad: (field: "stamp_mtime" | "stamp_size" | "stamp_digest", why: string) => void): void {
    const kind = entry.stamp_kind;
    const word = 0xffffffffn;
    if (kind !== stampKind.digest && entry.stamp_digest !== 0n) bad("stamp_digest", `stamp kind ${kind} has none`);
    if ((kind === stampKind.none || kind === stampKind.digest) && entry.stamp_mtime !== 0n) bad("stamp_mtime", `stamp kind ${kind} has none`);
    if (kind === stampKind.source && (entry.stamp_mtime < 0n || entry.stamp_mtime > word)) bad("stamp_mtime", `${entry.stamp_mtime} is not a number of seconds mod 2^32`);
    if (kind === stampKind.none ? entry.stamp_size !== 0n : kind === stampKind.source && entry.stamp_size > word) bad("stamp_size", `${entry.stamp_size} does not go with stamp kind ${kind}`);
  }

  private hashTable(name: "folderHash" | "entryHash" | "pureHash", count: number, hashOf: (index: number) => bigint | undefined): void {
    const table = this.image[name];
    const { offset } = this.image.sections[name];
    const bad = (why: string, slot = 0): void => this.faults.add("IMAGE_TABLE", "archive is damaged", `${name}: ${why}`, offset + slot * 4);
    if (table.length === 0 || (table.length & (table.length - 1)) !== 0) {
      bad(`${table.length} slots are not a power of two`);
      return;
    }
    const seen = new Uint8Array(count);
    let used = 0;
    table.forEach((value, slot) => {
      if (value === 0) return;
      used += 1;
      if (value > count) bad(`slot ${slot} holds ${value}, there are ${count} items`, slot);
      else if (seen[value - 1] === 1) bad(`item ${value - 1} is there twice`, slot);
      else seen[value - 1] = 1;
    });
    if (used === table.length) {
      bad("it has no empty slot: a look-up for a missing name would not end");
      return;
    }
    for (let index = 0; index < count; index++) {
      const hash = hashOf(index);
      if (hash !== undefined && probe(table, hash, (found) => found === index) === undefined) bad(`item ${index} cannot be found`);
    }
  }

  pures(): void {
    const { pures, units, entries } = this.image;
    const { size } = this.image.sections.pureData;
    const owned = new Set(entries.map(({ unit }) => unit));
    pures.forEach((pure, index) => {
      const bad = (field: keyof RecordOf<"Pure"> & string, why: string): void => this.row("pures", index, field)(why);
      const isPattern = pure.kind <= pureKind.bytesPattern;
      if (pure.kind > pureKind.single) bad("kind", `${pure.kind} does not exist`);
      if (pure.reserved !== 0) bad("reserved", "it is not 0");
      if (pure.text + pure.text_size > size) bad("text", `it ends at ${pure.text + pure.text_size}, pureData at ${size}`);
      else if (pureHash(pure.kind, pure.flags, this.image.pureText(pure)) !== pure.hash) bad("hash", "it is not that of the input");
      if (isPattern) {
        if (pure.result % 4 !== 0 || pure.result + pure.result_size > size) bad("result", `${pure.result_size} bytes at ${pure.result} are misaligned or outside of pureData`);
        if (pure.uses !== 0) bad("uses", "a pattern's are not counted");
        return;
      }
      if (pure.result >= units.length) bad("result", `unit ${pure.result} does not exist`);
      if (owned.has(pure.result)) bad("result", `unit ${pure.result} is another one's too`);
      owned.add(pure.result);
      if (pure.result_size !== 0) bad("result_size", "a source has none");
      if (pure.digest !== 0n) bad("digest", "a source has none: its unit has");
      if (pure.uses === 0 || pure.uses > mostUses) bad("uses", `${pure.uses} is not 1 … ${mostUses}`);
    });
    this.hashTable("pureHash", pures.length, (index) => pures[index]?.hash);
  }

  units(): void {
    const { data, relocations } = this.image.sections;
    let dataEnd = 0n;
    let relocationsEnd = 0n;
    this.image.units.forEach((unit, index) => {
      const bad = (field: keyof RecordOf<"Unit"> & string, why: string): void => this.row("units", index, field)(why);
      if (unit.data_offset % BigInt(unitAlignment) !== 0n || unit.data_offset < dataEnd) bad("data_offset", `${unit.data_offset} is not aligned or begins before ${dataEnd}`);
      dataEnd = unit.data_offset + BigInt(unit.data_size);
      if (dataEnd > BigInt(data.size)) bad("data_size", `it ends at ${dataEnd}, DATA at ${data.size}`);
      if (unit.root >= unit.data_size || unit.root % objectAlignment !== 0) bad("root", `offset ${unit.root} cannot be an object's in ${unit.data_size} bytes`);
      if (unit.reloc_offset % 8n !== 0n || unit.reloc_offset < relocationsEnd) bad("reloc_offset", `${unit.reloc_offset} is not aligned or begins before ${relocationsEnd}`);
      relocationsEnd = unit.reloc_offset + BigInt(unit.reloc_size);
      if (relocationsEnd > BigInt(relocations.size)) bad("reloc_size", `it ends at ${relocationsEnd}, the section at ${relocations.size}`);
      if (unit.flags !== 0) bad("flags", `0x${unit.flags.toString(16)} is not 0`);
    });
    this.names(dataEnd);
  }

  private names(unitsEnd: bigint): void {
    const { names, nameBlocks } = this.image;
    let dataEnd = unitsEnd;
    let next = 0;
    nameBlocks.forEach((block, index) => {
      const bad = (field: keyof RecordOf<"NameBlock"> & string, why: string): void => this.row("nameBlocks", index, field)(why);
      if (block.data_offset % BigInt(unitAlignment) !== 0n || block.data_offset < dataEnd) bad("data_offset", `${block.data_offset} is not aligned or begins before ${dataEnd}`);
      dataEnd = block.data_offset + BigInt(block.data_size);
      if (dataEnd > BigInt(this.image.sections.data.size)) bad("data_size", `it ends at ${dataEnd}, DATA at ${this.image.sections.data.size}`);
      if (block.reserved !== 0) bad("reserved", "it is not 0");
      if (block.first_name !== next) {
        bad("first_name", `it is ${block.first_name}, not ${next}`);
        return;
      }
      next = block.first_name + block.name_count;
      for (let name = block.first_name; name < Math.min(next, names.length); name++) {
        const word = names[name] ?? 0;
        const latin1 = word >= nameLatin1;
        if (latin1 ? word - nameLatin1 > 0xff : word * objectAlignment >= block.data_size) {
          this.faults.add("IMAGE_TABLE", "archive is damaged", `names[${name}]: 0x${word.toString(16)} is no place in a block of ${block.data_size} bytes and no Latin-1 character`, this.image.sections.names.offset + name * 2);
        }
      }
    });
    if (next !== names.length) this.faults.add("IMAGE_TABLE", "archive is damaged", `name blocks hold ${next} names, the table has ${names.length}`, this.image.sections.names.offset);
  }
}

/** Whether `relative` below `root` is `path`. */
function isBelow(path: string, root: string, relative: string): boolean {
  if (relative === "") return path === root;
  return path === (root.endsWith("/") ? root + relative : `${root}/${relative}`);
}

export function checkTables(image: ImageReader, faults: Faults): void {
  const checks = new TableChecks(image, faults);
  checks.sizes();
  checks.abi();
  checks.selfChecks();
  checks.roots();
  checks.suffixes();
  checks.folders();
  checks.entries();
  checks.units();
  checks.pures();
}
