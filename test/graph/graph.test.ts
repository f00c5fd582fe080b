import { describe, expect, it } from "vitest";
import { buildModuleGraph } from "../../src/graph/build.ts";
import { NameTable } from "../../src/graph/names.ts";
import type { Edge, ExclusionReason, GraphNode, GraphOptions, ModuleGraph } from "../../src/graph/types.ts";
import { strText } from "../../src/pyc/text.ts";
import type { CodeValue, PyValue, StrValue, TupleValue } from "../../src/pyc/value.ts";
import { bytes, code, frozenset, int, none, str, tuple } from "../layout/support.ts";

const options: GraphOptions = {
  smallInts: { min: -5, max: 256 },
  hasSliceConstants: false,
  hasLegacyCode: false,
  internsConstant: (ascii, data) => ascii && /^\w*$/.test(Buffer.from(data).toString("latin1")),
};

function build(root: CodeValue, names = new NameTable(), more: Partial<GraphOptions> = {}): ModuleGraph {
  const graph = buildModuleGraph(root, { ...options, ...more }, names);
  if (graph.kind === "excluded") throw new Error(graph.reason);
  return graph;
}

function rootOf(graph: ModuleGraph): Extract<GraphNode, { readonly kind: "code" }> {
  const node = graph.nodes[graph.root];
  if (node?.kind !== "code") throw new Error("root is no code object");
  return node;
}

function nodeAt(graph: ModuleGraph, edge: Edge | undefined): GraphNode {
  const node = edge?.kind === "node" ? graph.nodes[edge.node] : undefined;
  if (node === undefined) throw new Error(`no node: ${JSON.stringify(edge)}`);
  return node;
}

function itemsAt(graph: ModuleGraph, edge: Edge | undefined): readonly Edge[] {
  const node = nodeAt(graph, edge);
  if (node.kind !== "tuple") throw new Error(node.kind);
  return node.items;
}

/** Edges of co_consts. */
function constEdges(values: readonly PyValue[], names = new NameTable(), more: Partial<GraphOptions> = {}): readonly Edge[] {
  const graph = build(code(values), names, more);
  return itemsAt(graph, rootOf(graph).edges.consts);
}

function excluded(value: CodeValue, names = new NameTable()): ExclusionReason {
  const result = buildModuleGraph(value, options, names);
  if (result.kind !== "excluded") throw new Error("not excluded");
  return result;
}

const text = (names: NameTable): string[] => names.entries.map((entry) => strText(entry.value));
const interned = (value: string): StrValue => ({ ...str(value), interned: true });

describe("constants that the interpreter already has (facts/cpython.md §3, singletons)", () => {
  it.each<[string, PyValue, Edge]>([
    ["None", none, { kind: "external", of: "none" }],
    ["True", { kind: "bool", value: true }, { kind: "external", of: "true" }],
    ["False", { kind: "bool", value: false }, { kind: "external", of: "false" }],
    ["Ellipsis", { kind: "ellipsis" }, { kind: "external", of: "ellipsis" }],
    ["StopIteration", { kind: "stopiteration" }, { kind: "external", of: "stopIteration" }],
    ["''", str(""), { kind: "external", of: "emptyStr" }],
    ["b''", bytes(), { kind: "external", of: "emptyBytes" }],
    ["()", tuple(), { kind: "external", of: "emptyTuple" }],
    ["-5", int(-5), { kind: "smallInt", value: -5 }],
    ["256", int(256), { kind: "smallInt", value: 256 }],
    ["'-'", str("-"), { kind: "latin1", codePoint: 45 }],
    ["'é'", str("é"), { kind: "latin1", codePoint: 0xe9 }],
  ])("%s", (_name, value, edge) => expect(constEdges([value])).toEqual([edge]));

  it.each<[string, PyValue]>([
    ["-6", int(-6)], ["257", int(257)], ["2**70", int(2n ** 70n)], ["0.0", { kind: "float", bits: 0n }],
    ["a non-name string", str("a b")], ["a one-character string beyond Latin-1", str("€")],
  ])("not %s", (_name, value) => expect(constEdges([value])[0]?.kind).toBe("node"));

  it("not one-byte bytes: r_object in Python/marshal.c makes a new object", () => {
    expect(constEdges([bytes(97)])[0]?.kind).toBe("node");
  });

  it("takes the range of small ints from the target", () => {
    expect(constEdges([int(1024)], new NameTable(), { smallInts: { min: -5, max: 1024 } })).toEqual([{ kind: "smallInt", value: 1024 }]);
  });
});

