import { describe, expect, it } from "vitest";
import { NameTable } from "../../src/graph/names.ts";
import { layOutNames, maxNameBlock } from "../../src/layout/names.ts";
import { abis, str } from "./support.ts";

describe.each(abis)("$id", (abi) => {
  const layOut = (...texts: readonly string[]): ReturnType<typeof layOutNames> => {
    const names = new NameTable();
    for (const text of texts) names.index(str(text));
    return layOutNames(names.entries, abi);
  };

  it("gives each name a str object at a multiple of 8, type word 0; one Latin-1 character none", () => {
    const { blocks, locations } = layOut("first", "x", "é", "größe", "€uro", "\u{10330}");
    expect(blocks).toHaveLength(1);
    expect(blocks[0]).toMatchObject({ firstName: 0, nameCount: 6 });
    expect(locations.slice(1, 3)).toEqual(Int32Array.of(-1 - 0x78, -1 - 0xe9));
    const bytes = blocks[0]?.bytes ?? new Uint8Array();
    const view = new DataView(bytes.buffer);
    const widths = [undefined, undefined, undefined, 1, 2, 4] as const;
    for (const [index, location] of locations.entries()) {
      if (location < 0) continue;
      expect(location % 8).toBe(0);
      expect(view.getBigUint64(location + abi.field("PyObject", "ob_type").offset, true)).toBe(0n);
      const width = widths[index];
      expect(view.getUint32(location + abi.field("PyASCIIObject", "state").offset, true)).toBe(abi.strState(width ?? 1, width === undefined));
      expect([...bytes.subarray(location, location + abi.immortalHeader.length)]).toEqual([...abi.immortalHeader]);
      // Nothing in a block is relocated, so wstr (facts §1, to 3.11) is absent.
      if (abi.hasField("PyASCIIObject", "wstr")) expect(view.getBigUint64(location + abi.field("PyASCIIObject", "wstr").offset, true)).toBe(0n);
    }
    expect(Buffer.from(bytes).includes("first\0")).toBe(true);
  });

  it("fills blocks of at most 64 KiB, names apart, ranges without gap", () => {
    const { blocks, locations } = layOut("z", ...Array.from({ length: 3000 }, (_, index) => `name_${index}_${"x".repeat(index % 90)}`), "y");
    expect(blocks.length).toBeGreaterThan(2);
    let next = 0;
    for (const { bytes, firstName, nameCount } of blocks) {
      expect(bytes.length).toBeLessThanOrEqual(maxNameBlock);
      expect(firstName).toBe(next);
      next += nameCount;
      const offsets = Array.from(locations.subarray(firstName, next)).filter((location) => location >= 0);
      expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
      expect(new Set(offsets).size).toBe(offsets.length);
      expect(offsets[0]).toBe(0);
    }
    expect(next).toBe(3002);
  });

  it("gives a name beyond 64 KiB a block of its own", () => {
    const { blocks } = layOut("before", "x".repeat(100_000), "after");
    expect(blocks.map((block) => block.nameCount)).toEqual([1, 1, 1]);
  });

  it("is empty without names", () => expect(layOut()).toEqual({ blocks: [], locations: new Int32Array(0) }));
});
