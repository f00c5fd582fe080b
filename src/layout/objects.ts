/** Sizes and contents of the objects of a unit: one shape a type, all offsets from the ABI data. */
import type { Abi } from "../abi/types.ts";
import type { BytesNode, ComplexNode, Edge, FloatNode, GraphNode, IntNode, SliceNode, StrValue, TupleNode } from "../graph/types.ts";
import { codeShape } from "./code.ts";
import type { ObjectBuffer } from "./sink.ts";
import { inlineOffset, structFiller } from "./struct.ts";
import type { Filler, Rule } from "./struct.ts";

/** How objects of one type are laid out. */
export interface Shape<N> {
  /** A GC header lies in front of the object. */
  readonly gc: boolean;
  /** Bytes from ob_refcnt to the end. */
  size(node: N): number;
  readonly fill: Filler<N>;
}

/** Shapes of all types that a unit can hold. */
export interface Shapes {
  /** Bytes of the GC header in front of an object; 0 where it has none. */
  gcHeader(node: GraphNode): number;
  size(node: GraphNode): number;
  fill(out: ObjectBuffer, at: number, node: GraphNode): void;
}

/** "Not hashed yet", for every type that caches its hash. */
const noHash: Rule<unknown> = (out, slot, _node, field) => out.integer(slot, field, -1);

export function objectShapes(abi: Abi): Shapes {
  const code = codeShape(abi);
  const str = strShape(abi, { shareWstr: true });
  const bytes = bytesShape(abi);
  const int = intShape(abi);
  const float = floatShape(abi);
  const complex = complexShape(abi);
  const tuple = tupleShape(abi);
  // Types that no constant of this version has need no rules for their fields.
  const slice = abi.hasSliceConstants ? sliceShape(abi) : undefined;
  const sliceOf = (): Shape<SliceNode> => {
    if (slice === undefined) throw new Error(`${abi.id} has no slice constants`);
    return slice;
  };
  const shapeOf = (node: GraphNode): { readonly gc: boolean } => {
    switch (node.kind) {
      case "code":
        return code;
      case "str":
        return str;
      case "bytes":
        return bytes;
      case "int":
        return int;
      case "float":
        return float;
      case "complex":
        return complex;
      case "tuple":
        return tuple;
      case "slice":
        return sliceOf();
    }
  };
  return {
    gcHeader: (node) => (shapeOf(node).gc ? abi.gcHeaderSize : 0),
    size: (node) => {
      switch (node.kind) {
        case "code":
          return code.size(node);
        case "str":
          return str.size(node.value);
        case "bytes":
          return bytes.size(node);
        case "int":
          return int.size(node);
        case "float":
          return float.size(node);
        case "complex":
          return complex.size(node);
        case "tuple":
          return tuple.size(node);
        case "slice":
          return sliceOf().size(node);
      }
    },
    fill: (out, at, node) => {
      switch (node.kind) {
        case "code":
          return code.fill(out, at, node);
        case "str":
          return str.fill(out, at, node.value);
        case "bytes":
          return bytes.fill(out, at, node);
        case "int":
          return int.fill(out, at, node);
        case "float":
          return float.fill(out, at, node);
        case "complex":
          return complex.fill(out, at, node);
        case "tuple":
          return tuple.fill(out, at, node);
        case "slice":
          return sliceOf().fill(out, at, node);
      }
    },
  };
}

/**
 * Compact strings (Include/cpython/unicodeobject.h): ASCII ones in
 * PyASCIIObject, all others in PyCompactUnicodeObject; data NUL-terminated at
 * its width.
 *
 * @param options shareWstr: to 3.11, a UCS4 string's wstr is its data, as
 *   PyUnicode_New does it where wchar_t has four bytes. Without, it is NULL,
 *   which is as valid (Windows has it so) and needs no relocation.
 */
