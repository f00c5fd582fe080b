/**
 * archive_open() without Python: every kind of bad file is refused with a
 * reason, nothing crashes, and what is accepted keeps the promises of
 * runtime.h (design.md, decisions 6 and 7). Each row of `broken` guards one
 * check of native/runtime/tables.c or archive.c: taking that check out turns
 * the row red. Entries and names are checked at their use: lookup.test.ts.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, mkdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { buildArchive } from "../../src/archive/build.ts";
import { formatVersion, none, sectionKind, stampKind } from "../../src/image/schema.ts";
import { treeInput } from "../archive/input.ts";
import { Damage } from "./damage.ts";
import { coded, damaged, file, good, goodBytes, missing, opened, plain, prepareSample, python, sanitized, scratch, written } from "./sample.ts";
import { harness } from "./support.ts";

prepareSample();

interface Broken {
  readonly what: string;
  readonly why: RegExp;
  readonly make: (damage: Damage) => unknown;
}

const row = (what: string, why: RegExp, make: (damage: Damage) => unknown): Broken => ({ what, why, make });
const stringsSize = (damage: Damage): number => damage.section("strings").size;

/** Well-digested archives with one thing wrong. */
const broken: readonly Broken[] = [
  row("an unknown feature", /features.*0x80/, (d) => d.setHeader({ required_features: 0x80n })),
  row("a base that is not aligned", /base address/, (d) => d.setHeader({ preferred_base: d.header.preferred_base + 4096n })),
  row("no base", /base address/, (d) => d.setHeader({ preferred_base: 0n })),
  row("a base beyond 2^38", /base address/, (d) => d.setHeader({ preferred_base: 1n << 38n })),
  row("a hot part larger than DATA", /hot part/, (d) => d.setHeader({ data_hot_size: 1 << 20 })),
  row("a section beyond the file", /misplaced/, (d) => d.setRow("data", { size: 1n << 40n })),
  row("a section behind the end of the file", /misplaced/, (d) => d.setRow("data", { offset: 1n << 40n })),
  row("a section whose end overflows", /misplaced/, (d) => d.setRow("meta", { size: (1n << 64n) - 16n })),
  row("a section at an odd place", /misplaced/, (d) => d.setRow("folders", { offset: BigInt(d.section("folders").offset) + 4n })),
  row("a section in the header", /misplaced/, (d) => d.setRow("abi", { offset: 0n })),
  row("sections that overlap", /misplaced/, (d) => d.setRow("selfChecks", { offset: BigInt(d.section("abi").offset) })),
  row("DATA off its alignment", /misplaced/, (d) => d.setRow("data", { offset: BigInt(d.section("data").offset) + 16n, size: 16n })),
  row("a section twice", /there twice/, (d) => d.setRow("roots", { kind: sectionKind.suffixes })),
  row("a section missing", /missing/, (d) => d.setRow("nameBlocks", { kind: 77 })),
  row("relocations missing", /missing/, (d) => d.setRow("relocations", { kind: 77 })),
  row("a section behind DATA", /section 16 lies behind DATA/, (d) => {
    // meta's row becomes DATA's, DATA's one an empty relocations section at the end of the file.
    const { offset, size } = d.section("data");
    const [last, end] = [d.rowOf("data"), BigInt((offset + size) & ~15)];
    d.setRow("relocations", { kind: 77 });
    d.setRow("meta", { kind: sectionKind.data, offset: BigInt(offset), size: end - BigInt(offset) });
    d.setRowAt(last, { kind: sectionKind.relocations, offset: end, size: 0n });
  }),
  row("a table that is cut", /has a size/, (d) => d.setRow("entries", { size: BigInt(d.section("entries").size) - 4n })),
  row("no ABI", /ABI descriptions/, (d) => d.setRow("abi", { size: 0n })),
  row("strings without a last NUL", /strings are cut/, (d) => (d.sectionBytes("strings")[stringsSize(d) - 1] = 65)),
  row("no strings", /strings are cut/, (d) => d.setRow("strings", { size: 0n })),
  row("a type offset that is not aligned", /ABI/, (d) => d.set("abi", 0, { type_offset: 9 })),
  row("a type far outside", /ABI/, (d) => d.set("abi", 0, { type_offset: 72 })),
  row("a type behind its object", /ABI/, (d) => d.set("abi", 0, { type_offset: 16, code_basicsize: 16 })),
  row("huge code objects", /ABI/, (d) => d.set("abi", 0, { code_basicsize: 0xffffffff })),
  row("tiny code objects", /ABI/, (d) => d.set("abi", 0, { code_basicsize: 8 })),
  row("too small small ints", /ABI/, (d) => d.set("abi", 0, { small_int_min: -6 })),
  row("too large small ints", /ABI/, (d) => d.set("abi", 0, { small_int_max: 1025 })),
  row("small ints upside down", /ABI/, (d) => d.set("abi", 0, { small_int_min: 5, small_int_max: 4 })),
  row("a builtin function's definition far outside", /ABI/, (d) => d.set("abi", 0, { cfunction_def: 72 })),
  row("half a collector", /ABI/, (d) => d.set("abi", 0, { gc_generations: none })),
  row("a collector off its alignment", /ABI/, (d) => d.set("abi", 0, { gc_callbacks: 220 })),
  row("a count outside of its generation", /ABI/, (d) => d.set("abi", 0, { gc_count: 24 })),
  row("half a table of classes", /ABI/, (d) => d.set("abi", 0, { class_wrapper_base: none })),
  row("a slot of classes off its alignment", /ABI/, (d) => d.set("abi", 0, { class_base: 260 })),
  row("a row of slotdefs that ends before its name", /ABI/, (d) => d.set("abi", 0, { class_slotdef_size: 48 })),
  row("a class that ends before its module", /ABI/, (d) => d.set("abi", 0, { class_size: 880 })),
  row("a collector far outside", /ABI/, (d) => d.set("abi", 0, { gc_enabled: 8192 })),
  row("an unknown self-check", /self-check \d+ is unknown/, (d) => d.set("selfChecks", d.rows("selfChecks").length - 1, { what: 3 })),
  row("an unknown subject", /self-check \d+ is unknown/, (d) => d.set("selfChecks", d.rows("selfChecks").length - 1, { subject: 2 })),
  row("the size of a code object's field", /self-check/, (d) => d.set("selfChecks", 0, { subject: 0, what: 2 })),
  row("a field of a type", /self-check/, (d) => d.set("selfChecks", 0, { subject: 1, what: 0 })),
  row("a self-check without a name", /self-check 0/, (d) => d.set("selfChecks", 0, { name: stringsSize(d) })),
  row("a self-check outside of the object", /outside of a code/, (d) => d.set("selfChecks", d.rows("selfChecks").length - 1, { offset: d.rows("abi")[0]?.code_basicsize ?? 0 })),
  row("a self-check off its alignment", /outside of a code/, (d) => d.set("selfChecks", d.rows("selfChecks").length - 1, { offset: 20 })),
  row("roots that are cut", /section 4 has a size/, (d) => d.setRow("roots", { size: 4n })),
  row("a root without a name", /root 0/, (d) => d.set("roots", 0, { name: none })),
  row("a root without a path", /root 0/, (d) => d.set("roots", 0, { path: none })),
  row("a suffix without text", /suffix 0/, (d) => d.set("suffixes", 0, { suffix: stringsSize(d) })),
  row("a suffix of another length", /suffix 0/, (d) => d.set("suffixes", 0, { length: 1 })),
  row("an unknown loader", /suffix 0/, (d) => d.set("suffixes", 0, { loader: 3 })),
  row("a folder without a path", /folder 1/, (d) => d.set("folders", 1, { path: none })),
  row("a folder of endless path", /folder 1/, (d) => d.set("folders", 1, { path_length: none })),
  row("a folder under no root", /folder 1/, (d) => d.set("folders", 1, { root: 9 })),
  row("a folder nowhere below its root", /folder 1/, (d) => d.set("folders", 1, { relative: none })),
  row("a folder with too many entries", /folder 0/, (d) => d.set("folders", 0, { entry_count: none })),
  row("a folder whose entries overflow", /folder 0/, (d) => d.set("folders", 0, { first_entry: none, entry_count: 2 })),
  row("a folder hash of no power of two", /power of two/, (d) => d.setRow("folderHash", { size: BigInt(d.section("folderHash").size) - 4n })),
  row("a folder hash without slots", /power of two/, (d) => d.setRow("folderHash", { size: 0n })),
  row("a folder hash out of range", /folder hash names/, (d) => d.setWord("folderHash", 0, d.rows("folders").length + 1)),
  row("a full folder hash", /folder hash has no empty/, (d) => d.sectionBytes("folderHash").forEach((_, at) => at % 4 === 0 && d.setWord("folderHash", at / 4, 1))),
  row("an entry hash out of range", /entry hash names/, (d) => d.setWord("entryHash", 0, none)),
  row("a full entry hash", /entry hash has no empty/, (d) => d.words("entryHash").forEach((_, at) => d.setWord("entryHash", at, 1))),
  row("a unit off its alignment", /unit 1 is misplaced/, (d) => d.set("units", 1, { data_offset: (d.rows("units")[1]?.data_offset ?? 0n) + 8n })),
  row("a unit beyond DATA", /unit 4 is misplaced/, (d) => d.set("units", 4, { data_size: none })),
  row("a unit whose end overflows", /unit 4 is misplaced/, (d) => d.set("units", 4, { data_offset: (1n << 64n) - 16n })),
  row("units that overlap", /unit 1 is misplaced/, (d) => d.set("units", 1, { data_offset: 0n })),
  row("a unit without room for its code", /unit 0 is misplaced/, (d) => d.set("units", 0, { root: (d.rows("units")[0]?.data_size ?? 0) & ~15 })),
  row("a root off its alignment", /unit 0 is misplaced/, (d) => d.set("units", 0, { root: 4 })),
  row("relocations off their alignment", /unit 1 has impossible/, (d) => d.set("units", 1, { reloc_offset: (d.rows("units")[1]?.reloc_offset ?? 0n) + 4n })),
  row("relocations without a head", /unit 1 has impossible/, (d) => d.set("units", 1, { reloc_size: 31 })),
  row("relocations beyond their section", /unit 4 has impossible/, (d) => d.set("units", 4, { reloc_size: none })),
  row("unknown unit flags", /unit 1 has impossible/, (d) => d.set("units", 1, { flags: 1 })),
  row("names over a unit", /name block 0 is misplaced/, (d) => d.set("nameBlocks", 0, { data_offset: 0n })),
  row("names beyond DATA", /name block 0 is misplaced/, (d) => d.set("nameBlocks", 0, { data_size: none })),
  row("names off their alignment", /name block 0 is misplaced/, (d) => d.set("nameBlocks", 0, { data_offset: (d.rows("nameBlocks")[0]?.data_offset ?? 0n) + 8n, data_size: (d.rows("nameBlocks")[0]?.data_size ?? 0) - 8 })),
  row("a gap before the first name", /name block 0 has the wrong/, (d) => d.set("nameBlocks", 0, { first_name: 1 })),
  row("more names than there are", /name block 0 has the wrong/, (d) => d.set("nameBlocks", 0, { name_count: none })),
  row("names in no block", /are in no block/, (d) => d.set("nameBlocks", 0, { name_count: (d.rows("nameBlocks")[0]?.name_count ?? 1) - 1 })),
];

