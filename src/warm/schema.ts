/**
 * The one schema of the warm image (`*.warm`). The writer, the reader, the C
 * header (native/include/pycds_warm_format.h) and docs/warm-format.md come from it.
 *
 * A warm image is an executable: the static restorer, padded to a page, then the
 * image. The restorer finds the image through its ImageSlot, whose mark stands once
 * in its bytes and whose offset the writer fills in.
 *
 * The image is a WarmHeader, its tables and the strings (the *tables*, which the
 * restorer maps as one), then page-aligned memory of the parked process. Offsets of
 * tables are in bytes from the image's start; those of memory in the image are from
 * the file's start. Strings are NUL-terminated; a string reference is an offset in
 * the string table. All numbers are little-endian; `none` (0xffffffff) is "no string".
 */
import { f } from "../image/schema.ts";
import type { Struct } from "../image/schema.ts";

export const warmMagic = Uint8Array.of(0x50, 0x59, 0x57, 0x41, 0x52, 0x4d, 0x0d, 0x0a); // "PYWARM\r\n"
export const warmFormatVersion = 4;
/** First bytes of the ImageSlot in the restorer's file. */
export const slotMark = "PyCDS image slot";
export const pageSize = 4096;
export const signalCount = 64;

/** Room for ranges of hot pages; they are found by starting the image once when it is written. */
export const hotCapacity = 1024;

/** Bits of WarmHeader.flags; a bit that the restorer does not know means refuse. */
export const warmFlag = {
  /** Sources and folders are not stat'ed; files that are mapped still are. */
  sealed: 1,
  /** The image takes the interpreter's own arguments: what needs the stock start is refused. */
  interpreter: 2,
  /** sys.path begins with the folder that a start stands in (-m and -c); the image's own is `folder`. */
  currentFolder: 4,
  /** Modules came from that folder: started elsewhere, they would not be found. */
  needsFolder: 8,
  /** The folder of a script, or the current one, is not put on sys.path (PYTHONSAFEPATH). */
  safePath: 16,
} as const;

/** WarmSegment.kind: where a range of the parked process's memory comes from. */
export const segmentKind = {
  /** from the image */
  image: 0,
  /** anonymous, zero */
  zero: 1,
  /** from the original file, whose page was clean */
  original: 2,
  /** anonymous, zero, and wiped on fork again (MADV_WIPEONFORK) */
  wipe: 3,
  /** a part of the vDSO's own mappings, moved here by mremap */
  vdso: 4,
  /** anonymous, with contents that are read from the image: memory that must be able to grow in place */
  copied: 5,
} as const;