export function strShape(abi: Abi, options: { readonly shareWstr: boolean }): Shape<StrValue> {
  const headSize = { ascii: inlineOffset(abi, "PyASCIIObject"), compact: inlineOffset(abi, "PyCompactUnicodeObject") };
  const head = (value: StrValue): number => (value.ascii ? headSize.ascii : headSize.compact);
  const shares = (value: StrValue): boolean => options.shareWstr && value.width === 4;
  const rules = new Map<string, Rule<StrValue>>([
    ["length", (out, slot, value, field) => out.integer(slot, field, value.length)],
    ["hash", noHash],
    ["state", (out, slot, value, field) => out.integer(slot, field, abi.strState(value.width, value.ascii))],
    ["wstr", (out, slot, value, _field, at) => { if (shares(value)) out.pointers.internal(slot, at + head(value)); }],
    ["wstr_length", (out, slot, value, field) => out.integer(slot, field, shares(value) ? value.length : 0)],
    ["data", (out, slot, value) => out.bytes.set(value.data, slot)],
  ]);
  const ascii = structFiller(abi, "PyUnicode_Type", "PyASCIIObject", rules);
  const compact = structFiller(abi, "PyUnicode_Type", "PyCompactUnicodeObject", rules);
  return {
    gc: false,
    size: (value) => head(value) + value.data.length + value.width,
    fill: (out, at, value) => (value.ascii ? ascii : compact)(out, at, value),
  };
}

/** Bytes, NUL-terminated (Objects/bytesobject.c: PyBytes_FromStringAndSize). */
function bytesShape(abi: Abi): Shape<BytesNode> {
  const head = inlineOffset(abi, "PyBytesObject");
  return {
    gc: false,
    size: ({ value }) => head + value.data.length + 1,
    fill: structFiller(abi, "PyBytes_Type", "PyBytesObject", new Map<string, Rule<BytesNode>>([
      ["ob_size", (out, slot, { value }, field) => out.integer(slot, field, value.data.length)],
      ["ob_shash", noHash],
      ["ob_sval", (out, slot, { value }) => out.bytes.set(value.data, slot)],
    ])),
  };
}

/** The size word (ob_size, or lv_tag from 3.12 on) and the digits come from the ABI in one piece. */
function intShape(abi: Abi): Shape<IntNode> {
  const body: Rule<IntNode> = (out, _slot, { value }, _field, at) => {
    const { offset, bytes } = abi.intBody(value.value);
    out.bytes.set(bytes, at + offset);
  };
  return {
    gc: false,
    size: ({ value }) => {
      const { offset, bytes } = abi.intBody(value.value);
      return offset + bytes.length;
    },
    fill: structFiller(abi, "PyLong_Type", "PyLongObject", new Map<string, Rule<IntNode>>([
      ["ob_size", body],
      ["lv_tag", body],
      ["ob_digit", () => undefined],
    ])),
  };
}

function floatShape(abi: Abi): Shape<FloatNode> {
  return {
    gc: false,
    size: () => abi.struct("PyFloatObject").size,
    fill: structFiller(abi, "PyFloat_Type", "PyFloatObject", new Map<string, Rule<FloatNode>>([
      ["ob_fval", (out, slot, { value }) => out.bits(slot, value.bits)],
    ])),
  };
}

function complexShape(abi: Abi): Shape<ComplexNode> {
  return {
    gc: false,
    size: () => abi.struct("PyComplexObject").size,
    fill: structFiller(abi, "PyComplex_Type", "PyComplexObject", new Map<string, Rule<ComplexNode>>([
      // Py_complex: real, then imag
      ["cval", (out, slot, { value }) => {
        out.bits(slot, value.realBits);
        out.bits(slot + 8, value.imagBits);
      }],
    ])),
  };
}

function tupleShape(abi: Abi): Shape<TupleNode> {
  const head = inlineOffset(abi, "PyTupleObject");
  return {
    gc: abi.gcKinds.has("tuple"),
    size: ({ items }) => head + items.length * abi.pointerSize,
    fill: structFiller(abi, "PyTuple_Type", "PyTupleObject", new Map<string, Rule<TupleNode>>([
      ["ob_size", (out, slot, { items }, field) => out.integer(slot, field, items.length)],
      ["ob_hash", noHash],
      ["ob_item", (out, slot, { items }) => items.forEach((item, index) => out.pointers.edge(slot + index * abi.pointerSize, item))],
    ])),
  };
}

function sliceShape(abi: Abi): Shape<SliceNode> {
  const pointer = (get: (node: SliceNode) => Edge): Rule<SliceNode> => (out, slot, node) => out.pointers.edge(slot, get(node));
  return {
    gc: abi.gcKinds.has("slice"),
    size: () => abi.struct("PySliceObject").size,
    fill: structFiller(abi, "PySlice_Type", "PySliceObject", new Map<string, Rule<SliceNode>>([
      ["start", pointer((node) => node.start)],
      ["stop", pointer((node) => node.stop)],
      ["step", pointer((node) => node.step)],
    ])),
  };
}