describe.skipIf(python === undefined)(`archive_open${missing}`, () => {
  it("opens a good archive", () => {
    expect(harness(plain, ["open", good]).stdout).toBe("ok\n");
    expect(harness(sanitized, ["open", good]).stdout).toBe("ok\n");
  });

  it("refuses what is not a regular file of its own", () => {
    execFileSync("mkfifo", [file("fifo")]);
    mkdirSync(file("directory"));
    expect(opened(file("missing"), file("directory"), file("fifo"), "/dev/null", written("empty", new Uint8Array()), written("text", Buffer.from("#!/bin/sh\n".repeat(99))))).toEqual([
      "refused: it cannot be opened: No such file or directory",
      "refused: it is a directory",
      "refused: it is not a regular file",
      "refused: it is not a regular file",
      "refused: it is empty",
      "refused: it is not a PyCDS archive",
    ]);
  });

  it.each([0o664, 0o646, 0o666])("refuses mode %o: others could write it", (mode) => {
    copyFileSync(good, file("mode"));
    chmodSync(file("mode"), mode);
    expect(opened(file("mode"))[0]).toMatch(/^refused: others may write it/);
  });

  it.skipIf(process.getuid?.() !== 0)("refuses another user's file, but not that of the runtime's owner (needs root)", () => {
    copyFileSync(good, file("theirs"));
    chownSync(file("theirs"), 12_345, 12_345);
    expect(opened(file("theirs"))[0]).toMatch(/^refused: it belongs to user 12345/);
    // dladdr names the harness here, as it names _pycds.so in a process of Python's.
    copyFileSync(plain, file("harness-theirs"));
    chmodSync(file("harness-theirs"), 0o755);
    chownSync(file("harness-theirs"), 12_345, 12_345);
    expect(harness(file("harness-theirs"), ["open", file("theirs")]).stdout).toMatch(/^ok/);
  });

  it("refuses foreign byte order, other versions and other sizes", () => {
    const swapped = damaged().setHeader({ byte_order: 0x04030201 }).sealedHeader();
    const version = damaged().setHeader({ format_version: formatVersion + 1 }).sealedHeader();
    const sections = damaged().setHeader({ section_count: 65 }).bytes;
    const table = new Damage(goodBytes().slice(0, 400)).setHeader({ file_size: 400n }).bytes;
    expect(opened(written("a", swapped), written("b", version), written("c", new Uint8Array([...goodBytes(), 0])), written("d", sections), written("e", table))).toEqual([
      "refused: it is for another byte order (0x04030201)",
      `refused: its format version is ${formatVersion + 1}, this runtime knows ${formatVersion}`,
      `refused: it is truncated or extended: ${goodBytes().byteLength + 1} bytes, its header says ${goodBytes().byteLength}`,
      "refused: its header is damaged (65 sections)",
      "refused: its section table is truncated",
    ]);
  });

  it("refuses an archive cut anywhere: at every section's edges and around", () => {
    const whole = damaged();
    const edges = Object.keys(sectionKind).flatMap((name) => {
      const { offset, size } = whole.section(name as keyof typeof sectionKind);
      return [offset - 1, offset, offset + 1, offset + size - 1, offset + size];
    });
    const cuts = [...new Set([1, 7, 199, 200, 201, ...edges])].filter((size) => size < goodBytes().byteLength);
    const answers = opened(...cuts.map((size) => written(`cut-${size}`, goodBytes().slice(0, size))));
    expect(answers).toHaveLength(cuts.length);
    for (const answer of answers) expect(answer).toMatch(/^refused: it is truncated/);
  });

  it("refuses a flip of any byte of header, section table and tables", () => {
    expect(harness(sanitized, ["flip", good, scratch]).stdout).toMatch(/^tried=\d{4,}\n$/);
  }, 120_000);

  it.each(broken)("refuses $what", ({ what, why, make }) => {
    const damage = damaged();
    make(damage);
    const [answer] = opened(written(what.replaceAll(/[^a-z0-9]/gi, "-"), damage.sealed()));
    expect(answer).toMatch(/^refused: /);
    expect(answer).toMatch(why);
  });

  it("accepts an archive that has an index and nothing else", () => {
    if (python === undefined) return;
    const { bytes } = buildArchive({ ...treeInput(python, file("tree")), modules: [], traced: 0 });
    expect(new Damage(bytes).section("data").size).toBe(0);
    expect(opened(written("index-only", bytes))).toEqual(["ok"]);
  });

  it("accepts what is unknown but not required", () => {
    const sealed = damaged().setHeader({ required_features: 3n });
    sealed.set("entries", coded(sealed), { stamp_kind: stampKind.none });
    const unread = damaged().setRow("meta", { kind: 99 });
    expect(opened(written("sealed", sealed.sealed()), written("unread", unread.sealed())).map((answer) => answer.slice(0, 2))).toEqual(["ok", "ok"]);
  });
});
