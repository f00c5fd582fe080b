/** Code objects and tuples told by their shape say the same as their slots one by one. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { external } from "../../src/abi/externals.ts";
import { codecs, viewOf } from "../../src/image/codec.ts";
import { shapedExternal } from "../../src/image/schema.ts";
import { decodeRelocations, encodeRelocations, requestAddresses } from "../../src/image/slots.ts";
import type { Relocations } from "../../src/image/slots.ts";
import { shape } from "./sample.ts";

describe("objects told by their shape", () => {
  it("point at the externals that the format fixes", () => {
    const { codeType, tupleType, emptyBytes, emptyTuple } = shapedExternal;
    expect([codeType, tupleType, emptyBytes, emptyTuple]).toEqual([external.type("PyCode_Type"), external.type("PyTuple_Type"), external.emptyBytes, external.emptyTuple]);
  });

  /** A unit of code objects (144 bytes each) and tuples, whose fields hold this and that. */
  const object = fc.oneof(
    fc.record({ kind: fc.constant("code" as const), fields: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 9, maxLength: 9 }), usual: fc.boolean(), version: fc.boolean() }),
    fc.record({ kind: fc.constant("tuple" as const), items: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 6 }), usual: fc.boolean() }),
  );
  const pointers = [shape.code_consts, shape.code_names, shape.code_exceptiontable, shape.code_localsplusnames, shape.code_localspluskinds, shape.code_filename, shape.code_name, shape.code_qualname, shape.code_linetable];
  /** As compilers make them: internal, internal, b'', (), b'', the path, a name, a name, internal. */
  const usual = [0, 0, 4, 5, 4, 3, 2, 2, 0];

  type Described = typeof object extends fc.Arbitrary<infer T> ? T : never;
  const unitOf = (objects: readonly Described[], names: number): { data: Uint8Array; relocations: Relocations } => {
    const data = new Uint8Array(objects.length * 144 + 8);
    const internal: number[] = [];
    const groups = new Map<number, number[]>();
    const nameSlots: { slot: number; name: number }[] = [];
    const filename: number[] = [];
    const codeVersion: number[] = [];
    const point = (number: number, slot: number): void => void groups.set(number, [...(groups.get(number) ?? []), slot]);
    const put = (slot: number, kind: number): void => {
      if (kind === 0) internal.push(slot);
      else if (kind === 1) point(300, slot);
      else if (kind === 2) nameSlots.push({ slot, name: (slot * 31) % names });
      else if (kind === 3) filename.push(slot);
      else point(kind === 4 ? external.emptyBytes : external.emptyTuple, slot);
    };
    for (const [index, each] of objects.entries()) {
      const start = index * 144 + 8;
      if (each.kind === "code") {
        point(external.type("PyCode_Type"), start + shape.type_offset);
        for (const [number, field] of pointers.entries()) {
          if (field < 136) put(start + field, each.usual && each.fields[number] !== 1 ? (usual[number] ?? 0) : (each.fields[number] ?? 0));
        }
        internal.push(start + shape.code_linetable);
        if (each.usual || each.version) codeVersion.push(start + shape.code_version);
      } else {
        point(external.type("PyTuple_Type"), start + shape.type_offset);
        viewOf(data).setBigUint64(start + shape.tuple_size, BigInt(each.items.length), true);
        for (const [number, kind] of each.items.entries()) put(start + shape.tuple_items + number * 8, each.usual ? 2 : kind);
      }
    }
    const sorted = (slots: number[]): number[] => slots.toSorted((a, b) => a - b);
    return {
      data,
      relocations: {
        internal: sorted(internal), external: new Map([...groups].toSorted(([a], [b]) => a - b).map(([number, slots]) => [number, sorted(slots)])),
        names: nameSlots.toSorted((a, b) => a.slot - b.slot), filename: sorted(filename), codeVersion: sorted(codeVersion), rebuilt: [],
      },
    };
  };

  it("round trip, usual or not, with few names and with many", () => {
    fc.assert(fc.property(fc.array(object, { maxLength: 60 }), fc.constantFrom(3, 200, 5000), (objects, names) => {
      const { data, relocations: each } = unitOf(objects, names);
      const bytes = encodeRelocations(each, shape, data);
      expect(decodeRelocations(bytes, undefined, { shape, data })).toEqual(each);
      const { code_count, tuple_count } = codecs.Relocations.read(viewOf(bytes), 0);
      expect(tuple_count).toBeGreaterThanOrEqual(objects.filter((one) => one.kind === "tuple" && one.usual).length);
      expect(code_count).toBeGreaterThanOrEqual(objects.filter((one) => one.kind === "code" && one.usual && !one.fields.includes(1)).length);
      if (code_count + tuple_count > 0) expect(() => decodeRelocations(bytes)).toThrow(expect.objectContaining({ code: "IMAGE_RELOCATIONS" }));
    }));
  });

  it("get the addresses of what they point at, as when they are listed", () => {
    fc.assert(fc.property(fc.array(object, { maxLength: 40 }), (objects) => {
      const { data, relocations: each } = unitOf(objects, 9);
      const shaped = data.slice();
      requestAddresses(encodeRelocations(each, shape, data), shaped, 0x12_3456_0000, shape);
      requestAddresses(encodeRelocations(each), data, 0x12_3456_0000, shape);
      expect(shaped).toEqual(data);
      for (const slot of each.internal) expect(viewOf(data).getBigUint64(slot, true)).toBe(0x12_3456_0000n);
    }));
  });

  it("any change of the stream or of a tuple's size ends in a PycdsError or another stream, never in a crash", () => {
    fc.assert(fc.property(fc.array(object, { minLength: 1, maxLength: 20 }), fc.nat(), fc.integer({ min: 1, max: 255 }), (objects, position, mask) => {
      const { data, relocations: each } = unitOf(objects, 9);
      const bytes = encodeRelocations(each, shape, data);
      const whole = Buffer.concat([bytes, data]);
      whole[position % whole.byteLength] = (whole[position % whole.byteLength] ?? 0) ^ mask;
      try {
        decodeRelocations(whole.subarray(0, bytes.byteLength), undefined, { shape, data: whole.subarray(bytes.byteLength) });
      } catch (error) {
        expect(error).toMatchObject({ name: "PycdsError" });
      }
    }));
  });
});
