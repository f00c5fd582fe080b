/**
 * The one schema of the archive file (`*.pycds`). The writer, the reader, the C
 * header (native/include/pycds_format.h) and docs/image-format.md come from it.
 *
 * All numbers are little-endian. Offsets are in bytes from the start of the
 * file unless a field says otherwise. `none` (0xffffffff) stands for "no index".
 */

import { f } from "./struct.ts";
import type { Struct } from "./struct.ts";

export { f, fieldSize, layoutOf } from "./struct.ts";
export type { Field, FieldType, Struct } from "./struct.ts";

export const magic = Uint8Array.of(0x50, 0x59, 0x43, 0x44, 0x53, 0x0d, 0x0a, 0x1a); // "PYCDS\r\n\x1a": text-mode damage shows
export const byteOrderMark = 0x01020304;
export const formatVersion = 9;
export const none = 0xffffffff;
/** Alignment of the address of the DATA section, valid for 4, 16 and 64 KiB pages; and in the file, where pages may be as large. */
export const segmentAlignment = 0x10000;
/** Alignment of the DATA section in the file for a platform: its largest page. */
export const dataAlignment = (platform: string): number => (platform.endsWith("-x86_64") ? 0x1000 : segmentAlignment);
/** Alignment of a unit and of a name block inside DATA. */
export const unitAlignment = 16;
/** Alignment of every object in a unit or name block: that of the interpreter's own static objects. */
export const objectAlignment = 8;

/** Names: set where the rest is the code point of a one-character Latin-1 name. */
export const nameLatin1 = 0x8000;

/** Most copies of a source string's code in one process (Pure.uses): enough for every namedtuple of a large program. */
export const mostUses = 4096;

/** A byte of an index into a unit's list of names: the index itself below this; from here on, but for 0xff, (byte - 0xf0) * 256 + 0xf0 + the next byte; 0xff: it follows as u32. */
export const wideIndex = 0xf0;

/** Bits of a code object's byte in a relocation stream: what its fields receive. */
export const codeMask = {
  /** co_consts points into the unit, else at the empty tuple */
  consts: 1,
  /** co_names likewise */
  names: 2,
  /** co_localsplusnames likewise */
  localsplusnames: 4,
  /** co_exceptiontable points into the unit, else at the empty bytes */
  exceptiontable: 8,
  /** co_localspluskinds likewise */
  localspluskinds: 16,
  /** co_localspluskinds is in none of these, but in another stream */
  otherKinds: 32,
  /** co_name is a name, else in another stream */
  name: 64,
  /** co_qualname likewise */
  qualname: 128,
} as const;

/** Bits of FileHeader.required_features; a bit the runtime does not know means refuse. */
export const features = {
  /** co_version slots must be filled (3.12+). */
  codeVersion: 1n << 0n,
  /** Sealed: folders and sources are not stat'ed. */
  sealed: 1n << 1n,
  /** Sources are compared by contents, folders by listing; mtimes say nothing. */
  contents: 1n << 2n,
  /** The tree may lie elsewhere than where it was recorded: roots tell. */
  relocatable: 1n << 3n,
} as const;

export const sectionKind = {
  abi: 1, selfChecks: 2, strings: 3, roots: 4, suffixes: 5, folders: 6, folderHash: 7, entries: 8, entryHash: 9,
  units: 10, names: 11, nameBlocks: 12, pures: 13, pureHash: 14, pureData: 15, relocations: 16, meta: 17, data: 18,
} as const;
export type SectionName = keyof typeof sectionKind;

export const sectionDocs: Readonly<Record<SectionName, string>> = {
  abi: "one Abi struct: what the runtime must know of the target's object layout",
  selfChecks: "SelfCheck structs: compared with live objects before anything is patched",
  strings: "UTF-8 text, each string NUL-terminated; u32 references are offsets in this section",
  roots: "Root structs: path prefixes that folders are recorded under",
  suffixes: "Suffix structs in FileFinder's order",
  folders: "Folder structs, ascending by path",
  folderHash: "u32 open-addressing table (power of two, linear probing): folder index + 1, 0 is empty; slot = XXH3(path) & (size - 1)",
  entries: "Entry structs, by folder, then by name",
  entryHash: "u32 open-addressing table: entry index + 1, 0 is empty; slot = (XXH3(tail) ^ folder * 0x9E3779B97F4A7C15 mod 2^64) >> 7 & (size - 1)",
  units: "Unit structs",
  names: "u16 a name: byte offset of its str object in its block >> 3, or 0x8000 | code point for a one-character Latin-1 name",
  nameBlocks: "NameBlock structs, ascending by first name",
  pures: "Pure structs: results of pure functions by their input, ascending by kind, flags and text",
  pureHash: "u32 open-addressing table: pure index + 1, 0 is empty; slot = (XXH3(text) ^ (kind << 32 | flags) * 0x9E3779B97F4A7C15 mod 2^64) >> 7 & (size - 1)",
  pureData: "inputs of pure results, each compared whole at its use, and the results of patterns, each a PurePattern",
  relocations: "the relocation streams of all units",
  meta: "JSON for people and tools: modules, exclusions, what built it; not read by the runtime",
  data: "objects: module units in layout order (traced first), then units of source strings, then name blocks; aligned to 4 KiB for x86_64, to 64 KiB for other machines",
};

