/**
 * Damage, driven by the schema: whatever byte or field is changed, opening or
 * verifying must say so, with an offset, and never throw anything else.
 */
import { describe, expect, it } from "vitest";
import { codecs, viewOf } from "../../src/image/codec.ts";
import { ImageError } from "../../src/image/faults.ts";
import { checkImage, openImage } from "../../src/image/reader.ts";
import { features, fieldSize, formatVersion, layoutOf, sectionKind, structs } from "../../src/image/schema.ts";
import type { Field, SectionName, StructName } from "../../src/image/schema.ts";
import { sectionOrder, tableStruct } from "../../src/image/sections.ts";
import type { TableName } from "../../src/image/sections.ts";
import { verifyFile } from "../../src/inspect/verify.ts";
import { place, resign, sampleImage } from "./sample.ts";

const sound = sampleImage();

function flipped(at: number, mask = 0x10): Uint8Array {
  const bytes = sound.slice();
  bytes[at] = (bytes[at] ?? 0) ^ mask;
  return bytes;
}

function fieldsOf(name: StructName): readonly (Field & { readonly offset: number })[] {
  const { offsets } = layoutOf(structs[name]);
  const fields: readonly Field[] = structs[name].fields;
  return fields.map((field) => ({ ...field, offset: offsets.get(field.name) ?? 0 }));
}

function expectProblem(bytes: Uint8Array, where: string): void {
  const { ok, problems } = verifyFile(bytes, "damaged.pycds");
  expect(ok, where).toBe(false);
  expect(problems.length, where).toBeGreaterThan(0);
  JSON.stringify(problems);
}

describe("a sound archive", () => {
  it("opens and verifies, and tells where the index leads", () => {
    expect(verifyFile(sound, "sound.pycds").problems).toEqual([]);
    const image = openImage(sound, "sound.pycds");
    expect(image.findFolder("/app/pkg")).toBe(1);
    expect(image.findFolder("/app/pk")).toBeUndefined();
    expect(image.entries[image.findEntry(0, "mod") ?? -1]?.unit).toBe(0);
    expect(image.findEntry(1, "mod")).toBeUndefined();
    expect(image.meta().modules.map(({ name }) => name)).toEqual(["mod", "pkg"]);
  });
  it("signed again without a change is the same", () => {
    expect(resign(sound, () => undefined)).toEqual(sound);
  });
});

describe("flipped bytes", () => {
  for (const { name, type, offset } of fieldsOf("FileHeader")) {
    it(`header field ${name}: each byte`, () => {
      for (let at = offset; at < offset + fieldSize(type); at++) {
        const { faults } = checkImage(flipped(at), "damaged.pycds");
        expect(faults.length, `byte ${at}`).toBeGreaterThan(0);
        for (const fault of faults) expect(fault).toMatchObject({ name: "PycdsError", file: "damaged.pycds", offset: expect.any(Number) as unknown });
      }
    });
  }
  for (const { name, type, offset } of fieldsOf("Section")) {
    it(`section table field ${name}: each byte of each row`, () => {
      sectionOrder.forEach((_, row) => {
        for (let at = 0; at < fieldSize(type); at++) {
          const position = codecs.FileHeader.size + row * codecs.Section.size + offset + at;
          expect(checkImage(flipped(position), "x").faults.length, `byte ${position}`).toBeGreaterThan(0);
        }
      });
    });
  }
  for (const name of sectionOrder) {
    it(`section ${name}: first, middle and last byte`, () => {
      const { offset, size } = place(sound, name);
      expect(size).toBeGreaterThan(0);
      for (const at of [offset, offset + (size >> 1), offset + size - 1]) expectProblem(flipped(at), `byte ${at}`);
    });
  }
  it("each byte of each unit and name block and of its relocations; and of what lies between sections", () => {
    for (const name of ["data", "relocations"] as const) {
      const { offset, size } = place(sound, name);
      for (let at = offset; at < offset + size; at++) expectProblem(flipped(at), `${name} byte ${at}`);
    }
    expect(place(sound, "data").offset - place(sound, "meta").offset - place(sound, "meta").size).toBeGreaterThan(0);
    expectProblem(flipped(place(sound, "data").offset - 1), "padding");
  });
});

