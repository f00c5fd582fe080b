/** Shared by the layout tests: ABIs under test, and short ways to make values. */
import { knownAbis, loadAbi } from "../../src/abi/load.ts";
import type { Abi } from "../../src/abi/types.ts";
import { buildModuleGraph } from "../../src/graph/build.ts";
import { NameTable } from "../../src/graph/names.ts";
import type { ModuleGraph } from "../../src/graph/types.ts";
import { strFromText } from "../../src/pyc/text.ts";
import type { BytesValue, CodeValue, PyValue, StrValue, TupleValue } from "../../src/pyc/value.ts";

export const abis: readonly Abi[] = knownAbis().map(loadAbi);

export const str = (text: string): StrValue => strFromText(text);
export const bytes = (...data: readonly number[]): BytesValue => ({ kind: "bytes", data: Uint8Array.from(data) });
export const int = (value: number | bigint): PyValue => ({ kind: "int", value: BigInt(value) });
export const tuple = (...items: readonly PyValue[]): TupleValue => ({ kind: "tuple", items });
export const frozenset = (...items: readonly PyValue[]): PyValue => ({ kind: "frozenset", items });
export const none: PyValue = { kind: "none" };

/** A code object with the given constants; RESUME and RETURN are beside the point here. */
export function code(consts: readonly PyValue[], more: Partial<CodeValue> = {}): CodeValue {
  return {
    kind: "code", argcount: 0, posonlyargcount: 0, kwonlyargcount: 0, stacksize: 1, flags: 0,
    code: bytes(9, 0, 9, 0), consts: tuple(...consts), names: tuple(), localsplusnames: tuple(), localspluskinds: bytes(),
    filename: str("/lib/m.py"), name: str("<module>"), qualname: str("<module>"), firstlineno: 1, linetable: bytes(1, 2, 3), exceptiontable: bytes(),
    ...more,
  };
}

/** Bits of co_localspluskinds (Include/internal/pycore_code.h). */
export const variable = { local: 0x20, cell: 0x40, free: 0x80 } as const;

/** Turns code as code() makes it into that of 3.9 or 3.10, nested code too: names by kind of variable, no qualified name. */
function makeLegacy(root: CodeValue): CodeValue {
  const seen = new Set<PyValue>();
  const pending: PyValue[] = [root];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    if (value.kind === "tuple" || value.kind === "frozenset") pending.push(...value.items);
    if (value.kind !== "code") continue;
    pending.push(value.consts);
    if (value.legacy !== undefined) continue;
    const { localsplusnames, localspluskinds } = value;
    const of = (bit: number): TupleValue => tuple(...localsplusnames.items.filter((_, index) => ((localspluskinds.data[index] ?? 0) & bit) !== 0));
    const varnames = of(variable.local);
    const legacy = { nlocals: varnames.items.length, varnames, freevars: of(variable.free), cellvars: of(variable.cell) };
    Object.assign(value, { legacy, localsplusnames: tuple(), localspluskinds: bytes(), qualname: str(""), exceptiontable: bytes() });
  }
  return root;
}

/** The graph, which must not be excluded; code is that of the target. */
export function graphOf(root: CodeValue, abi: Abi, names = new NameTable()): ModuleGraph {
  const graph = buildModuleGraph(abi.hasLegacyCode ? makeLegacy(root) : root, abi, names);
  if (graph.kind === "excluded") throw new Error(graph.reason);
  return graph;
}