describe("names (facts/cpython.md §3, what the code constructor interns)", () => {
  it("are all of co_names and co_localsplusnames, whatever they look like", () => {
    const names = new NameTable();
    const graph = build(code([], { names: tuple(str("b c"), str("€")), localsplusnames: tuple(str(".0")), localspluskinds: bytes(0x20) }), names);
    expect(text(names)).toEqual(["b c", "€", ".0"]);
    expect(itemsAt(graph, rootOf(graph).edges.names)).toEqual([{ kind: "name", name: 0 }, { kind: "name", name: 1 }]);
    expect(itemsAt(graph, rootOf(graph).edges.localsplusnames)).toEqual([{ kind: "name", name: 2 }]);
  });

  it("are constants that look like names, also inside tuples and frozensets, and nothing else", () => {
    const names = new NameTable();
    const edges = constEdges([str("plain"), str("not plain"), tuple(tuple(str("inner"), str("in-ner"))), frozenset(tuple(str("set"), str("s t")))], names);
    expect(text(names)).toEqual(["plain", "inner", "set"]);
    expect(edges.map((edge) => edge.kind)).toEqual(["name", "node", "node", "rebuilt"]);
  });

  it("are strings that the stream flags as interned", () => {
    const names = new NameTable();
    expect(constEdges([interned("C.method")], names)).toEqual([{ kind: "name", name: 0 }]);
  });

  it("are co_name and co_qualname only where the stream says so", () => {
    const flagged = build(code([], { name: interned("<lambda>"), qualname: interned("f.<locals>.<lambda>") }));
    expect([rootOf(flagged).edges.name.kind, rootOf(flagged).edges.qualname.kind]).toEqual(["name", "name"]);
    const shared = str("<module>");
    const plain = build(code([shared], { name: shared, qualname: shared }));
    const { edges } = rootOf(plain);
    expect(edges.name).toEqual(edges.qualname);
    expect(itemsAt(plain, edges.consts)[0]).toEqual(edges.name);
    expect(nodeAt(plain, edges.name)).toMatchObject({ kind: "str", value: shared });
  });

  it("are numbered once for the whole archive, in order of first use", () => {
    const names = new NameTable();
    build(code([str("second")], { names: tuple(str("first")) }), names);
    build(code([str("third"), str("first")]), names);
    expect(text(names)).toEqual(["first", "second", "third"]);
  });

  it("of one Latin-1 character are flagged; '' is no name", () => {
    const names = new NameTable();
    const graph = build(code([], { names: tuple(str("x"), str("é"), str("€"), str("xy"), str("")) }), names);
    expect(names.entries.map((entry) => entry.latin1)).toEqual([0x78, 0xe9, undefined, undefined]);
    expect(itemsAt(graph, rootOf(graph).edges.names).at(-1)).toEqual({ kind: "external", of: "emptyStr" });
  });

  it("tell strings of the same bytes and another width apart", () => {
    const names = new NameTable();
    const wide: StrValue = { kind: "str", width: 2, length: 1, ascii: false, data: Uint8Array.of(0x61, 0x62), interned: false };
    expect(names.index(str("ab"))).not.toBe(names.index(wide));
  });

  it("fill a tuple that is both names and constants: the constructor changes it in place", () => {
    const both = tuple(str("€uro"));
    const graph = build(code([both], { names: both }));
    expect(itemsAt(graph, rootOf(graph).edges.names)[0]?.kind).toBe("name");
    expect(itemsAt(graph, rootOf(graph).edges.consts)[0]).toEqual(rootOf(graph).edges.names);
  });
});