describe("truncation and growth", () => {
  it("at each byte of the header and section table, and at each section's ends", () => {
    const ends = sectionOrder.flatMap((name) => {
      const { offset, size } = place(sound, name);
      return [offset - 1, offset, offset + 1, offset + size - 1];
    });
    const tableEnd = codecs.FileHeader.size + sectionOrder.length * codecs.Section.size;
    for (const length of [...Array.from({ length: tableEnd }, (_, at) => at), ...ends]) {
      expect(() => openImage(sound.subarray(0, length), "cut.pycds"), `cut to ${length}`).toThrow(ImageError);
      expectProblem(sound.subarray(0, length), `cut to ${length}`);
    }
  });
  it("one byte more", () => {
    expect(checkImage(Uint8Array.of(...sound, 0), "long.pycds").faults.map(({ code }) => code)).toContain("IMAGE_SIZE");
    // The header may say so, too: still no section holds it.
    const admitted = resign(Uint8Array.of(...sound, 0), (bytes, view) => view.setBigUint64(codecs.FileHeader.offsetOf("file_size"), BigInt(bytes.byteLength), true));
    expect(checkImage(admitted, "long.pycds").faults.map(({ code, why }) => `${code} ${why}`)).toEqual(["IMAGE_SIZE 1 bytes follow the last section"]);
  });
});

describe("files of another kind", () => {
  const codesOf = (bytes: Uint8Array): string[] => checkImage(bytes, "x").faults.map(({ code }) => code);
  const header = (field: keyof Parameters<(typeof codecs)["FileHeader"]["write"]>[2] & string): number => codecs.FileHeader.offsetOf(field);

  it("is named: empty, no archive, other byte order, other version, unknown feature", () => {
    expect(codesOf(new Uint8Array())).toEqual(["IMAGE_TRUNCATED"]);
    expect(codesOf(Buffer.from("#!/usr/bin/python\n".repeat(40)))).toEqual(["IMAGE_MAGIC"]);
    const foreign = sound.slice();
    viewOf(foreign).setUint32(header("byte_order"), 0x01020304, false);
    expect(checkImage(foreign, "x").faults[0]).toMatchObject({ code: "IMAGE_BYTE_ORDER", why: expect.stringContaining("other byte order") as unknown });
    const newer = resign(sound, (_, view) => view.setUint32(header("format_version"), formatVersion + 1, true));
    expect(codesOf(newer)).toEqual(["IMAGE_VERSION"]);
    const feature = resign(sound, (_, view) => view.setBigUint64(header("required_features"), features.codeVersion | (1n << 40n), true));
    expect(codesOf(feature)).toEqual(["IMAGE_FEATURES"]);
  });
  it("lists every fault, not the first alone", () => {
    const bytes = flipped(place(sound, "strings").offset);
    bytes[place(sound, "names").offset] = 0xff;
    const { faults } = checkImage(bytes, "x");
    expect(faults.filter(({ code }) => code === "IMAGE_DIGEST")).toHaveLength(2);
    try {
      openImage(bytes, "x");
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ImageError);
      expect((error as ImageError).faults).toHaveLength(faults.length);
    }
  });
});

/** Fields that may hold any value in some record: nothing in the file contradicts it. Every other one must be checked beyond digests. */
const free: Readonly<Partial<Record<StructName, readonly string[]>>> = {
  FileHeader: ["layout_digest"],
  Folder: ["mtime_ns", "cache_mtime_ns"],
  Entry: ["stamp_mtime", "stamp_size", "stamp_digest"],
};

/** Values that a hostile writer would try. */
function hostile(type: Field["type"]): readonly bigint[] {
  const bits = BigInt(8 * (typeof type === "string" ? fieldSize(type) : 8));
  return [(1n << bits) - 2n, 1n << (bits - 1n), (1n << bits) - 0x10n];
}

function writeField(view: DataView, at: number, type: Field["type"], value: bigint): void {
  const size = typeof type === "string" ? fieldSize(type) : type.bytes;
  for (let byte = 0; byte < size; byte++) view.setUint8(at + byte, Number((value >> BigInt(8 * (byte % 8))) & 0xffn));
}

