/** Round trips driven by the schema: every struct, slot streams, relocation streams, hash tables. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteReader, ByteWriter } from "../../src/base/bytes.ts";
import { codecs, decodeTable, encodeTable, paddedText, padText, viewOf } from "../../src/image/codec.ts";
import type { RecordOf } from "../../src/image/codec.ts";
import { buildHashTable, entryHash, folderHash, probe } from "../../src/image/hash.ts";
import { layoutOf, structs } from "../../src/image/schema.ts";
import type { Field, StructName } from "../../src/image/schema.ts";
import { decodeRelocations, decodeSlots, encodeRelocations, encodeSlots } from "../../src/image/slots.ts";

const checkout = fileURLToPath(new URL("../..", import.meta.url));

function arbitraryField({ type }: Field): fc.Arbitrary<number | bigint | Uint8Array> {
  if (typeof type !== "string") return fc.uint8Array({ minLength: type.bytes, maxLength: type.bytes });
  switch (type) {
    case "u8":
      return fc.integer({ min: 0, max: 0xff });
    case "u16":
      return fc.integer({ min: 0, max: 0xffff });
    case "u32":
      return fc.integer({ min: 0, max: 0xffffffff });
    case "i32":
      return fc.integer({ min: -0x80000000, max: 0x7fffffff });
    case "u64":
      return fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    case "i64":
      return fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });
  }
}

function arbitraryRecord<N extends StructName>(name: N): fc.Arbitrary<RecordOf<N>> {
  const fields: readonly Field[] = structs[name].fields;
  const shape = Object.fromEntries(fields.map((field) => [field.name, arbitraryField(field)]));
  // The arbitraries follow the schema field by field, as RecordOf does.
  return fc.record(shape) as unknown as fc.Arbitrary<RecordOf<N>>;
}

describe("struct codec", () => {
  for (const name of Object.keys(structs) as StructName[]) {
    it(`${name}: what is written is read back, field by field`, () => {
      fc.assert(
        fc.property(fc.array(arbitraryRecord(name), { maxLength: 4 }), (records) => {
          const bytes = encodeTable(name, records);
          expect(bytes.byteLength).toBe(records.length * layoutOf(structs[name]).size);
          expect(decodeTable(name, bytes)).toEqual(records);
        }),
        { numRuns: 50 },
      );
    });
  }

  it("refuses numbers that do not fit instead of cutting them", () => {
    const record = { external: 0, count: 0, hint: 0 };
    for (const bad of [-1, 0x1_0000, 1.5, Number.NaN]) expect(() => encodeTable("RelocationGroup", [{ ...record, count: bad }])).toThrow(RangeError);
    expect(() => encodeTable("Unit", [{ data_offset: -1n, data_size: 0, root: 0, reloc_offset: 0n, reloc_size: 0, flags: 0, digest: 0n }])).toThrow(RangeError);
  });

  it("writes little-endian at the schema's offsets", () => {
    const bytes = encodeTable("Suffix", [{ suffix: 0x01020304, length: 5, loader: 6 }]);
    expect([...bytes]).toEqual([4, 3, 2, 1, 5, 0, 0, 0, 6, 0, 0, 0]);
    expect(codecs.Suffix.offsetOf("loader")).toBe(8);
  });

  it("pads text with NULs and takes nothing else back", () => {
    expect(paddedText(padText("linux-x86_64", 32))).toBe("linux-x86_64");
    expect(() => padText("x".repeat(32), 32)).toThrow(RangeError);
    expect(paddedText(Uint8Array.of(0x61, 0, 0x62))).toBeUndefined();
    expect(paddedText(Uint8Array.of(0xff, 0))).toBeUndefined();
  });
});

const slotsOf = (width: 4 | 8): fc.Arbitrary<number[]> => fc
  .array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(0xfd, 0xfe, 0xff, 0x100, 0xffff, 0x10000, 0x12345678)), { maxLength: 40 })
  .map((deltas) => {
    let at = -width;
    return deltas.map((delta) => (at += delta * width));
  });
const slotList = slotsOf(8);

describe("slot streams", () => {
  it.each([4, 8] as const)("round trip in words of %i, with deltas around the escapes", (width) => {
    fc.assert(
      fc.property(slotsOf(width), (slots) => {
        const writer = new ByteWriter();
        encodeSlots(writer, slots, width);
        const reader = new ByteReader(writer.done());
        expect(decodeSlots(reader, slots.length, width)).toEqual(slots);
        expect(reader.remaining).toBe(0);
      }),
    );
  });

  it("is the documented encoding", () => {
    const writer = new ByteWriter();
    let at = 0;
    encodeSlots(writer, [0, 2, 0xfd, 0xfe, 0xffff, 0x10000, 0x12345678].map((words) => (at += words * 8)), 8);
    expect([...writer.done()]).toEqual([0, 2, 0xfd, 0xfe, 0xfe, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0xff, 0x78, 0x56, 0x34, 0x12]);
  });

  it("refuses slots that go back or lie between words", () => {
    expect(() => encodeSlots(new ByteWriter(), [8, 0], 8)).toThrow(RangeError);
    expect(() => encodeSlots(new ByteWriter(), [4], 8)).toThrow(RangeError);
    expect(() => encodeSlots(new ByteWriter(), [2], 4)).toThrow(RangeError);
  });
});

/** Names of a few units: more than fit into an index of one byte. */
const manyNames = fc.constant(Array.from({ length: 700 }, (_, slot) => ({ slot: slot * 8, name: (slot * 7) % 300 })));