/** Sections whose digest is checked when the archive is mapped (units and name blocks have their own). */
export const eagerSections: readonly SectionName[] = [
  "abi", "selfChecks", "strings", "roots", "suffixes", "folders", "folderHash", "entries", "entryHash", "units", "names", "nameBlocks",
  "pures", "pureHash",
];

export const abiFlag = { freeThreaded: 1, debug: 2 } as const;

/** Entry.kind: what FileFinder makes of a name in a folder. */
export const entryKind = {
  /** NAME.py */
  source: 0,
  /** NAME/ with an __init__; `child` is the package's folder, `__init__` is looked up there. */
  package: 1,
  /** NAME + an extension suffix */
  extension: 2,
  /** NAME.pyc without source */
  sourceless: 3,
  /** NAME/ without __init__ and no file of that name: part of a namespace package */
  namespace: 4,
  /** more than one candidate that a listing cannot decide, or a folder not in the index: ask stock */
  ask: 5,
} as const;

/** Entry.stamp_kind: how a served module's file is checked. */
export const stampKind = {
  /** nothing to check (no code archived) */
  none: 0,
  /** source: st_mtime in s mod 2^32 and st_size mod 2^32 equal, as importlib compares them with the .pyc */
  source: 1,
  /** the .pyc named by stamp_file: st_mtime in ns and st_size equal; the source (if any) is a regular file */
  pyc: 2,
  /** size and XXH3 digest of contents equal: of the .pyc named by stamp_file, or, without one, of the source */
  digest: 3,
} as const;

/** Pure.kind: which function, and of what. */
export const pureKind = {
  /** _sre.compile's arguments for a str pattern; flags: those given to re's compiler */
  strPattern: 0,
  /** _sre.compile's arguments for a bytes pattern */
  bytesPattern: 1,
  /** code of a str, as exec() and compile(…, "exec") make it; flags: the future statements in force */
  exec: 2,
  /** code of a str, as eval(), its blanks stripped, and compile(…, "eval") make it */
  eval: 3,
  /** code of a str, as compile(…, "single") makes it */
  single: 4,
} as const;

export const suffixLoader = { extension: 0, source: 1, sourceless: 2 } as const;
export const selfCheckSubject = { code: 0, type: 1 } as const;
export const selfCheckWhat = { i32: 0, pointer: 1, basicsize: 2 } as const;
export const rebuiltKind = { frozenset: 0 } as const;
/** Numbers of abi/externals.ts that objects told by their shape point at. */
export const shapedExternal = { codeType: 0, tupleType: 3, emptyBytes: 21, emptyTuple: 22 } as const;