describe("code objects of 3.9 and 3.10", () => {
  it("have their bytecode as an object, and names of variables by kind", () => {
    const names = new NameTable();
    const bytecode = bytes(100, 0, 83, 0);
    const legacy = { nlocals: 1, varnames: tuple(str("a b")), freevars: tuple(str("f b")), cellvars: tuple(str("c b")) };
    const inner = code([bytecode], { code: bytecode, names: tuple(str("n b")), qualname: str(""), legacy });
    const graph = build(code([inner], { code: bytecode, legacy: { ...legacy, varnames: tuple() } }), names, { hasLegacyCode: true });
    const node = nodeAt(graph, itemsAt(graph, rootOf(graph).edges.consts)[0]);
    if (node.kind !== "code" || node.edges.legacy === undefined) throw new Error("no legacy edges");
    const edges = node.edges.legacy;
    // Shared as in the stream: co_code can be asked for.
    expect(edges.code).toEqual(rootOf(graph).edges.legacy?.code);
    expect(itemsAt(graph, node.edges.consts)).toEqual([edges.code]);
    const named = (edge: Edge): string[] => itemsAt(graph, edge).map((item) => (item.kind === "name" ? (text(names)[item.name] ?? "") : item.kind));
    expect([node.edges.names, edges.varnames, edges.freevars, edges.cellvars].map(named)).toEqual([["n b"], ["a b"], ["f b"], ["c b"]]);
    expect(rootOf(graph).edges.legacy?.varnames).toEqual({ kind: "external", of: "emptyTuple" });
  });
});

describe("co_filename (facts/cpython.md §4, update_code_filenames)", () => {
  it("is the module's path where it equals the module's own, else a string", () => {
    const inner = code([], { filename: str("/lib/m.py") });
    const foreign = code([], { filename: str("<string>") });
    const graph = build(code([inner, foreign]));
    const [a, b] = itemsAt(graph, rootOf(graph).edges.consts).map((edge) => nodeAt(graph, edge));
    expect(rootOf(graph).edges.filename).toEqual({ kind: "filename" });
    expect(a).toMatchObject({ edges: { filename: { kind: "filename" } } });
    expect(b).toMatchObject({ edges: { filename: { kind: "node" } } });
  });
});

describe("sharing", () => {
  it("keeps one object one node, and two equal objects two", () => {
    const [big, copy] = [int(10n ** 30n), int(10n ** 30n)];
    const [a, b, c] = constEdges([big, copy, big]);
    expect(a).toEqual(c);
    expect(a).not.toEqual(b);
    const words = [str("a b"), str("a b"), tuple(none), tuple(none), bytes(1, 2), bytes(1, 2)];
    expect(new Set(constEdges(words).map((edge) => JSON.stringify(edge))).size).toBe(6);
  });

  it("merges equal code tables, but not with an equal constant", () => {
    const graph = build(code([code([], { linetable: bytes(1, 2, 3) }), bytes(1, 2, 3)], { exceptiontable: bytes(1, 2, 3) }));
    const { edges } = rootOf(graph);
    const [inner, constant] = itemsAt(graph, edges.consts);
    expect(edges.exceptiontable).toEqual(edges.linetable);
    expect(nodeAt(graph, inner)).toMatchObject({ edges: { linetable: edges.linetable } });
    expect(constant).not.toEqual(edges.linetable);
  });

  it("takes code tables of one byte from the interpreter", () => {
    expect(rootOf(build(code([], { linetable: bytes(7) }))).edges.linetable).toEqual({ kind: "byte", value: 7 });
  });
});

describe("frozensets (facts/cpython.md §3, hash stability)", () => {
  it("are made at load, children before parents, items in stream order", () => {
    const inner = frozenset(int(2), int(1));
    const outer = frozenset(tuple(inner, str("x")), int(3));
    const graph = build(code([outer, inner]));
    const [first, second] = itemsAt(graph, rootOf(graph).edges.consts);
    expect(graph.rebuilt[0]).toEqual({ kind: "frozenset", items: [{ kind: "smallInt", value: 2 }, { kind: "smallInt", value: 1 }] });
    expect([first, second]).toEqual([{ kind: "rebuilt", rebuilt: 1 }, { kind: "rebuilt", rebuilt: 0 }]);
    expect(itemsAt(graph, graph.rebuilt[1]?.items[0])).toEqual([{ kind: "rebuilt", rebuilt: 0 }, { kind: "name", name: 0 }]);
  });

  it("empty and shared ones stay one object", () => {
    const empty = frozenset();
    const graph = build(code([empty, empty, frozenset()]));
    expect(graph.rebuilt).toHaveLength(2);
  });
});