const relocations = fc.record({
  internal: slotList,
  external: fc.array(fc.tuple(fc.integer({ min: 0, max: 2053 }), slotList.filter((slots) => slots.length > 0)), { maxLength: 5 })
    .map((groups) => new Map([...new Map(groups)].sort(([a], [b]) => a - b))),
  names: fc.oneof({ weight: 9, arbitrary: slotList.chain((slots) => fc.tuple(...slots.map((slot) => fc.integer({ min: 0, max: 1e6 }).map((name) => ({ slot, name }))))) }, { weight: 1, arbitrary: manyNames }),
  filename: slotList,
  codeVersion: slotsOf(4),
  rebuilt: fc.array(fc.record({ kind: fc.constant("frozenset" as const), items: fc.integer({ min: 0, max: 1e6 }), count: fc.integer({ min: 0, max: 9 }), slots: slotList }), { maxLength: 4 }),
});

describe("relocation streams", () => {
  it("round trip", () => {
    fc.assert(
      fc.property(relocations, (each) => {
        expect(decodeRelocations(encodeRelocations(each))).toEqual(each);
      }),
    );
  });

  it("have groups of at most 65535 slots", () => {
    const slots = Array.from({ length: 140_000 }, (_, index) => index * 8);
    const each = { internal: [], external: new Map([[3, slots], [5, [8]]]), names: [], filename: [], codeVersion: [], rebuilt: [] };
    const bytes = encodeRelocations(each);
    expect(codecs.Relocations.read(viewOf(bytes), 0).group_count).toBe(4);
    expect(decodeRelocations(bytes)).toEqual(each);
  });

  it("do not depend on the order in which groups were made, and drop empty ones", () => {
    const empty = { internal: [], names: [], filename: [], codeVersion: [], rebuilt: [] };
    const one = encodeRelocations({ ...empty, external: new Map([[7, [8]], [3, [16]], [5, []]]) });
    const other = encodeRelocations({ ...empty, external: new Map([[3, [16]], [7, [8]]]) });
    expect(one).toEqual(other);
  });

  it("any cut, byte too many, or flip ends in a PycdsError or another stream, never in a crash or a hang", () => {
    fc.assert(
      fc.property(relocations, fc.nat(), fc.integer({ min: 1, max: 255 }), (each, position, mask) => {
        const bytes = encodeRelocations(each);
        const cut = bytes.subarray(0, position % bytes.byteLength);
        expect(() => decodeRelocations(cut)).toThrow(expect.objectContaining({ name: "PycdsError" }));
        expect(() => decodeRelocations(Uint8Array.of(...bytes, 0))).toThrow(expect.objectContaining({ name: "PycdsError" }));
        const at = position % bytes.byteLength;
        // Hints are no part of what a stream says (src/image/prelink.ts); they are covered by the unit's digest.
        const inGroups = at - codecs.Relocations.size;
        const { group_count } = codecs.Relocations.read(viewOf(bytes), 0);
        fc.pre(inGroups < 0 || inGroups >= group_count * codecs.RelocationGroup.size || inGroups % codecs.RelocationGroup.size < codecs.RelocationGroup.offsetOf("hint"));
        const flipped = bytes.slice();
        flipped[position % bytes.byteLength] = (flipped[position % bytes.byteLength] ?? 0) ^ mask;
        try {
          expect(decodeRelocations(flipped)).not.toEqual(each);
        } catch (error) {
          expect(error).toMatchObject({ name: "PycdsError" });
        }
      }),
    );
  });

  it("refuses a count that the stream cannot hold before it allocates for it", () => {
    for (let huge = 0; huge < 8; huge++) {
      const head = new ByteWriter();
      for (let count = 0; count < 11; count++) head.u32(count === huge ? 0xffffffff : 0);
      expect(() => decodeRelocations(head.done()), `count ${huge}`).toThrow(expect.objectContaining({ code: "IMAGE_RELOCATIONS" }));
    }
  });
});

