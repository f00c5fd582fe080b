/**
 * A module's code value → nodes and edges.
 *
 * Sharing. One source object is one node, which is marshal's and so CPython's
 * sharing. Merged beyond that:
 * - interned names, by text: CPython's interning does the same;
 * - None, bools, Ellipsis, '', b'', (), small ints and one-character Latin-1
 *   strings, which marshal.loads takes from the interpreter too;
 * - co_linetable, co_exceptiontable and co_localspluskinds of equal bytes: the
 *   code constructor's private tables. Nothing asks for their identity, and
 *   those of one byte become the interpreter's own.
 *   (co_code of 3.9 and 3.10 is shared as in the stream.)
 * Not merged: equal constants that are two objects in the stream (floats, big
 * ints, strings that are no names, tuples, bytes even of one byte, for which
 * r_object in Python/marshal.c makes a new object; the compiler does not, so
 * {@link GraphOptions.sharesBytes}). `is` could tell.
 */
import type {
  BytesValue, CodeValue, ComplexValue, FloatValue, FrozensetValue, IntValue, PyValue, StrValue, TupleValue,
} from "../pyc/value.ts";
import { discover } from "./discover.ts";
import type { Discovery } from "./discover.ts";
import { latin1CodePoint } from "./names.ts";
import type { NameTable } from "./names.ts";
import type { CodeEdges, Edge, ExclusionReason, GraphNode, GraphOptions, ModuleGraph, RebuiltNode, Singleton } from "./types.ts";

/**
 * The graph of one module. `names` is only added to when the module can be
 * archived.
 */
export function buildModuleGraph(code: CodeValue, options: GraphOptions, names: NameTable): ModuleGraph | ExclusionReason {
  const found = discover(code, options);
  return found.kind === "excluded" ? found : new Builder(code, options, names, found).build();
}

const singletons = {
  none: { kind: "external", of: "none" },
  true: { kind: "external", of: "true" },
  false: { kind: "external", of: "false" },
  ellipsis: { kind: "external", of: "ellipsis" },
  stopIteration: { kind: "external", of: "stopIteration" },
  emptyStr: { kind: "external", of: "emptyStr" },
  emptyBytes: { kind: "external", of: "emptyBytes" },
  emptyTuple: { kind: "external", of: "emptyTuple" },
} as const satisfies Record<Singleton, Edge>;
const filenameEdge: Edge = { kind: "filename" };

/** Values that are laid out and point at nothing. */
type Leaf = StrValue | BytesValue | IntValue | FloatValue | ComplexValue;

class Builder {
  private readonly code: CodeValue;
  private readonly options: GraphOptions;
  private readonly names: NameTable;
  private readonly found: Discovery;
  /** Filled in order of first reference; containers get their place before their contents are known. */
  private readonly nodes: (GraphNode | undefined)[] = [];
  private readonly edges = new Map<PyValue, Edge>();
  /** Strings that look like names where the constructor does not look. */
  private readonly plain = new Map<StrValue, Edge>();
  private readonly tables = new Map<string, Edge>();
  private readonly tableValues = new Map<BytesValue, Edge>();
  private readonly ownFilename: Buffer;

  constructor(code: CodeValue, options: GraphOptions, names: NameTable, found: Discovery) {
    this.code = code;
    this.options = options;
    this.names = names;
    this.found = found;
    this.ownFilename = Buffer.from(code.filename.data);
  }

  build(): ModuleGraph {
    const { containers, frozensets } = this.found;
    for (const [rebuilt, value] of frozensets.entries()) this.edges.set(value, { kind: "rebuilt", rebuilt });
    const root = this.indexOf(this.code);
    const rebuilt = new Map<FrozensetValue, RebuiltNode>();
    for (const value of containers) {
      switch (value.kind) {
        case "code":
          this.nodes[this.indexOf(value)] = { kind: "code", value, edges: this.codeEdges(value) };
          break;
        case "tuple":
          if (value.items.length > 0) this.nodes[this.indexOf(value)] = { kind: "tuple", items: this.items(value) };
          break;
        case "slice":
          this.nodes[this.indexOf(value)] = {
            kind: "slice", start: this.unseen(value.start), stop: this.unseen(value.stop), step: this.unseen(value.step),
          };
          break;
        case "frozenset":
          rebuilt.set(value, { kind: "frozenset", items: this.items(value) });
          break;
      }
    }
    return {
      kind: "graph",
      nodes: this.nodes.map((node) => present(node)),
      root,
      rebuilt: frozensets.map((value) => present(rebuilt.get(value))),
    };
  }

  /** Node index of a value that is laid out as an object of its own. */
  private indexOf(value: PyValue): number {
    const edge = this.edge(value);
    if (edge.kind !== "node") throw new Error(`a ${value.kind} that is no node`);
    return edge.node;
  }

  private edge(value: PyValue): Edge {
    const known = this.edges.get(value);
    if (known !== undefined) return known;
    const edge = this.newEdge(value);
    this.edges.set(value, edge);
    return edge;
  }