describe("exclusion", () => {
  it.each<[string, PyValue]>([
    ["list", { kind: "list", items: [] }], ["set", { kind: "set", items: [] }],
    ["dict", { kind: "dict", entries: [] }], ["frozendict", { kind: "frozendict", entries: [] }],
    ["slice", { kind: "slice", start: none, stop: none, step: none }],
  ])("%s constants, wherever they are", (kind, value) => {
    const inner = code([tuple(frozenset(tuple(value)))], { qualname: str("C.method") });
    const names = new NameTable();
    const reason = excluded(code([str("name_before"), inner]), names);
    expect(reason).toMatchObject({ kind: "excluded", code: "unsupported-constant" });
    expect(reason.reason).toContain(kind);
    expect(reason.reason).toContain("in C.method");
    expect(names.entries, "an excluded module leaves no names behind").toHaveLength(0);
  });

  it("slices are laid out where the target has them (3.14+)", () => {
    const graph = build(code([{ kind: "slice", start: none, stop: int(1000), step: str("step") }]), new NameTable(), { hasSliceConstants: true });
    expect(nodeAt(graph, itemsAt(graph, rootOf(graph).edges.consts)[0])).toMatchObject({ kind: "slice", start: { of: "none" }, stop: { kind: "node" }, step: { kind: "node" } });
  });

  it("strings in slices are not interned, unless the stream says so (intern_constants in Objects/codeobject.c goes into tuples and frozensets only)", () => {
    const [shared, both] = [str("shared"), tuple(str("in_both"))];
    const slice = (start: PyValue, stop: PyValue, step: PyValue): PyValue => ({ kind: "slice", start, stop, step });
    const names = new NameTable();
    const graph = build(code([slice(shared, interned("flagged"), str("x")), shared, slice(tuple(str("deep")), both, shared), both]), names, { hasSliceConstants: true });
    const [first, , second] = itemsAt(graph, rootOf(graph).edges.consts).map((edge) => (edge.kind === "node" ? nodeAt(graph, edge) : edge));
    expect(text(names).toSorted()).toEqual(["flagged", "in_both", "shared"]);
    expect(first).toMatchObject({ start: { kind: "node" }, stop: { kind: "name" }, step: { kind: "latin1" } });
    if (first?.kind !== "slice" || second?.kind !== "slice") throw new Error("no slices");
    expect(second.step, "one object stays one").toEqual(first.start);
    expect(itemsAt(graph, second.start)[0]?.kind).toBe("node");
    expect(itemsAt(graph, second.stop)[0]?.kind).toBe("name");
  });

  it("cycles", () => {
    const items: PyValue[] = [];
    const loop: TupleValue = { kind: "tuple", items };
    items.push(frozenset(loop));
    expect(excluded(code([loop])).code).toBe("cyclic-constant");
  });

  it("code objects of 3.9 and 3.10 where the target is another, and the reverse", () => {
    expect(excluded(code([], { legacy: { nlocals: 0, varnames: tuple(), freevars: tuple(), cellvars: tuple() } })).code).toBe("foreign-code");
    expect(buildModuleGraph(code([]), { ...options, hasLegacyCode: true }, new NameTable())).toMatchObject({ kind: "excluded", code: "foreign-code" });
  });
});

describe("depth", () => {
  it("costs no stack", () => {
    let deep: PyValue = str("bottom");
    for (let level = 0; level < 200_000; level++) deep = level % 1000 === 0 ? frozenset(deep) : tuple(deep);
    const graph = build(code([deep]));
    expect(graph.nodes.length + graph.rebuilt.length).toBeGreaterThan(200_000);
    expect(graph.rebuilt[0]?.items).toEqual([{ kind: "name", name: 0 }]);
  });
});