describe("hostile values under right digests", () => {
  const signedAnew = new Set(["header_digest", "archive_digest", "digest"]);
  for (const { name, type, offset } of fieldsOf("FileHeader")) {
    if (signedAnew.has(name)) continue;
    it(`header field ${name} is ${free.FileHeader?.includes(name) === true ? "free" : "checked"}`, () => {
      for (const value of hostile(type)) {
        const bytes = resign(sound, (_, view) => writeField(view, offset, type, value));
        expect(verifyFile(bytes, "x").ok, `0x${value.toString(16)}`).toBe(free.FileHeader?.includes(name) ?? false);
      }
    });
  }
  for (const table of Object.keys(tableStruct) as TableName[]) {
    const struct = tableStruct[table];
    for (const { name, type, offset } of fieldsOf(struct)) {
      if (signedAnew.has(name)) continue;
      const isFree = free[struct]?.includes(name) ?? false;
      it(`${table}.${name} is ${isFree ? "free" : "checked"} in each record`, () => {
        const { offset: start, size } = place(sound, table);
        const recordSize = codecs[struct].size;
        let accepted = 0;
        for (let record = 0; record < size / recordSize; record++) {
          for (const value of hostile(type)) {
            const bytes = resign(sound, (_, view) => writeField(view, start + record * recordSize + offset, type, value));
            const { ok } = verifyFile(bytes, "x");
            if (!isFree) expect(ok, `record ${record}, 0x${value.toString(16)}`).toBe(false);
            if (ok) accepted += 1;
          }
        }
        expect(accepted > 0).toBe(isFree);
      });
    }
  }
  it("names: each", () => {
    const { offset, size } = place(sound, "names");
    expect(size).toBe(6);
    for (let name = 0; name < size; name += 2) {
      for (const value of [0x7fff, 0xffff]) expectProblem(resign(sound, (_, view) => view.setUint16(offset + name, value, true)), `name ${name / 2}`);
    }
  });
  for (const table of ["folderHash", "entryHash", "pureHash"] as const) {
    it(`${table}: each word`, () => {
      const { offset, size } = place(sound, table);
      for (let word = 0; word < size; word += 4) {
        for (const value of [0x7fffffff, 0xffffffff]) {
          expectProblem(resign(sound, (_, view) => view.setUint32(offset + word, value, true)), `word ${word / 4}`);
        }
      }
    });
  }
  for (const table of ["folderHash", "entryHash", "pureHash"] as const) {
    it(`${table}: an item that is lost, out of its place, or there twice`, () => {
      const { offset, size } = place(sound, table);
      const words = Array.from({ length: size / 4 }, (_, word) => viewOf(sound).getUint32(offset + word * 4, true));
      const empty = words.indexOf(0);
      words.forEach((value, word) => {
        if (value === 0) return;
        const whys = (change: (view: DataView) => void): string => checkImage(resign(sound, (_, view) => change(view)), "x").faults.map(({ why }) => why).join("\n");
        expect(whys((view) => view.setUint32(offset + word * 4, 0, true))).toContain(`item ${value - 1} cannot be found`);
        expect(whys((view) => view.setUint32(offset + empty * 4, value, true))).toContain(`item ${value - 1} is there twice`);
      });
    });
  }
  it("each word of each relocation stream and of each internal pointer", () => {
    const image = openImage(sound, "x");
    const { offset: streams } = place(sound, "relocations");
    const { offset: data } = place(sound, "data");
    for (const unit of image.units) {
      for (let at = 0; at < unit.reloc_size; at += 2) {
        expectProblem(resign(sound, (_, view) => view.setUint16(streams + Number(unit.reloc_offset) + at, 0xfff1, true)), `stream byte ${at}`);
      }
      for (const slot of image.unitRelocations(unit).internal) {
        const at = data + Number(unit.data_offset) + slot;
        for (const wrong of [0n, 1n << 63n, BigInt(image.base) - 16n, BigInt(image.base) + unit.data_offset + 16n]) {
          expectProblem(resign(sound, (_, view) => view.setBigUint64(at, wrong, true)), `pointer ${slot}`);
        }
      }
    }
  });
  it("sections that overlap, share a kind, or swap places", () => {
    const row = (name: SectionName): number => codecs.FileHeader.size + (sectionKind[name] - 1) * codecs.Section.size;
    const change = (field: "kind" | "offset" | "size", name: SectionName, value: bigint): Uint8Array => {
      const bytes = sound.slice();
      const at = row(name) + codecs.Section.offsetOf(field);
      if (field === "kind") viewOf(bytes).setUint32(at, Number(value), true);
      else viewOf(bytes).setBigUint64(at, value, true);
      return bytes;
    };
    const why = (bytes: Uint8Array): string => checkImage(bytes, "x").faults.map((fault) => fault.why).join("\n");
    expect(why(change("offset", "entries", BigInt(place(sound, "folders").offset)))).toContain("begins inside");
    expect(why(change("kind", "roots", 3n))).toContain("there twice");
    expect(why(change("kind", "roots", 99n))).toContain("does not exist");
    expect(why(change("size", "meta", 1n << 63n))).toContain("end behind the file");
  });
});