describe("hash tables", () => {
  const folders = Array.from({ length: 300 }, (_, index) => `/lib/python/folder-${index}/größe`);
  const tails = Array.from({ length: 20_000 }, (_, index) => ({ tail: `module_${index % 997}_ü${index}`, folder: index % 300 }));

  it("finds each of many entries and folders, and nothing else", () => {
    const entryTable = buildHashTable(tails.map(({ tail, folder }) => entryHash(tail, folder)));
    tails.forEach(({ tail, folder }, index) => {
      expect(probe(entryTable, entryHash(tail, folder), (found) => tails[found]?.tail === tail && tails[found]?.folder === folder)).toBe(index);
      expect(probe(entryTable, entryHash(tail, folder + 1), (found) => tails[found]?.tail === tail && tails[found]?.folder === folder + 1)).toBeUndefined();
    });
    const folderTable = buildHashTable(folders.map(folderHash));
    folders.forEach((path, index) => expect(probe(folderTable, folderHash(path), (found) => folders[found] === path)).toBe(index));
    expect(probe(folderTable, folderHash("/nowhere"), (found) => folders[found] === "/nowhere")).toBeUndefined();
  });

  it("are powers of two with an empty slot, down to no items at all", () => {
    for (const count of [0, 1, 2, 3, 4, 5, 100]) {
      const table = buildHashTable(Array.from({ length: count }, (_, index) => BigInt(index * 64)));
      expect(Math.log2(table.length) % 1).toBe(0);
      expect(table.includes(0)).toBe(true);
      expect([...table].filter((value) => value !== 0).sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, index) => index + 1));
    }
  });

  it("ends in a full table too", () => {
    expect(probe(Uint32Array.of(1, 2, 3, 4), 0n, () => false)).toBeUndefined();
  });

  const hasCompiler = spawnSync("cc", ["--version"]).status === 0;
  it.skipIf(!hasCompiler)("hash as C does with the header's factor and the vendored XXH3 (needs cc)", () => {
    const folder = mkdtempSync(join(tmpdir(), "pycds-test-"));
    try {
      writeFileSync(join(folder, "hash.c"), `
        #define XXH_INLINE_ALL
        #include <inttypes.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include "native/vendor/xxhash.h"
        #include "native/include/pycds_format.h"
        int main(void) {
          char tail[256]; unsigned folder;
          static const uint8_t magic[PYCDS_MAGIC_SIZE] = PYCDS_MAGIC;
          if (memcmp(magic, "PYCDS\\r\\n\\x1a", sizeof magic) != 0) return 1;
          while (scanf("%u %255s", &folder, tail) == 2) {
            uint64_t hash = XXH3_64bits(tail, strlen(tail));
            printf("%" PRIu64 " %" PRIu64 "\\n", hash, (hash ^ (uint64_t)folder * PYCDS_ENTRY_HASH_FACTOR) >> 7);
          }
          return 0;
        }`);
      execFileSync("cc", ["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", checkout, "-o", join(folder, "hash"), join(folder, "hash.c")]);
      const asked = tails.slice(0, 2000);
      const out = execFileSync(join(folder, "hash"), { input: asked.map((each) => `${each.folder} ${each.tail}\n`).join(""), encoding: "utf8" });
      expect(out.trim().split("\n")).toEqual(asked.map((each) => `${folderHash(each.tail)} ${entryHash(each.tail, each.folder)}`));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("generated files", () => {
  it("are what the schema makes (tools/gen-format.ts --check)", () => {
    const tool = fileURLToPath(new URL("../../tools/gen-format.ts", import.meta.url));
    const run = spawnSync(process.execPath, ["--import", "tsx", tool, "--check"], { encoding: "utf8", cwd: checkout });
    expect(run.stderr).toBe("");
    expect(run.status).toBe(0);
  });
});
