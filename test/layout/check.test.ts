/** The verifier finds what it is there for: a sound unit, one fault put in, that fault reported. */
import { describe, expect, it } from "vitest";
import { external } from "../../src/abi/externals.ts";
import { checkUnit } from "../../src/layout/check.ts";
import type { Problem } from "../../src/layout/check.ts";
import { layOutModule } from "../../src/layout/layout.ts";
import type { LaidOutUnit, UnitRelocations } from "../../src/layout/types.ts";
import { abis, bytes, code, frozenset, graphOf, int, str, tuple } from "./support.ts";

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type Parts = Writable<Omit<LaidOutUnit, "relocations">> & { relocations: Writable<UnitRelocations> };

describe.each(abis)("$id", (abi) => {
  const fresh = (): Parts => {
    const inner = frozenset(int(1));
    const constants = [str("a b"), str("name"), bytes(1, 2), tuple(int(1), frozenset(tuple(inner), int(2))), int(10n ** 20n), code([])];
    const unit = layOutModule(graphOf(code(constants, { names: tuple(str("x_y")) }), abi), abi);
    return { ...unit, bytes: unit.bytes.slice(), relocations: { ...unit.relocations } };
  };
  const codes = (unit: LaidOutUnit): readonly Problem["code"][] => [...new Set(checkUnit(unit, abi).map((problem) => problem.code))];
  const find = (unit: LaidOutUnit, type: string): LaidOutUnit["objects"][number] => {
    const object = unit.objects.find((each) => each.type === type);
    if (object === undefined) throw new Error(type);
    return object;
  };
  const write = (unit: LaidOutUnit, at: number, value: bigint): void => new DataView(unit.bytes.buffer).setBigUint64(at, value, true);
  const swapExternal = (unit: Parts, from: number, to: number): void => {
    unit.relocations.external = new Map([...unit.relocations.external].map(([number, slots]): [number, readonly number[]] => [number === from ? to : number, slots]).sort(([a], [b]) => a - b));
  };
  const first = <T>(list: readonly T[]): T => {
    const [item] = list;
    if (item === undefined) throw new Error("empty");
    return item;
  };

  it("passes a sound unit", () => expect(checkUnit(fresh(), abi)).toEqual([]));

  const faults: readonly (readonly [Problem["code"], string, (unit: Parts) => void])[] = [
    ["alignment", "an object moved by 4", (unit) => { unit.objects = unit.objects.map((object) => (object.type === "int" ? { ...object, offset: object.offset + 4 } : object)); }],
    ["overlap", "an object that is too long", (unit) => { unit.objects = unit.objects.map((object) => (object.type === "int" ? { ...object, size: object.size + 64 } : object)); }],
    ["range", "an object beyond the end", (unit) => { unit.objects = [...unit.objects, { offset: unit.bytes.length + 16, size: 32, type: "int" }]; }],
    ["range", "a slot beyond the end", (unit) => { unit.relocations.internal = [...unit.relocations.internal, unit.bytes.length]; }],
    ["gap", "a byte between objects", (unit) => { unit.bytes[find(unit, "str").offset + find(unit, "str").size] = 1; }],
    ["size", "a tuple of another length", (unit) => write(unit, find(unit, "tuple").offset + abi.field("PyVarObject", "ob_size").offset, 7n)],
    ["size", "a tuple of absurd length", (unit) => write(unit, find(unit, "tuple").offset + abi.field("PyVarObject", "ob_size").offset, 1n << 60n)],
    ["header", "a mortal object", (unit) => write(unit, find(unit, "bytes").offset, 1n)],
    // Without GIL the collector's bits are in the header itself.
    ["header", "a tracked tuple", (unit) => (abi.gcHeaderSize === 0 ? (unit.bytes[find(unit, "tuple").offset + 11] = 1) : write(unit, find(unit, "tuple").offset - 8, 1n))],
    ["zero", "a cache that is not empty", (unit) => write(unit, unit.root + abi.field("PyCodeObject", "co_extra").offset, 1n)],
    ["root", "a root that is a tuple", (unit) => { unit.root = find(unit, "tuple").offset; }],
    ["str", "an interned state", (unit) => { const at = find(unit, "str").offset + abi.field("PyASCIIObject", "state").offset; unit.bytes[at] = (unit.bytes[at] ?? 0) | 1; }],
    ["slot-missing", "a pointer without relocation", (unit) => { unit.relocations.internal = unit.relocations.internal.slice(1); }],
    ["slot-missing", "a frozenset item without relocation", (unit) => {
      const { items } = first(unit.relocations.rebuilt);
      unit.relocations.external = new Map([...unit.relocations.external].map(([number, slots]) => [number, slots.filter((slot) => slot !== items)]));
    }],
    ["slot-twice", "a slot of two kinds", (unit) => { unit.relocations.filename = [first(unit.relocations.names).slot, ...unit.relocations.filename].sort((a, b) => a - b); }],
    ["slot-stray", "a relocation in plain data", (unit) => {
      const at = unit.root + abi.field("PyCodeObject", "co_extra").offset;
      unit.relocations.filename = [...unit.relocations.filename, at].sort((a, b) => a - b);
    }],
    ["slot-kind", "co_consts that is no tuple", (unit) => write(unit, unit.root + abi.field("PyCodeObject", "co_consts").offset, BigInt(find(unit, "bytes").offset))],
    ["slot-kind", "the type of another", (unit) => swapExternal(unit, external.type("PyBytes_Type"), external.type("PyFloat_Type"))],
    ["slot-value", "an external slot that holds something", (unit) => write(unit, unit.root + abi.field("PyObject", "ob_type").offset, 1n)],
    ["target", "a pointer into an object", (unit) => {
      const at = unit.root + abi.field("PyCodeObject", "co_consts").offset;
      write(unit, at, new DataView(unit.bytes.buffer).getBigUint64(at, true) + 16n);
    }],
    ["order", "slots in another order", (unit) => { unit.relocations.internal = unit.relocations.internal.toReversed(); }],
    ["external", "an external that the interpreter lacks", (unit) => swapExternal(unit, external.smallInt(2), external.smallInt(abi.smallInts.max + 1))],
    ["rebuilt-order", "a parent made before its child", (unit) => { unit.relocations.rebuilt = unit.relocations.rebuilt.toReversed(); }],
  ];
  it.each(faults)("%s: %s", (expected, _what, damage) => {
    const unit = fresh();
    damage(unit);
    expect(codes(unit)).toContain(expected);
  });

  it.skipIf(!abi.hasCodeVersion)("a code object without a version of its own", () => {
    const unit = fresh();
    unit.relocations.codeVersion = unit.relocations.codeVersion.slice(1);
    expect(codes(unit)).toEqual(["slot-missing"]);
  });

  it.skipIf(!abi.hasLegacyCode)("co_cell2arg that is absent, stray or of another size", () => {
    const make = (): Parts => {
      const unit = layOutModule(graphOf(code([], { localsplusnames: tuple(str("x_1"), str("y_1")), localspluskinds: bytes(0x60, 0x60), argcount: 1 }), abi), abi);
      return { ...unit, bytes: unit.bytes.slice(), relocations: { ...unit.relocations } };
    };
    const slot = abi.field("PyCodeObject", "co_cell2arg").offset;
    expect(codes(make())).toEqual([]);
    const missing = make();
    missing.relocations.internal = missing.relocations.internal.filter((at) => at !== missing.root + slot);
    expect(codes(missing)).toEqual(["slot-missing"]);
    const elsewhere = make();
    write(elsewhere, elsewhere.root + slot, BigInt(elsewhere.root + 16));
    expect(codes(elsewhere)).toEqual(["slot-kind"]);
    const none = make();
    write(none, none.root + slot, 0n);
    expect(codes(none)).toContain("size");
    const cells = make();
    write(cells, cells.root + abi.field("PyCodeObject", "co_cellvars").offset, 1n << 40n);
    expect(codes(cells)).toContain("size");
  });

  it("never throws, whatever single byte is wrong", () => {
    const sound = fresh();
    for (let at = 0; at < sound.bytes.length; at += 1) {
      const unit = { ...sound, bytes: sound.bytes.slice() };
      unit.bytes[at] = (unit.bytes[at] ?? 0) ^ 0xff;
      checkUnit(unit, abi);
    }
  });
});
