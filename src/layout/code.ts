/** Code objects: stream fields, derived scalars, quickened bytecode (Objects/codeobject.c: init_code). */
import type { Abi } from "../abi/types.ts";
import type { CodeEdges, CodeNode, CodeValue } from "../graph/types.ts";
import type { Shape } from "./objects.ts";
import { unknownField } from "./sink.ts";
import { inlineOffset, structFiller } from "./struct.ts";
import type { Rule } from "./struct.ts";

/** C field → edge of the graph. */
const pointerFields: readonly (readonly [string, keyof CodeEdges])[] = [
  ["co_consts", "consts"],
  ["co_names", "names"],
  ["co_localsplusnames", "localsplusnames"],
  ["co_localspluskinds", "localspluskinds"],
  ["co_filename", "filename"],
  ["co_name", "name"],
  ["co_qualname", "qualname"],
  ["co_linetable", "linetable"],
  ["co_exceptiontable", "exceptiontable"],
];

/** C field → number of the stream, where the ABI derives none of that name. */
const streamFields: ReadonlyMap<string, (code: CodeValue) => number> = new Map([
  ["co_argcount", (code: CodeValue) => code.argcount],
  ["co_posonlyargcount", (code: CodeValue) => code.posonlyargcount],
  ["co_kwonlyargcount", (code: CodeValue) => code.kwonlyargcount],
  ["co_stacksize", (code: CodeValue) => code.stacksize],
  ["co_flags", (code: CodeValue) => code.flags],
  ["co_firstlineno", (code: CodeValue) => code.firstlineno],
]);

export function codeShape(abi: Abi): Shape<CodeNode> {
  const head = inlineOffset(abi, "PyCodeObject");
  const rules = new Map<string, Rule<CodeNode>>(
    pointerFields.map(([field, edge]) => [field, (out, slot, node) => out.pointers.edge(slot, node.edges[edge])]),
  );
  rules.set("co_code_adaptive", (out, slot, node) => {
    const adaptive = abi.quicken(node.value.code.data);
    if (adaptive.length !== node.value.code.data.length) throw new Error(`${abi.id}: quickening changed the size of bytecode`);
    out.bytes.set(adaptive, slot);
  });
  if (abi.hasCodeVersion) rules.set("co_version", (out, slot) => out.pointers.codeVersion(slot));

  /** Numbers: of the node being filled, asked from the ABI once. */
  let scalars: { readonly of: CodeNode; readonly values: ReadonlyMap<string, number> } | undefined;
  const scalar: Rule<CodeNode> = (out, slot, node, field) => {
    if (scalars?.of !== node) scalars = { of: node, values: codeScalars(abi, node.value) };
    const value = scalars.values.get(field.name) ?? streamFields.get(field.name)?.(node.value);
    if (value === undefined) throw unknownField("PyCodeObject", field);
    out.integer(slot, field, value);
  };
  const derived = codeScalars(abi, sampleCode);
  for (const name of [...streamFields.keys(), ...derived.keys()]) if (!rules.has(name)) rules.set(name, scalar);
  return {
    gc: abi.gcKinds.has("code"),
    size: ({ value }) => head + value.code.data.length,
    fill: structFiller(abi, "PyCode_Type", "PyCodeObject", rules),
  };
}

function codeScalars(abi: Abi, code: CodeFactsSource): ReadonlyMap<string, number> {
  return abi.codeScalars({
    argcount: code.argcount,
    posonlyargcount: code.posonlyargcount,
    kwonlyargcount: code.kwonlyargcount,
    stacksize: code.stacksize,
    flags: code.flags,
    firstlineno: code.firstlineno,
    code: code.code.data,
    localspluskinds: code.localspluskinds.data,
  });
}

type CodeFactsSource = Pick<
  CodeValue,
  "argcount" | "posonlyargcount" | "kwonlyargcount" | "stacksize" | "flags" | "firstlineno" | "code" | "localspluskinds"
>;

/** Asks the ABI which fields it derives. */
const sampleCode: CodeFactsSource = {
  argcount: 0, posonlyargcount: 0, kwonlyargcount: 0, stacksize: 1, flags: 0, firstlineno: 1,
  code: { kind: "bytes", data: new Uint8Array(2) },
  localspluskinds: { kind: "bytes", data: new Uint8Array(0) },
};
