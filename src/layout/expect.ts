/**
 * What the bytes of a laid-out object should be, read back from the ABI data
 * alone: the verifier's own view, which shares no code with the writer.
 */
import { external } from "../abi/externals.ts";
import type { ExternalType } from "../abi/externals.ts";
import type { Abi, FieldLayout, StructName } from "../abi/types.ts";
import type { LaidOutObject } from "./types.ts";

export type ObjectType = LaidOutObject["type"];

/** What may stand in a pointer slot. */
export type SlotRule =
  /** the object's type */
  | "type"
  /** a pointer to the object's own trailing data */
  | "own-data"
  | "tuple" | "bytes" | "str" | "filename" | "any";

export interface ExpectedSlot {
  /** Bytes from the start of the object. */
  readonly offset: number;
  readonly field: string;
  readonly rule: SlotRule;
}

const types: Readonly<Record<ObjectType, ExternalType>> = {
  code: "PyCode_Type", str: "PyUnicode_Type", bytes: "PyBytes_Type", tuple: "PyTuple_Type",
  int: "PyLong_Type", float: "PyFloat_Type", complex: "PyComplex_Type", slice: "PySlice_Type",
};

/** External reference number of an object's type. */
export function typeNumber(type: ObjectType): number {
  return external.type(types[type]);
}

const leastStructs: Readonly<Record<ObjectType, StructName>> = {
  code: "PyCodeObject", str: "PyASCIIObject", bytes: "PyBytesObject", tuple: "PyTupleObject",
  int: "PyLongObject", float: "PyFloatObject", complex: "PyComplexObject", slice: "PySliceObject",
};

/** Bytes that an object of a type has at least, so that its fields can be read. */
export function leastSize(abi: Abi, type: ObjectType): number {
  const struct = abi.struct(leastStructs[type]);
  return [...struct.fields.values()].find((field) => field.kind === "inline")?.offset ?? struct.size;
}

const codeRules: ReadonlyMap<string, SlotRule> = new Map([
  ["co_consts", "tuple"], ["co_names", "tuple"], ["co_localsplusnames", "tuple"],
  ["co_localspluskinds", "bytes"], ["co_linetable", "bytes"], ["co_exceptiontable", "bytes"],
  ["co_name", "str"], ["co_qualname", "str"], ["co_filename", "filename"],
  // 3.9 and 3.10
  ["co_code", "bytes"], ["co_lnotab", "bytes"], ["co_varnames", "tuple"], ["co_freevars", "tuple"], ["co_cellvars", "tuple"],
]);

/** One object in the bytes of a unit; reads are bounds-checked by DataView. */
export class ObjectView {
  private readonly abi: Abi;
  private readonly view: DataView;
  private readonly at: number;
  readonly type: ObjectType;

  constructor(abi: Abi, view: DataView, object: LaidOutObject) {
    this.abi = abi;
    this.view = view;
    this.at = object.offset;
    this.type = object.type;
  }

  /** The structure that describes the object; for str it depends on the state word. */
  get struct(): StructName {
    switch (this.type) {
      case "code":
        return "PyCodeObject";
      case "str":
        return this.strShape?.ascii === true ? "PyASCIIObject" : "PyCompactUnicodeObject";
      case "bytes":
        return "PyBytesObject";
      case "tuple":
        return "PyTupleObject";
      case "int":
        return "PyLongObject";
      case "float":
        return "PyFloatObject";
      case "complex":
        return "PyComplexObject";
      case "slice":
        return "PySliceObject";
    }
  }

  /** Width and ASCII bit by the state word; undefined when it is none of a fresh compact str. */
  get strShape(): { readonly width: 1 | 2 | 4; readonly ascii: boolean } | undefined {
    const state = this.view.getUint32(this.at + this.abi.field("PyASCIIObject", "state").offset, true);
    for (const width of [1, 2, 4] as const) {
      if (state === this.abi.strState(width, false)) return { width, ascii: false };
    }
    return state === this.abi.strState(1, true) ? { width: 1, ascii: true } : undefined;
  }

