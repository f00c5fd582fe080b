/** Rows that the runtime compares with live objects before it trusts a layout. */
import type { AbiData } from "./schema.ts";
import type { SelfCheck } from "./types.ts";

/** i32 fields whose attribute is a plain member (Objects/codeobject.c: code_memberlist, or computed from the same word). */
const wordAttributes = [
  "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_stacksize", "co_flags", "co_firstlineno", "co_nlocals",
];

/** Fields whose attribute gives back the stored object itself, in the versions that have the field. */
const pointerAttributes = [
  "co_consts", "co_names", "co_filename", "co_name", "co_qualname", "co_linetable", "co_exceptiontable",
  // To 3.10.
  "co_code", "co_varnames", "co_freevars", "co_cellvars", "co_lnotab",
];

export function selfCheckRows(data: AbiData): SelfCheck[] {
  const { fields } = data.structs.PyCodeObject;
  const rows: SelfCheck[] = Object.entries(data.basicsizes).map(([name, size]) => ({ subject: "type", what: "basicsize", offset: size, name }));
  const add = (names: readonly string[], what: "i32" | "pointer"): void => {
    for (const name of names) {
      const field = fields[name];
      if (field !== undefined) rows.push({ subject: "code", what, offset: field.offset, name });
    }
  };
  add(wordAttributes, "i32");
  add(pointerAttributes, "pointer");
  return rows;
}