  private newEdge(value: PyValue): Edge {
    switch (value.kind) {
      case "none":
        return singletons.none;
      case "bool":
        return value.value ? singletons.true : singletons.false;
      case "ellipsis":
        return singletons.ellipsis;
      case "stopiteration":
        return singletons.stopIteration;
      case "int":
        return value.value >= this.options.smallInts.min && value.value <= this.options.smallInts.max
          ? { kind: "smallInt", value: Number(value.value) }
          : this.newNode(value);
      case "str":
        return this.str(value);
      case "bytes":
        return this.bytes(value);
      case "tuple":
        return value.items.length === 0 ? singletons.emptyTuple : this.newNode();
      case "float": case "complex":
        return this.newNode(value);
      case "code": case "slice":
        return this.newNode();
      case "frozenset": case "list": case "set": case "dict": case "frozendict":
        throw new Error(`a ${value.kind} that discovery did not see`);
    }
  }

  private bytes(value: BytesValue): Edge {
    const first = value.data[0];
    if (first === undefined) return singletons.emptyBytes;
    return value.data.length === 1 && this.options.sharesBytes === true ? { kind: "byte", value: first } : this.newNode(value);
  }

  /** A place in the node list; containers are filled in later. */
  private newNode(leaf?: Leaf): Edge {
    const node = this.nodes.length;
    this.nodes.push(leaf === undefined ? undefined : leafNode(leaf));
    return { kind: "node", node };
  }

  /**
   * A str outside the names tuples. Interned by marshal when the stream says so
   * (r_object, Python/marshal.c), or by the code constructor when it looks like
   * a name (intern_string_constants, Objects/codeobject.c), which also looks
   * into tuples and frozensets.
   */
  private str(value: StrValue): Edge {
    if (value.length === 0) return singletons.emptyStr;
    if (value.interned || this.options.internsConstant(value.ascii, value.data)) return this.name(value);
    const codePoint = latin1CodePoint(value);
    return codePoint === undefined ? this.newNode(value) : { kind: "latin1", codePoint };
  }

  /** '' is interned by the interpreter itself, and must stay the one object. */
  private name(value: StrValue): Edge {
    return value.length === 0 ? singletons.emptyStr : { kind: "name", name: this.names.index(value) };
  }

  /** A value where the code constructor does not look for names, such as an item of a slice. */
  private unseen(value: PyValue): Edge {
    if (value.kind !== "str" || value.length === 0 || value.interned || !this.options.internsConstant(value.ascii, value.data)) return this.edge(value);
    const codePoint = latin1CodePoint(value);
    if (codePoint !== undefined) return { kind: "latin1", codePoint };
    const known = this.plain.get(value);
    if (known !== undefined) return known;
    const edge = this.newNode(value);
    this.plain.set(value, edge);
    return edge;
  }

  private items(of: TupleValue | FrozensetValue): readonly Edge[] {
    // intern_strings and intern_string_constants change tuples in place, so one
    // tuple used as names and as constants has names only.
    if (of.kind === "tuple" && this.found.nameTuples.has(of)) return of.items.map((item) => (item.kind === "str" ? this.name(item) : this.edge(item)));
    return of.items.map(this.found.constants.has(of) ? (item) => this.edge(item) : (item) => this.unseen(item));
  }

  private codeEdges(code: CodeValue): CodeEdges {
    return {
      names: this.edge(code.names),
      consts: this.edge(code.consts),
      localsplusnames: this.edge(code.localsplusnames),
      localspluskinds: this.table(code.localspluskinds),
      filename: this.filename(code.filename),
      // Interned only where the stream says so: before 3.13 the constructor leaves
      // them alone, and `<lambda>` or `C.method` are plain strings; from 3.13 on
      // init_code (Objects/codeobject.c) interns both, so the compiler's are flagged.
      name: this.edge(code.name),
      qualname: this.edge(code.qualname),
      linetable: this.table(code.linetable),
      exceptiontable: this.table(code.exceptiontable),
      ...(code.legacy === undefined ? {} : {
        legacy: {
          code: this.edge(code.code),
          varnames: this.edge(code.legacy.varnames),
          freevars: this.edge(code.legacy.freevars),
          cellvars: this.edge(code.legacy.cellvars),
        },
      }),
    };
  }

  /** `update_code_filenames` (Python/import.c) changes exactly those that equal the module's own, of modules with a source. */
  private filename(value: StrValue): Edge {
    if (this.options.keepsFilename === true) return this.edge(value);
    return value.width === this.code.filename.width && this.ownFilename.equals(value.data) ? filenameEdge : this.edge(value);
  }

  private table(value: BytesValue): Edge {
    const first = value.data[0];
    if (first === undefined) return singletons.emptyBytes;
    if (value.data.length === 1) return { kind: "byte", value: first };
    const same = this.tableValues.get(value);
    if (same !== undefined) return same;
    const edge = this.tableOfText(value);
    this.tableValues.set(value, edge);
    return edge;
  }

  private tableOfText(value: BytesValue): Edge {
    const text = Buffer.from(value.data.buffer, value.data.byteOffset, value.data.byteLength).toString("latin1");
    const known = this.tables.get(text);
    if (known !== undefined) return known;
    const edge = this.edge(value);
    this.tables.set(text, edge);
    return edge;
  }
}

function leafNode(value: Leaf): GraphNode {
  switch (value.kind) {
    case "str":
      return { kind: "str", value };
    case "bytes":
      return { kind: "bytes", value };
    case "int":
      return { kind: "int", value };
    case "float":
      return { kind: "float", value };
    case "complex":
      return { kind: "complex", value };
  }
}

/** Every place is filled by the end of build(): containers and references to them come from one walk. */
function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a value that discovery did not see");
  return value;
}