  word(offset: number): bigint {
    return this.view.getBigInt64(this.at + offset, true);
  }

  private count(struct: StructName, field: string): number {
    return Number(this.word(this.abi.field(struct, field).offset));
  }

  private get fields(): readonly FieldLayout[] {
    return [...this.abi.struct(this.struct).fields.values()];
  }

  /** Where trailing data begins. */
  private get head(): number {
    return this.fields.find((field) => field.kind === "inline")?.offset ?? this.abi.struct(this.struct).size;
  }

  /** Size by the object's own fields; undefined when they are absurd. */
  get size(): number | undefined {
    const size = this.rawSize();
    return size !== undefined && Number.isSafeInteger(size) && size >= this.head ? size : undefined;
  }

  private rawSize(): number | undefined {
    switch (this.type) {
      case "code":
        return this.abi.hasLegacyCode ? this.legacyCodeSize() : this.head + this.count("PyVarObject", "ob_size") * 2;
      case "bytes":
        return this.head + this.count("PyVarObject", "ob_size") + 1;
      case "tuple":
        return this.head + this.count("PyVarObject", "ob_size") * this.abi.pointerSize;
      case "str": {
        const shape = this.strShape;
        return shape === undefined ? undefined : this.head + (this.count("PyASCIIObject", "length") + 1) * shape.width;
      }
      case "int": {
        // From 3.12 on the digit count stands above three bits of sign and flags (Include/cpython/longintrepr.h).
        const digits = this.abi.hasField("PyLongObject", "lv_tag")
          ? Math.floor(this.count("PyLongObject", "lv_tag") / 8)
          : Math.abs(this.count("PyLongObject", "ob_size"));
        return this.abi.field("PyLongObject", "ob_digit").offset + Math.max(1, digits) * 4;
      }
      case "float": case "complex": case "slice":
        return this.abi.struct(this.struct).size;
    }
  }

  /** To 3.10 a code object is followed by its co_cell2arg, where it has one: an item for each cell variable. */
  private legacyCodeSize(): number | undefined {
    if (!this.hasCells) return this.head;
    const cellvars = this.word(this.abi.field("PyCodeObject", "co_cellvars").offset);
    const count = this.abi.field("PyVarObject", "ob_size");
    const at = Number(cellvars) + count.offset;
    if (cellvars < 0n || at + count.size > this.view.byteLength) return undefined;
    return this.head + Number(this.view.getBigInt64(at, true)) * this.abi.pointerSize;
  }

  private get hasCells(): boolean {
    return this.abi.hasField("PyCodeObject", "co_cell2arg") && this.word(this.abi.field("PyCodeObject", "co_cell2arg").offset) !== 0n;
  }

  /** Every pointer that must be relocated, by offset. */
  get slots(): readonly ExpectedSlot[] {
    return this.fields.flatMap((field): readonly ExpectedSlot[] => {
      const one = (rule: SlotRule): readonly ExpectedSlot[] => [{ offset: field.offset, field: field.name, rule }];
      if (field.role === "external") return one("type");
      if (field.name === "ob_item" && this.type === "tuple") {
        return Array.from({ length: Math.max(0, this.count("PyVarObject", "ob_size")) }, (_, index): ExpectedSlot => ({
          offset: field.offset + index * this.abi.pointerSize, field: `ob_item[${index}]`, rule: "any",
        }));
      }
      if (field.name === "co_cell2arg") return this.hasCells ? one("own-data") : [];
      if (field.role === "internal") return one(codeRules.get(field.name) ?? "any");
      // PyUnicode_New (Objects/unicodeobject.c, to 3.11): UCS4 data doubles as wchar_t.
      if (field.name === "wstr" && this.strShape?.width === 4) return one("own-data");
      return [];
    });
  }

  /** Fields that must hold 0, as offset and size. */
  get zeroFields(): readonly FieldLayout[] {
    return this.fields.filter((field) => field.role === "zero");
  }

  /** Offset of trailing data, for `own-data`. */
  get dataOffset(): number {
    return this.head;
  }
}
