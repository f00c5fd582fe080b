/**
 * Code objects: stream fields, derived scalars, and the bytecode, which is
 * quickened trailing data (Objects/codeobject.c: init_code) or, to 3.10, an
 * object of its own (PyCode_NewWithPosOnlyArgs).
 */
import type { Abi, CodeFacts, NameFacts } from "../abi/types.ts";
import type { CodeEdges, CodeNode, CodeValue, Edge, LegacyEdges } from "../graph/types.ts";
import type { Shape } from "./objects.ts";
import { unknownField } from "./sink.ts";
import { inlineOffset, structFiller } from "./struct.ts";
import type { Rule } from "./struct.ts";

/** C field → edge of the graph. */
const pointerFields: readonly (readonly [string, (edges: CodeEdges) => Edge])[] = [
  ["co_consts", ({ consts }) => consts],
  ["co_names", ({ names }) => names],
  ["co_localsplusnames", ({ localsplusnames }) => localsplusnames],
  ["co_localspluskinds", ({ localspluskinds }) => localspluskinds],
  ["co_filename", ({ filename }) => filename],
  ["co_name", ({ name }) => name],
  ["co_qualname", ({ qualname }) => qualname],
  ["co_linetable", ({ linetable }) => linetable],
  ["co_exceptiontable", ({ exceptiontable }) => exceptiontable],
  // To 3.10; 3.9 calls its line table so.
  ["co_lnotab", ({ linetable }) => linetable],
  ["co_code", (edges) => legacyEdges(edges).code],
  ["co_varnames", (edges) => legacyEdges(edges).varnames],
  ["co_freevars", (edges) => legacyEdges(edges).freevars],
  ["co_cellvars", (edges) => legacyEdges(edges).cellvars],
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
  const head = abi.hasLegacyCode ? abi.struct("PyCodeObject").size : inlineOffset(abi, "PyCodeObject");
  const rules = new Map<string, Rule<CodeNode>>(
    pointerFields.map(([field, edge]) => [field, (out, slot, node) => out.pointers.edge(slot, edge(node.edges))]),
  );
  rules.set("co_code_adaptive", (out, slot, node) => {
    const adaptive = abi.quicken(node.value.code.data);
    if (adaptive.length !== node.value.code.data.length) throw new Error(`${abi.id}: quickening changed the size of bytecode`);
    out.bytes.set(adaptive, slot);
  });
  // To 3.10 an array of PyMem's, freed with the code object; ours is never freed, so the array can lie behind it.
  rules.set("co_cell2arg", (out, slot, { value }, _field, at) => {
    const cells = cell2arg(abi, value);
    if (cells.length === 0) return;
    out.pointers.internal(slot, at + head);
    cells.forEach((argument, index) => out.bits(at + head + index * abi.pointerSize, BigInt.asUintN(64, BigInt(argument))));
  });
  if (abi.hasCodeVersion) rules.set("co_version", (out, slot) => out.pointers.codeVersion(slot));

  /** Numbers: of the node being filled, asked from the ABI once. */
  let scalars: { readonly of: CodeNode; readonly values: ReadonlyMap<string, number> } | undefined;
  const scalar: Rule<CodeNode> = (out, slot, node, field) => {
    if (scalars?.of !== node) scalars = { of: node, values: abi.codeScalars(codeFacts(node.value)) };
    const value = scalars.values.get(field.name) ?? streamFields.get(field.name)?.(node.value);
    if (value === undefined) throw unknownField("PyCodeObject", field);
    out.integer(slot, field, value);
  };
  const derived = abi.codeScalars(sampleFacts);
  for (const name of [...streamFields.keys(), ...derived.keys()]) if (!rules.has(name)) rules.set(name, scalar);
  return {
    gc: abi.gcKinds.has("code"),
    size: ({ value }) => head + (abi.hasLegacyCode ? cell2arg(abi, value).length * abi.pointerSize : value.code.data.length),
    fill: structFiller(abi, "PyCode_Type", "PyCodeObject", rules),
  };
}

function legacyEdges({ legacy }: CodeEdges): LegacyEdges {
  if (legacy === undefined) throw new Error("a graph that was made for another CPython");
  return legacy;
}

/** Items of co_cell2arg; none where the field is NULL. */
function cell2arg(abi: Abi, code: CodeValue): readonly number[] {
  if (code.legacy === undefined || code.legacy.cellvars.items.length === 0) return [];
  return abi.cell2arg(codeFacts(code)) ?? [];
}

function codeFacts(code: CodeValue): CodeFacts {
  const { argcount, posonlyargcount, kwonlyargcount, stacksize, flags, firstlineno, legacy } = code;
  const facts = { argcount, posonlyargcount, kwonlyargcount, stacksize, flags, firstlineno, code: code.code.data, localspluskinds: code.localspluskinds.data };
  if (legacy === undefined) return facts;
  const names = ({ items }: CodeValue["names"]): readonly NameFacts[] => items.filter((item) => item.kind === "str");
  return { ...facts, legacy: { nlocals: legacy.nlocals, varnames: names(legacy.varnames), cellvars: names(legacy.cellvars), freevars: names(legacy.freevars) } };
}

/** Asks the ABI which fields it derives. */
const sampleFacts: CodeFacts = {
  argcount: 0, posonlyargcount: 0, kwonlyargcount: 0, stacksize: 1, flags: 0, firstlineno: 1,
  code: new Uint8Array(2),
  localspluskinds: new Uint8Array(0),
  legacy: { nlocals: 0, varnames: [], cellvars: [], freevars: [] },
};
