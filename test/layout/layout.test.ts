import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { external } from "../../src/abi/externals.ts";
import type { Abi, FieldLayout } from "../../src/abi/types.ts";
import { PycdsError } from "../../src/base/errors.ts";
import { NameTable } from "../../src/graph/names.ts";
import { checkUnit } from "../../src/layout/check.ts";
import { layOutModule } from "../../src/layout/layout.ts";
import type { LaidOutObject, LaidOutUnit } from "../../src/layout/types.ts";
import type { CodeValue } from "../../src/pyc/value.ts";
import { abis, bytes, code, frozenset, graphOf, int, none, str, tuple } from "./support.ts";
import { modules } from "./values.ts";

function layOut(root: CodeValue, abi: Abi, names = new NameTable()): LaidOutUnit {
  return layOutModule(graphOf(root, abi, names), abi);
}

function only(unit: LaidOutUnit, type: LaidOutObject["type"]): LaidOutObject {
  const found = unit.objects.filter((object) => object.type === type);
  const [object] = found;
  if (object === undefined || found.length > 1) throw new Error(`${found.length} objects of type ${type}`);
  return object;
}

const view = (unit: LaidOutUnit): DataView => new DataView(unit.bytes.buffer, unit.bytes.byteOffset, unit.bytes.byteLength);
/** A code object without strings, tuples or bytes of its own but the consts tuple. */
const bare = { name: str(""), qualname: str(""), linetable: bytes() } as const;

it("there are ABIs to test with", () => expect(abis.map((abi) => abi.version.minor)).toEqual(expect.arrayContaining([11, 12, 13])));