export const structs = {
  FileHeader: {
    name: "FileHeader",
    doc: "At offset 0. Followed at once by section_count Section structs.",
    fields: [
      f("magic", { bytes: 8 }, '"PYCDS\\r\\n\\x1a"'),
      f("byte_order", "u32", "0x01020304 as the target reads it"),
      f("format_version", "u32", String(formatVersion)),
      f("header_digest", "u64", "XXH3 of the header and section table with this field 0"),
      f("file_size", "u64", "bytes in the file"),
      f("required_features", "u64", "features; an unknown bit means refuse"),
      f("archive_digest", { bytes: 32 }, "SHA-256 of all sections but relocations and DATA, which are in it by the digests of units and name blocks, as they are without hints; identity of the archive"),
      f("preferred_base", "u64", "requested address of the DATA section, which internal slots are written for: from archive contents, 64 KiB-aligned, below 2^38. A process reads units to addresses of their own, near it if it can"),
      f("hexversion", "u32", "PY_VERSION_HEX of the interpreter built for"),
      f("pyc_magic", "u32", "first four bytes of its .pyc files"),
      f("abi_flags", "u32", "abiFlag bits"),
      f("optimize", "u32", "sys.flags.optimize"),
      f("platform", { bytes: 32 }, "NUL-padded, e.g. linux-x86_64"),
      f("cache_tag", { bytes: 32 }, "NUL-padded, e.g. cpython-311"),
      f("layout_digest", { bytes: 32 }, "SHA-256 of the ABI data the image was laid out with"),
      f("section_count", "u32", "number of Section structs"),
      f("data_hot_size", "u32", "bytes of DATA, from its start, that hold traced modules, in units of 4 KiB (rounded down)"),
    ],
  },
  Section: {
    name: "Section",
    doc: "One row of the section table.",
    fields: [
      f("kind", "u32", "sectionKind"),
      f("reserved", "u32", "0"),
      f("offset", "u64", "where it begins; 16-byte aligned (DATA: 4 KiB for x86_64, else 64 KiB)"),
      f("size", "u64", "bytes"),
      f("digest", "u64", "XXH3 of its bytes; 0 for DATA and relocations, whose units carry digests"),
    ],
  },
  Abi: {
    name: "Abi",
    doc: "Object layout facts that the runtime needs; all else was decided offline.",
    fields: [
      f("type_offset", "u32", "of ob_type"),
      f("code_basicsize", "u32", "type(code).__basicsize__"),
      f("small_int_min", "i32", "first small int singleton"),
      f("small_int_max", "i32", "last small int singleton"),
      f("gc_header_size", "u32", "bytes before a GC object"),
      f("cfunction_def", "u32", "of m_ml, the PyMethodDef, in a builtin function"),
      f("gc_generations", "u32", "the three generations of the collector, in its state; none: no such collector, the rest of gc_* is none too"),
      f("gc_packed_generations", "u32", "the same in a build whose PyGC_Head is aligned to 4 bytes only"),
      f("gc_generation_size", "u32", "bytes of a generation; it begins with the head of its list"),
      f("gc_threshold", "u32", "i32 in a generation"),
      f("gc_count", "u32", "i32 in a generation"),
      f("gc_generation0", "u32", "in the state: pointer to the first generation's head"),
      f("gc_enabled", "u32", "in the state: i32"),
      f("gc_debug", "u32", "in the state: i32"),
      f("gc_collecting", "u32", "in the state: i32, not 0 while it runs"),
      f("gc_callbacks", "u32", "in the state: list of callbacks, or NULL"),
      f("gc_long_lived_total", "u32", "in the state: i64, what survived the last full collection"),
      f("gc_long_lived_pending", "u32", "in the state: i64, what came to the oldest generation since"),
      f("gc_initial_threshold", "u32", "the first generation's threshold while nobody set one"),
      f("class_wrapper_base", "u32", "of d_base in a wrapper descriptor; none: classes are made as stock does, the rest of class_* is none too"),
      f("class_slotdef_size", "u32", "bytes of a row of slotdefs; it begins with the name, a char pointer"),
      f("class_slotdef_offset", "u32", "in a row: i32, of the slot in a heap type"),
      f("class_slotdef_function", "u32", "in a row: the slot's function"),
      f("class_slotdef_object", "u32", "in a row: the name as a str"),
      f("class_dealloc", "u32", "in a type"),
      f("class_flags", "u32", "in a type: u64"),
      f("class_base", "u32", "in a type"),
      f("class_dict", "u32", "in a type; NULL in some that are static"),
      f("class_alloc", "u32", "in a type"),
      f("class_new", "u32", "in a type"),
      f("class_mro", "u32", "in a type"),
      f("class_vectorcall", "u32", "in a type"),
      f("class_slots_end", "u32", "in a heap type: slots of the table are below this"),
      f("class_module", "u32", "in a heap type"),
      f("class_type_name", "u32", "in a heap type: _ht_tpname"),
      f("class_size", "u32", "bytes of a heap type"),
      f("tuple_size", "u32", "in a tuple: i64, number of its items"),
      f("tuple_items", "u32", "in a tuple"),
      f("code_consts", "u32", "in a code object; none: no code object is told by its shape, the rest of code_* is none too"),
      f("code_names", "u32", "in a code object"),
      f("code_exceptiontable", "u32", "in a code object"),
      f("code_localsplusnames", "u32", "in a code object"),
      f("code_localspluskinds", "u32", "in a code object"),
      f("code_filename", "u32", "in a code object"),
      f("code_name", "u32", "in a code object"),
      f("code_qualname", "u32", "in a code object"),
      f("code_linetable", "u32", "in a code object"),
      f("code_version", "u32", "in a code object: u32; none where it has none"),
    ],
  },
  SelfCheck: {
    name: "SelfCheck",
    doc: "One comparison with a live object; any difference refuses the archive.",
    fields: [
      f("subject", "u32", "selfCheckSubject"),
      f("what", "u32", "selfCheckWhat"),
      f("offset", "u32", "in the object; for basicsize the expected value"),
      f("name", "u32", "string: the attribute, or the type's symbol"),
    ],
  },
  Root: {
    name: "Root",
    doc: "A path prefix at build time.",
    fields: [
      f("name", "u32", "string: stdlib, venv, …"),
      f("path", "u32", "string: recorded absolute path"),
    ],
  },
  Suffix: {
    name: "Suffix",
    doc: "A file suffix of the target's FileFinder.",
    fields: [
      f("suffix", "u32", "string, e.g. .py"),
      f("length", "u32", "bytes of it"),
      f("loader", "u32", "suffixLoader"),
    ],
  },
  Folder: {
    name: "Folder",
    doc: "A folder in which imports are looked up.",
    fields: [
      f("path", "u32", "string: absolute path as in sys.path or __path__"),
      f("path_length", "u32", "bytes of it"),
      f("root", "u32", "root index or none"),
      f("relative", "u32", "string: the path below the root (empty for the root itself)"),
      f("mtime_ns", "i64", "st_mtime when listed"),
      f("cache_mtime_ns", "i64", "st_mtime of its __pycache__ when every archived source in it had a valid .pyc there; 0: it had not, or it is not known"),
      f("first_entry", "u32", "its entries are first_entry … first_entry + entry_count - 1"),
      f("entry_count", "u32", ""),
    ],
  },
  Entry: {
    name: "Entry",
    doc: "An importable name in a folder, as FileFinder would find it. What is not listed is known to be missing.",
    fields: [
      f("folder", "u32", "folder index"),
      f("name", "u32", "string: the tail, e.g. decoder or __init__"),
      f("name_length", "u32", "bytes of it"),
      f("kind", "u8", "entryKind"),
      f("stamp_kind", "u8", "stampKind"),
      f("suffix", "u16", "suffix index of the file (source, extension, sourceless)"),
      f("unit", "u32", "unit index of the code, or none: not archived, ask stock"),
      f("child", "u32", "folder index of NAME/ where that is a folder of the index (always for package and namespace), else none. FileFinder probes NAME/__init__* at every lookup, so for other kinds than package __init__ must still be missing there"),
      f("stamp_file", "u32", "string, the path below the folder of the .pyc that the stamp is of: always of stampKind.pyc, perhaps of stampKind.digest; else none"),
      f("reason", "u32", "string: why no code is archived, or none"),
      f("stamp_mtime", "i64", "see stampKind (seconds or ns)"),
      f("stamp_size", "u64", "see stampKind"),
      f("stamp_digest", "u64", "see stampKind"),
    ],
  },
  Unit: {
    name: "Unit",
    doc: "The objects of one module, or of one source string: pointer-closed, digested, relocated once at first use (a source string's in a copy, at each use).",
    fields: [
      f("data_offset", "u64", "in DATA, 16-byte aligned"),
      f("data_size", "u32", "bytes"),
      f("root", "u32", "offset of the root code object in the unit"),
      f("reloc_offset", "u64", "in the relocations section, 8-byte aligned"),
      f("reloc_size", "u32", "bytes"),
      f("flags", "u32", "0"),
      f("digest", "u64", "XXH3 of the data bytes followed by the relocation bytes"),
    ],
  },
  NameBlock: {
    name: "NameBlock",
    doc: "A run of interned names' str objects: digested once, each interned at first use.",
    fields: [
      f("data_offset", "u64", "in DATA, 16-byte aligned"),
      f("data_size", "u32", "bytes"),
      f("first_name", "u32", "first name index"),
      f("name_count", "u32", ""),
      f("reserved", "u32", "0"),
      f("digest", "u64", "XXH3 of the bytes"),
    ],
  },
  Pure: {
    name: "Pure",
    doc: "The archived result of a pure function: found by kind, flags and text.",
    fields: [
      f("hash", "u64", "of kind, flags and text, before it is cut to the table's size (see the pureHash section)"),
      f("digest", "u64", "pattern: XXH3 of the result; else 0"),
      f("kind", "u32", "pureKind"),
      f("flags", "u32", "see pureKind"),
      f("text", "u32", "the input: offset in the pureData section"),
      f("text_size", "u32", "bytes of it: UTF-8, or those of a bytes pattern"),
      f("result", "u32", "pattern: offset in the pureData section of its PurePattern, 4-byte aligned; source: unit index, of a unit that is copied at each use"),
      f("result_size", "u32", "pattern: bytes of it; source: 0"),
      f("uses", "u32", "source: how many copies one process may have; pattern: 0"),
      f("reserved", "u32", "0"),
    ],
  },
  PurePattern: {
    name: "PurePattern",
    doc: "What _sre.compile is called with besides the pattern. Followed by code_count u32 of code, then name_count groups: a PureGroup, its name in UTF-8, and zeros to the next multiple of 4 bytes.",
    fields: [
      f("flags", "u32", "the pattern's, those written in it included"),
      f("groups", "u32", "number of groups"),
      f("code_count", "u32", "words of code"),
      f("name_count", "u32", "groups with a name"),
    ],
  },
  PureGroup: {
    name: "PureGroup",
    doc: "A group with a name, in groupindex's order.",
    fields: [f("group", "u32", "1 … groups"), f("length", "u32", "bytes of its name")],
  },
  Relocations: {
    name: "Relocations",
    doc:
      "Head of a unit's relocation stream. Then, in this order: group_count RelocationGroup structs; rebuilt_count Rebuilt structs; " +
      "known_count numbers of names (u16 where name_count and first_new are at most 65536, else u32); (name_count + 7) / 8 bytes with a bit for each name of the unit's list, lowest bits first: " +
      "1 takes the next known number, 0 the next of first_new, first_new + 1, …; the rest of the last byte is 0; code_count bytes with codeMask bits; " +
      "slot streams: code objects, internal, one for each group, tuples, names, filename, code versions, rebuilt slots " +
      "(all records' slots in one stream, each record's first slot counted from 0 again); and, to the stream's end, indexes into the unit's list of names (see wideIndex), one for each " +
      "co_name and co_qualname that the masks tell, then one for each item of the tuples, then one for each name slot. A slot stream is a run of bytes: deltas in words of 8 bytes (code versions: 4) from the previous slot " +
      "(from the unit's start for the first); 0xfe is followed by the delta as u16, 0xff as u32, little-endian and unaligned. " +
      "A code object of the first stream, given by its start, has its type, filename, code version and a line table of the unit besides what its mask says; " +
      "a tuple, likewise, its type and as many names as its size says. None of these slots is in another stream.",
    fields: [
      f("internal_count", "u32", "slots: add the unit's mapped start minus its requested start"),
      f("group_count", "u32", "external groups"),
      f("name_count", "u32", "different interned names"),
      f("name_slot_count", "u32", "slots that receive one of them, but for those of code objects and tuples"),
      f("filename_count", "u32", "slots that receive the module's path, but for those of code objects"),
      f("version_count", "u32", "co_version slots (u32), but for those of code objects"),
      f("rebuilt_count", "u32", "objects made at load, children first"),
      f("known_count", "u32", "names that earlier units have too, whose numbers are written out"),
      f("first_new", "u32", "number of the first of the others, which follow one another; without others the highest known number + 1, or 0"),
      f("code_count", "u32", "code objects whose slots follow from their shape"),
      f("tuple_count", "u32", "tuples whose items are names"),
    ],
  },
  RelocationGroup: {
    name: "RelocationGroup",
    doc: "Slots of a unit that point at one external object; more than 65535 of them take several groups, each full but the last. Where every object of a unit lies at its hint, the slots are left as they are.",
    fields: [
      f("external", "u16", "number (abi/externals.ts)"),
      f("count", "u16", "slots"),
      f("hint", "u32", "what the slots hold: the object's address in one machine's interpreter, or 0. Not part of the archive's identity"),
    ],
  },
  Rebuilt: {
    name: "Rebuilt",
    doc: "An object whose layout depends on hashes: made by API from item slots.",
    fields: [
      f("kind", "u32", "rebuiltKind"),
      f("items", "u32", "offset in the unit of the first item slot"),
      f("item_count", "u32", ""),
      f("slot_count", "u32", "slots that receive it"),
    ],
  },
} as const satisfies Record<string, Struct>;

export type StructName = keyof typeof structs;
