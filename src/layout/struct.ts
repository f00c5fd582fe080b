/** Fills a C structure field by field, by the roles that the ABI data gives. */
import type { Abi, FieldLayout, StructName } from "../abi/types.ts";
import type { ExternalType } from "../abi/externals.ts";
import { unknownField } from "./sink.ts";
import type { ObjectBuffer } from "./sink.ts";

/** Writes one field of one object; `slot` is the field's, `at` the object's buffered offset. */
export type Rule<N> = (out: ObjectBuffer, slot: number, node: N, field: FieldLayout, at: number) => void;

/** Rules by C field name; what has none must have the role `zero`. */
export type Rules<N> = ReadonlyMap<string, Rule<N>>;

/** Writes header and fields of an object at `at` (after any GC header). */
export type Filler<N> = (out: ObjectBuffer, at: number, node: N) => void;

/**
 * A filler for objects of one type. Fails at once, not at the first object,
 * when a field of the structure has a role but no rule.
 */
export function structFiller<N>(abi: Abi, type: ExternalType, struct: StructName, rules: Rules<N>): Filler<N> {
  const typeSlot = abi.field("PyObject", "ob_type").offset;
  const steps = [...abi.struct(struct).fields.values()].flatMap((field) => {
    if (isHeader(abi, field) || field.role === "zero") return [];
    const rule = rules.get(field.name);
    if (rule === undefined) throw unknownField(struct, field);
    return [{ field, rule }];
  });
  return (out, at, node) => {
    out.bytes.set(abi.immortalHeader, at);
    out.pointers.type(at + typeSlot, type);
    for (const { field, rule } of steps) rule(out, at + field.offset, node, field, at);
  };
}

/** Whether a field belongs to PyObject, whose contents the ABI gives as a whole (immortalHeader, ob_type). */
export function isHeader(abi: Abi, field: FieldLayout): boolean {
  return field.offset < abi.struct("PyObject").size;
}

/** Where the data behind a structure begins: its inline field. */
export function inlineOffset(abi: Abi, struct: StructName): number {
  for (const field of abi.struct(struct).fields.values()) if (field.kind === "inline") return field.offset;
  throw new Error(`${abi.id}: ${struct} has no inline field`);
}