describe.each(abis)("$id", (abi) => {
  it("any constants: sound, every module the same bytes each time", () => {
    fc.assert(
      fc.property(modules, (make) => {
        const first = layOut(make(), abi);
        expect(checkUnit(first, abi)).toEqual([]);
        const again = layOut(make(), abi);
        expect(Buffer.from(again.bytes).equals(first.bytes)).toBe(true);
        expect(again).toEqual(first);
      }),
      { numRuns: 150 },
    );
  });

  it("every node is laid out once, every frozenset made once", () => {
    fc.assert(
      fc.property(modules, (make) => {
        const graph = graphOf(make(), abi);
        const unit = layOutModule(graph, abi);
        const count = (kinds: readonly string[]): Record<string, number> => Object.fromEntries([...new Set(kinds)].sort().map((kind) => [kind, kinds.filter((each) => each === kind).length]));
        expect(count(unit.objects.map((object) => object.type))).toEqual(count(graph.nodes.map((node) => node.kind)));
        expect(unit.relocations.rebuilt.map((record) => record.count)).toEqual(graph.rebuilt.map((each) => each.items.length));
      }),
      { numRuns: 50 },
    );
  });

  it("a UCS4 string shares its data with wstr where the version has it (facts §1)", () => {
    const unit = layOut(code([str("\u{1f600}!")], bare), abi);
    const { offset } = only(unit, "str");
    const data = abi.field("PyCompactUnicodeObject", "data").offset;
    expect([...unit.bytes.subarray(offset + data, offset + data + 12)]).toEqual([0x00, 0xf6, 1, 0, 0x21, 0, 0, 0, 0, 0, 0, 0]);
    if (abi.hasField("PyASCIIObject", "wstr")) {
      const slot = offset + abi.field("PyASCIIObject", "wstr").offset;
      expect(unit.relocations.internal).toContain(slot);
      expect(view(unit).getBigUint64(slot, true)).toBe(BigInt(offset + data));
      expect(view(unit).getBigInt64(offset + abi.field("PyCompactUnicodeObject", "wstr_length").offset, true)).toBe(2n);
    }
  });

  it("hashes are not yet computed, data is NUL-terminated", () => {
    const unit = layOut(code([bytes(1, 2, 3), str("x y")], { ...bare, code: bytes() }), abi);
    const [b, s] = [only(unit, "bytes"), only(unit, "str")];
    expect(view(unit).getBigInt64(b.offset + abi.field("PyBytesObject", "ob_shash").offset, true)).toBe(-1n);
    expect(view(unit).getBigInt64(s.offset + abi.field("PyASCIIObject", "hash").offset, true)).toBe(-1n);
    const data = abi.field("PyASCIIObject", "data").offset;
    expect([...unit.bytes.subarray(s.offset + data, s.offset + s.size)]).toEqual([120, 32, 121, 0]);
    expect(unit.bytes[b.offset + b.size - 1]).toBe(0);
  });

  it("float bits are kept exactly", () => {
    const bits = 0xfff8_0000_0000_0123n;
    const unit = layOut(code([{ kind: "float", bits }, { kind: "complex", realBits: 1n << 63n, imagBits: bits }], bare), abi);
    expect(view(unit).getBigUint64(only(unit, "float").offset + abi.field("PyFloatObject", "ob_fval").offset, true)).toBe(bits);
    const at = only(unit, "complex").offset + abi.field("PyComplexObject", "cval").offset;
    expect([view(unit).getBigUint64(at, true), view(unit).getBigUint64(at + 8, true)]).toEqual([1n << 63n, bits]);
  });

  it("each code object asks for a version of its own where the version has one (facts §4)", () => {
    const unit = layOut(code([code([]), code([])]), abi);
    expect(unit.relocations.codeVersion).toHaveLength(abi.hasCodeVersion ? 3 : 0);
  });

  it.skipIf(!abi.hasLegacyCode)("co_cell2arg lies behind its code object, and is NULL where no argument is a cell (facts §1)", () => {
    const [local, cell, free] = [0x20, 0x40, 0x80];
    const variables = { localsplusnames: tuple(...["first", "second", "both", "inner"].map(str)), localspluskinds: bytes(local, local | cell, local | cell, cell), argcount: 2 };
    const plain = code([], { localsplusnames: tuple(str("x_1"), str("y_1")), localspluskinds: bytes(local | cell, free) });
    const unit = layOut(code([code([], variables), plain]), abi);
    const size = abi.struct("PyCodeObject").size;
    const slotOf = (object: LaidOutObject): number => object.offset + abi.field("PyCodeObject", "co_cell2arg").offset;
    const codes = unit.objects.filter(({ type }) => type === "code");
    expect(codes.map((object) => object.size)).toEqual([size, size + 3 * 8, size]);
    const [, inner] = codes;
    if (inner === undefined) throw new Error("no inner code");
    expect(unit.relocations.internal).toContain(slotOf(inner));
    expect(view(unit).getBigUint64(slotOf(inner), true)).toBe(BigInt(inner.offset + size));
    expect([0, 8, 16].map((at) => view(unit).getBigInt64(inner.offset + size + at, true))).toEqual([1n, -1n, -1n]);
    for (const object of codes.filter((each) => each !== inner)) {
      expect(unit.relocations.internal).not.toContain(slotOf(object));
      expect(view(unit).getBigUint64(slotOf(object), true)).toBe(0n);
    }
    expect(codes.map((object) => view(unit).getUint32(object.offset + abi.field("PyCodeObject", "co_flags").offset, true) & 0x40)).toEqual([0x40, 0, 0]);
  });

  it("a frozenset's slot stays empty; its items are slots of the unit", () => {
    const unit = layOut(code([frozenset(none, str("a_name"), tuple(frozenset(int(7))))], bare), abi);
    const [inner, outer] = unit.relocations.rebuilt;
    expect([inner?.count, outer?.count]).toEqual([1, 3]);
    expect(unit.relocations.external.get(external.smallInt(7))).toEqual([inner?.items]);
    expect(unit.relocations.names).toEqual([{ slot: (outer?.items ?? 0) + 8, name: 0 }]);
    for (const slot of [...(inner?.slots ?? []), ...(outer?.slots ?? [])]) expect(view(unit).getBigUint64(slot, true)).toBe(0n);
  });

  it("what runs at import comes first, tables last", () => {
    const body = code([str("in the class body")], { flags: 0, linetable: bytes(2, 2), name: str("a b"), qualname: str("a b") });
    const method = code([str("in the method")], { flags: 3, linetable: bytes(3, 3), name: str("c d"), qualname: str("c d") });
    const unit = layOut(code([method, body, str("in the module")], { linetable: bytes(1, 1) }), abi);
    const order = unit.objects.map(({ offset, size, type }) => (type === "code" || type === "tuple" ? type : Buffer.from(unit.bytes.subarray(offset + size - 6, offset + size)).toString("latin1")));
    const position = (end: string): number => order.findIndex((each) => each.endsWith(end));
    expect(unit.objects[0]).toMatchObject({ offset: unit.root, type: "code" });
    const wanted = ["odule\0", "body\0", "ethod\0", "\x01\x01\0", "\x02\x02\0", "\x03\x03\0"].map(position);
    expect(wanted).not.toContain(-1);
    expect(wanted).toEqual(wanted.toSorted((a, b) => a - b));
  });

  it("deep nesting costs no stack", () => {
    let deep = tuple(none);
    for (let level = 0; level < 30_000; level++) deep = tuple(deep);
    expect(checkUnit(layOut(code([deep]), abi), abi)).toEqual([]);
  });

  it("a field that no rule fills fails the build, and so does a number that does not fit", () => {
    const extra: FieldLayout = { name: "co_new_in_4_0", offset: 8, size: 8, kind: "pointer", role: "internal" };
    const struct = abi.struct("PyCodeObject");
    const strange: Abi = {
      ...abi,
      struct: (name) => (name === "PyCodeObject" ? { ...struct, fields: new Map([...struct.fields, [extra.name, { ...extra, offset: struct.size - 8 }]]) } : abi.struct(name)),
    };
    const fault = (run: () => unknown): string => {
      try {
        run();
      } catch (error) {
        return error instanceof PycdsError ? `${error.code} ${error.why}` : String(error);
      }
      return "no error";
    };
    expect(fault(() => layOut(code([]), strange))).toMatch(/^LAYOUT_FIELD .*co_new_in_4_0/);
    expect(fault(() => layOut(code([], { firstlineno: 2 ** 31 }), abi))).toMatch(/^LAYOUT_RANGE .*co_firstlineno/);
  });
});
