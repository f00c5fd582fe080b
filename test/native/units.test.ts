/**
 * unit_code() and name_object() without Python: damaged units are refused with
 * a reason, nothing crashes or writes outside of its unit, nothing is handed
 * out half done (design.md, decision 7).
 */
import { beforeAll, describe, expect, it } from "vitest";
import { buildArchive } from "../../src/archive/build.ts";
import { codecs } from "../../src/image/codec.ts";
import { codeMask } from "../../src/image/schema.ts";
import { partsOf } from "../../src/image/slots.ts";
import { treeInput, writeTree } from "../archive/input.ts";
import type { Damage } from "./damage.ts";
import { damaged, file, good, goodBytes, missing, plain, prepareSample, python, sanitized, scratch, written } from "./sample.ts";
import { harness } from "./support.ts";

prepareSample();

describe.skipIf(python === undefined)(`units${missing}`, () => {
  it("load", () => {
    expect(harness(sanitized, ["load", good]).stdout).toBe("loaded\n".repeat(5));
    expect(harness(plain, ["load", good]).stdout).toBe("loaded\n".repeat(5));
  });

  it("refuses exactly the units that a flip in DATA or the relocations hits", () => {
    const units = damaged().rows("units");
    units.forEach((unit, number) => {
      const damage = damaged();
      const data = damage.sectionBytes("data");
      const relocations = damage.sectionBytes("relocations");
      const last = Number(unit.data_offset) + unit.data_size - 1;
      const stream = Number(unit.reloc_offset) + unit.reloc_size - 1;
      data[last] = (data[last] ?? 0) ^ 1;
      const answers = (bytes: Uint8Array): string[] => harness(plain, ["load", written("flipped", bytes)]).stdout.trimEnd().split("\n");
      const expected = units.map((_, each) => (each === number ? `refused: archived code is damaged (digest differs) (unit ${number})` : "loaded"));
      expect(answers(damage.bytes)).toEqual(expected);
      data[last] = (data[last] ?? 0) ^ 1;
      relocations[stream] = (relocations[stream] ?? 0) ^ 1;
      expect(answers(damage.bytes)).toEqual(expected);
    });
  });

  it("refuses the units whose names are damaged, and touches none of them", () => {
    const damage = damaged();
    const at = Number(damage.rows("nameBlocks")[0]?.data_offset);
    const data = damage.sectionBytes("data");
    data[at + 40] = (data[at + 40] ?? 0) ^ 1;
    const { stdout } = harness(sanitized, ["load", written("names", damage.bytes)]);
    expect(stdout).toContain("refused: archived names are damaged");
    expect(stdout.trimEnd().split("\n")).toHaveLength(5);
  });

  /** One word of unit `number`'s relocation head or tables changed, digests right. */
  const stream = (number: number, change: (view: DataView, damage: Damage) => void): string => {
    const damage = damaged();
    const unit = damage.rows("units")[number];
    if (unit === undefined) throw new Error(`no unit ${number}`);
    const bytes = damage.sectionBytes("relocations").subarray(Number(unit.reloc_offset), Number(unit.reloc_offset) + unit.reloc_size);
    change(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), damage);
    return harness(sanitized, ["load", written("stream", damage.sealed())]).stdout.split("\n")[number] ?? "";
  };
  /** The unit with the frozensets, and where the parts of its stream are. */
  const parts = (view: DataView): ReturnType<typeof partsOf> => {
    return partsOf(codecs.Relocations.read(view, 0));
  };
  const single = (): number => damaged().rows("units").findIndex((unit) => {
    const { offset } = damaged().section("relocations");
    return new DataView(goodBytes().buffer, goodBytes().byteOffset + offset + Number(unit.reloc_offset)).getUint32(24, true) > 0;
  });

  it.each<readonly [string, RegExp, (view: DataView, damage: Damage) => void]>([
    ["more tables than the stream holds", /impossible relocations/, (view) => view.setUint32(8, 0xffffffff, true)],
    ["more slots than the stream holds", /impossible relocations/, (view) => view.setUint32(0, 0xffffffff, true)],
    ["slots left over", /impossible relocations/, (view) => view.setUint32(0, view.getUint32(0, true) - 1, true)],
    ["a slot outside of the unit", /impossible relocations/, (view) => view.setUint8(parts(view).slots, 0xff)],
    ["a slot far outside of the unit", /impossible relocations/, (view) => view.setUint8(parts(view).slots, 0xfe)],
    ["a slot twice", /impossible relocations/, (view) => view.setUint8(parts(view).slots + 1, 0)],
    ["more code objects than the stream holds", /impossible relocations/, (view) => view.setUint32(36, 0xffffffff, true)],
    ["a code object that reaches out of the unit", /impossible relocations/, (view) => view.setUint8(parts(view).slots, 0xfd)],
    ["more tuples than the stream holds", /impossible relocations/, (view) => view.setUint32(40, 0xffffffff, true)],
    ["a code object of fewer names than its indexes are for", /impossible relocations/, (view) => view.setUint8(parts(view).masks, view.getUint8(parts(view).masks) & ~codeMask.name & ~codeMask.qualname)],
    ["a name of its own list that does not exist", /impossible relocations/, (view) => view.setUint8(view.byteLength - 1, 0xef)],
    ["an index that is cut", /impossible relocations/, (view) => view.setUint8(view.byteLength - 1, 0xff)],
    ["an external that does not exist", /impossible relocations/, (view) => view.setUint16(parts(view).groups, 9, true)],
    ["an external beyond the table", /impossible relocations/, (view) => view.setUint16(parts(view).groups, 0xfff0, true)],
    ["a small int that is none here", /impossible relocations/, (view) => view.setUint16(parts(view).groups, 1029 + 1000, true)],
    ["a known name that does not exist", /names are damaged/, (view, d) => view.setUint16(parts(view).known, d.nameCount, true)],
    ["new names that do not exist", /names are damaged/, (view, d) => view.setUint32(32, d.nameCount, true)],
    ["new names beyond 2^32", /names are damaged|impossible relocations/, (view) => view.setUint32(32, 0xffffffff, true)],
    ["fewer known names than its list takes", /names are damaged/, (view) => view.setUint8(parts(view).bits, 0xff)],
    ["more known names than its list takes", /names are damaged/, (view) => view.setUint8(parts(view).bits, 0)],
    ["an unknown rebuilt kind", /impossible relocations/, (view) => view.setUint32(parts(view).rebuilt, 1, true)],
    ["items outside of the unit", /impossible relocations/, (view) => view.setUint32(parts(view).rebuilt + 4, 0xfffffff8, true)],
    ["items off their alignment", /impossible relocations/, (view) => view.setUint32(parts(view).rebuilt + 4, view.getUint32(parts(view).rebuilt + 4, true) + 4, true)],
    ["more items than fit", /impossible relocations/, (view) => view.setUint32(parts(view).rebuilt + 8, 0x1fffffff, true)],
  ])("refuses %s before it writes", (_, why, change) => {
    expect(stream(single(), change)).toMatch(why);
  });

  it.each([1, 2, 3])("never crashes or writes outside on damaged relocations with right digests (seed %i)", (seed) => {
    const { stdout } = harness(sanitized, ["units", good, scratch, String(seed), "10000"]);
    const [, loaded, refused] = /^loaded=(\d+) refused=(\d+)\n$/.exec(stdout)?.map(Number) ?? [];
    expect(loaded).toBeGreaterThan(1000);
    expect(refused).toBeGreaterThan(1000);
  }, 240_000);

  it("are never handed out half done: a frozenset without memory", () => {
    expect(harness(sanitized, ["sets", good]).stdout).toBe("failed=1\n");
  });

  // facts/cpython.md §4: two functions with one version crash 3.12 and later
  it.skipIf(python === undefined || python.minor < 12)("number their code objects from one counter in the process (3.12 and later)", () => {
    const [first, second] = harness(sanitized, ["versions", good]).stdout.trimEnd().split("\n");
    const taken = Number(/^loaded=5 of 5, next=(0x5\w+)$/.exec(first ?? "")?.[1]) - 0x5000_0000;
    expect(taken).toBe(9); // five modules, and f, C, m and n of the sample tree
    // only units with at most one code object still get a number
    expect(second).toMatch(/^loaded=[1-4] of 5, next=0xf0000000$/);
  });

  describe("in a large archive", () => {
    beforeAll(() => {
      if (python === undefined) return;
      const lines = Array.from({ length: 700 }, (_, n) => `def f${n}(a, b): return (a.x${n}, 'text ${n}', b)`).join("\n");
      writeTree(file("big"), Object.fromEntries(Array.from({ length: 12 }, (_, n) => [`m${String(n).padStart(2, "0")}.py`, `${lines}\nn = ${n}\n`])));
      written("big.pycds", buildArchive({ ...treeInput(python, file("big")), traced: 8 }).bytes);
    }, 60_000);

    it("are refused, not SIGBUS, when the file was cut after it was opened", () => {
      for (const exe of [plain, sanitized]) {
        expect(harness(exe, ["cut", good, scratch]).stdout).toMatch(/^refused=5: the archive file was cut/);
        expect(harness(exe, ["cut", file("big.pycds"), scratch]).stdout).toMatch(/^refused=12: the archive file was cut/);
      }
    });
  });
});