export const warmStructs = {
  ImageSlot: {
    name: "WarmSlot",
    doc: "In the restorer's data: where the image begins in the file.",
    fields: [f("mark", { bytes: 16 }, "slotMark"), f("image_offset", "u64", "from the file's start, page-aligned; 0: no image")],
  },
  State: {
    name: "WarmState",
    doc: "What only the parked process itself can tell: registers, and what the kernel keeps for its thread. Filled in by native/warm/park.c, copied into the image.",
    fields: [
      f("rbx", "u64", "registers that a call preserves, as they are behind save_registers()"),
      f("rbp", "u64", ""),
      f("r12", "u64", ""),
      f("r13", "u64", ""),
      f("r14", "u64", ""),
      f("r15", "u64", ""),
      f("rsp", "u64", ""),
      f("rip", "u64", ""),
      f("mxcsr", "u32", "SSE control and status"),
      f("fpu_control", "u32", "x87 control word"),
      f("fs_base", "u64", "thread pointer"),
      f("tid_address", "u64", "cleared and woken at thread exit; holds the thread's ID"),
      f("robust_list", "u64", "head of the robust futexes"),
      f("robust_size", "u64", "bytes of that head"),
      f("rseq", "u64", "restartable-sequence area, or 0"),
      f("rseq_size", "u32", "bytes that were registered"),
      f("rseq_signature", "u32", "RSEQ_SIG"),
      f("brk_start", "u64", "begin of the heap segment"),
      f("brk_end", "u64", "its present end"),
      f("altstack", "u64", "sigaltstack: base"),
      f("altstack_size", "u64", "bytes"),
      f("altstack_flags", "u32", "ss_flags; SS_DISABLE: none"),
      f("pid", "u32", "the parked process's ID, as the kernel gives it; its parent's is parent_pid"),
      f("parent_pid", "u32", ""),
      f("fake_pid", "i32", "what getpid() gave while the image was built"),
      f("stack_limit", "u64", "RLIMIT_STACK as room for the main stack, bytes"),
      f("cpu", { bytes: 64 }, "CPUID 1, 7, 80000001 and XGETBV, without what differs by core"),
    ],
  },
  Signal: {
    name: "WarmSignal",
    doc: "The kernel's sigaction of one signal; signal 1 first.",
    fields: [f("handler", "u64", "0 default, 1 ignored"), f("flags", "u64", ""), f("restorer", "u64", ""), f("mask", "u64", "")],
  },
  Header: {
    name: "WarmHeader",
    doc: "At the image's start.",
    fields: [
      f("magic", { bytes: 8 }, '"PYWARM\\r\\n"'),
      f("byte_order", "u32", "0x01020304 as the target reads it"),
      f("format_version", "u32", "4"),
      f("flags", "u32", "warmFlag bits"),
      f("header_size", "u32", "bytes of this struct"),
      f("file_size", "u64", "bytes in the file"),
      f("tables_size", "u64", "bytes of header, tables and strings; a multiple of the page size"),
      f("tables_digest", "u64", "XXH3 of the tables with this field 0"),
      f("memory_digest", "u64", "XXH3 of all that follows the tables"),
      f("created", "i64", "seconds since 1970"),
      f("expires", "i64", "seconds since 1970 after which it is refused (--rotate), or 0"),
      f("owner", "u32", "user ID that it was built for"),
      f("state_offset", "u32", "one WarmState"),
      f("signals_offset", "u32", "64 WarmSignal structs"),
      f("segments_offset", "u32", "WarmSegment structs"),
      f("segment_count", "u32", ""),
      f("files_offset", "u32", "WarmFile structs: originals that segments are mapped from"),
      f("file_count", "u32", ""),
      f("folders_offset", "u32", "WarmFolder structs"),
      f("folder_count", "u32", ""),
      f("stamps_offset", "u32", "WarmStamp structs, by folder"),
      f("stamp_count", "u32", ""),
      f("variables_offset", "u32", "WarmVariable structs: the environment that imports depend on"),
      f("variable_count", "u32", ""),
      f("prefixed_count", "u32", "how many variables with a watched prefix were set"),
      f("command_offset", "u32", "u32 strings: the program that is executed when the image is refused, then its first arguments"),
      f("command_count", "u32", ""),
      f("strings_offset", "u32", "the string table"),
      f("strings_size", "u32", "bytes"),
      f("vdso_offset", "u32", "a copy of the vDSO's code"),
      f("vdso_size", "u32", "bytes"),
      f("meta_offset", "u32", "JSON for people and tools"),
      f("meta_size", "u32", "bytes"),
      f("vdso_address", "u64", "where the vDSO's code was"),
      f("stack_low", "u64", "the main stack's room: its begin"),
      f("stack_high", "u64", "its end"),
      f("stack_saved", "u64", "from here to stack_high its contents are in the image"),
      f("stack_offset", "u64", "file offset of these contents"),
      f("stack_floor", "u64", "end of what lies below the stack's room, which a larger RLIMIT_STACK may extend it to"),
      f("sizes_offset", "u64", "file offset of JSON for people and tools: bytes of Python objects by module"),
      f("sizes_size", "u64", "bytes"),
      f("names_offset", "u32", "u64 digests, ascending: top-level names that imports found or missed, and that a file beside the program would take over"),
      f("name_count", "u32", ""),
      f("folder", "u32", "string: the current folder that the image was built in"),
      f("renew_offset", "u32", "u32 strings: a lock file, then the command that builds the image again once it is too old"),
      f("renew_count", "u32", ""),
      f("hot_offset", "u32", "WarmHot structs: pages that every start writes to"),
      f("hot_count", "u32", ""),
      f("reserved", "u32", "0"),
    ],
  },
  Segment: {
    name: "WarmSegment",
    doc: "A range of memory with one protection and one source. Segments of one original stand together; the main stack is none of them.",
    fields: [
      f("address", "u64", ""),
      f("size", "u64", "bytes"),
      f("offset", "u64", "image, copied: in this file; original: in that file; else 0"),
      f("protection", "u32", "PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4"),
      f("kind", "u16", "segmentKind"),
      f("file", "u16", "original: its index; image: 1 for what was anonymous memory, 0 for a file's own copy; else 0"),
    ],
  },
  File: {
    name: "WarmFile",
    doc: "A file that memory is mapped from, or whose pages the image has. It must be unchanged, also for a sealed image: where inode or ctime differ, its contents decide.",
    fields: [
      f("mtime_ns", "i64", "st_mtime"),
      f("ctime_ns", "i64", "st_ctime"),
      f("size", "u64", "st_size"),
      f("inode", "u64", "st_ino"),
      f("digest", "u64", "XXH3 of its contents"),
      f("path", "u32", "string"),
      f("embedded", "u32", "1: all its pages are in the image, and no segment is mapped from it; else 0"),
    ],
  },
  Hot: {
    name: "WarmHot",
    doc: "A range of pages, as process_madvise(2) takes it (struct iovec).",
    fields: [f("address", "u64", ""), f("size", "u64", "bytes")],
  },
  Folder: {
    name: "WarmFolder",
    doc: "A folder whose files are checked by name.",
    fields: [f("path", "u32", "string"), f("first_stamp", "u32", ""), f("stamp_count", "u32", ""), f("reserved", "u32", "0")],
  },
  Stamp: {
    name: "WarmStamp",
    doc: "How a file or folder must still look.",
    fields: [
      f("mtime_ns", "i64", "st_mtime"),
      f("size", "u64", "st_size; of a folder whose mtime differs the listing decides: XXH3 of the names that can be imported, combined by exclusive or"),
      f("name", "u32", "string: name in the folder; empty: the folder itself"),
      f("mode", "u32", "st_mode & S_IFMT; 0: it must be missing"),
    ],
  },
  Variable: {
    name: "WarmVariable",
    doc: "An environment variable that imports saw.",
    fields: [f("name", "u32", "string"), f("value", "u32", "string, or none: it was not set")],
  },
} as const satisfies Record<string, Struct>;

/** The lowest bit of a name's digest: set where a plain folder of that name would be found too (a name that was missing, or a namespace package's). */
export const folderCounts = 1n;

/** Variables with these prefixes are watched as a whole: those that were set, and no others, with the same values. */
export const watchedPrefixes = ["PYTHON", "LC_", "LD_", "GLIBC_", "MALLOC_"] as const;
/** Watched one by one, whether an import read them or not. */
export const watchedVariables = ["LANG", "LANGUAGE", "HOME", "VIRTUAL_ENV"] as const;
