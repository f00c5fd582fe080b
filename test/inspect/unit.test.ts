/** Faults inside units that right digests cannot hide, on an archive made by hand. */
import { describe, expect, it } from "vitest";
import { codecs } from "../../src/image/codec.ts";
import { headerDigest } from "../../src/image/writer.ts";
import { none } from "../../src/image/schema.ts";
import { sectionOrder } from "../../src/image/sections.ts";
import { verifyFile } from "../../src/inspect/verify.ts";
import { place, resign, sampleImage } from "../image/sample.ts";

const whats = (bytes: Uint8Array): string => verifyFile(bytes, "x").problems.map(({ code, what }) => `${code} ${what}`).join("\n");
const sound = sampleImage();

describe("a unit", () => {
  it.each([
    ["two relocations of one slot", { filename: [24] }, "filename slot is on top of another slot"],
    ["half a slot under another", { codeVersion: [28] }, "code version slot is on top of another slot"],
    ["a slot behind its end", { filename: [320] }, "filename slot is misaligned or behind the unit's 320 bytes"],
    ["a slot twice in one list", { filename: [112, 112] }, "filename slots are not in order"],
    ["code without its version slot", { codeVersion: [] }, "0 code version slots, not 1"],
    ["a root of another type", { external: new Map([[3, [8, 280]]]) }, "its root is no code object"],
    ["an external that does not exist", { external: new Map([[0, [8]], [3, [280]], [9, [32]]]) }, "external 9 does not exist"],
    ["a small int beyond the target's", { external: new Map([[0, [8]], [3, [280]], [1029 + 257, [32]]]) }, "external 1286 does not exist"],
    ["a name beyond the table", { names: [{ slot: 40, name: 3 }] }, "name 3 of 3 does not exist"],
    ["a frozenset with items behind the end", { rebuilt: [{ kind: "frozenset" as const, items: 312, count: 2, slots: [56] }] }, "its 2 items do not lie in the unit"],
    ["a frozenset with an item that nothing fills", { rebuilt: [{ kind: "frozenset" as const, items: 64, count: 1, slots: [56] }] }, "an item is no pointer"],
    ["a pointer to no object", { external: new Map([[0, [8]], [16, [32]]]) }, "leads to no object"],
    ["an object that begins before it", { external: new Map([[0, [8]], [1, [0]], [3, [280]]]) }, "PyUnicode_Type object does not lie in it, or is not aligned"],
  ])("with %s is reported", (_, changes, what) => {
    expect(whats(sound)).toBe("");
    expect(whats(sampleImage(changes))).toContain(what);
  });

  it("that no entry leads to is reported", () => {
    const at = place(sound, "entries").offset + 1 * codecs.Entry.size + codecs.Entry.offsetOf("unit");
    expect(whats(resign(sound, (_, view) => view.setUint32(at, 1, true)))).toContain("unit 0: nothing leads to it");
  });
});

describe("the rest of the file", () => {
  it("bytes between streams or units that belong to nothing", () => {
    const { offset } = place(sound, "relocations");
    expect(whats(resign(sound, (bytes) => (bytes[offset + 127] = 1)))).toBe("VERIFY_GAP relocations: bytes between two parts are not 0");
  });

  it("an identity that is another archive's", () => {
    const bytes = sound.slice();
    bytes[codecs.FileHeader.offsetOf("archive_digest")] = 0;
    const tableEnd = codecs.FileHeader.size + sectionOrder.length * codecs.Section.size;
    new DataView(bytes.buffer).setBigUint64(codecs.FileHeader.offsetOf("header_digest"), headerDigest(bytes, tableEnd), true);
    expect(whats(bytes)).toBe("VERIFY_DIGEST the archive's SHA-256 differs from its header's");
  });

  it("a description of other units", () => {
    const at = place(sound, "entries").offset + 1 * codecs.Entry.size;
    const bytes = resign(sound, (_, view) => {
      view.setUint32(at + codecs.Entry.offsetOf("unit"), none, true);
      view.setUint8(at + codecs.Entry.offsetOf("stamp_kind"), 0);
      view.setBigInt64(at + codecs.Entry.offsetOf("stamp_mtime"), 0n, true);
      view.setBigUint64(at + codecs.Entry.offsetOf("stamp_size"), 0n, true);
    });
    expect(whats(bytes)).toContain("VERIFY_META cannot read the archive's description: module mod: entry 1 does not lead to a unit");
  });
});
