/**
 * A module as nodes and edges: what must be laid out, what it points at, and
 * what is only known when the archive is loaded. No address, no ABI.
 */
import type { BytesValue, CodeValue, ComplexValue, FloatValue, IntValue, StrValue } from "../pyc/value.ts";

/** Values that nodes hold and that a layout handles by themselves. */
export type { CodeValue, StrValue };

/** Objects of the interpreter that an edge can name without a number of its own. */
export type Singleton =
  | "none" | "true" | "false" | "ellipsis" | "stopIteration" | "emptyStr" | "emptyBytes" | "emptyTuple";

/** Where a pointer of the module leads. */
export type Edge =
  /** another object of this module: index in {@link ModuleGraph.nodes} */
  | { readonly kind: "node"; readonly node: number }
  | { readonly kind: "external"; readonly of: Singleton }
  /** the interpreter's one-character string */
  | { readonly kind: "latin1"; readonly codePoint: number }
  /** the interpreter's one-byte bytes */
  | { readonly kind: "byte"; readonly value: number }
  | { readonly kind: "smallInt"; readonly value: number }
  /** the canonical interned string: index in the archive's NameTable */
  | { readonly kind: "name"; readonly name: number }
  /** the path that the module is loaded from */
  | { readonly kind: "filename" }
  /** an object that is made at load: index in {@link ModuleGraph.rebuilt} */
  | { readonly kind: "rebuilt"; readonly rebuilt: number };

/** The pointers of a code object, by the names that the marshal stream has for them. */
export interface CodeEdges {
  readonly consts: Edge;
  readonly names: Edge;
  readonly localsplusnames: Edge;
  readonly localspluskinds: Edge;
  readonly filename: Edge;
  readonly name: Edge;
  readonly qualname: Edge;
  /** co_lnotab in 3.9 */
  readonly linetable: Edge;
  readonly exceptiontable: Edge;
  /** Exactly where the target is 3.9 or 3.10; localsplus*, qualname and exceptiontable then lead to empty objects of the interpreter. */
  readonly legacy?: LegacyEdges;
}

/** To 3.10, bytecode is an object of its own, and so are the names of each kind of variable. */
export interface LegacyEdges {
  readonly code: Edge;
  readonly varnames: Edge;
  readonly freevars: Edge;
  readonly cellvars: Edge;
}

export interface CodeNode { readonly kind: "code"; readonly value: CodeValue; readonly edges: CodeEdges }
export interface StrNode { readonly kind: "str"; readonly value: StrValue }
export interface BytesNode { readonly kind: "bytes"; readonly value: BytesValue }
export interface IntNode { readonly kind: "int"; readonly value: IntValue }
export interface FloatNode { readonly kind: "float"; readonly value: FloatValue }
export interface ComplexNode { readonly kind: "complex"; readonly value: ComplexValue }
export interface TupleNode { readonly kind: "tuple"; readonly items: readonly Edge[] }
export interface SliceNode { readonly kind: "slice"; readonly start: Edge; readonly stop: Edge; readonly step: Edge }

export type GraphNode =
  | CodeNode | StrNode | BytesNode | IntNode | FloatNode | ComplexNode | TupleNode | SliceNode;

/** A frozenset: its table depends on hashes that differ from run to run (facts/cpython.md §3). */
export interface RebuiltNode {
  readonly kind: "frozenset";
  /** In the order in which PySet_Add must see them. */
  readonly items: readonly Edge[];
}

export interface ModuleGraph {
  readonly kind: "graph";
  readonly nodes: readonly GraphNode[];
  /** Index of the module's code object. */
  readonly root: number;
  /** Children before parents. */
  readonly rebuilt: readonly RebuiltNode[];
}

/** Stable identifiers of the reasons why a module cannot be archived. */
export type ExclusionCode =
  /** a list, set, dict or frozendict constant, or a slice where the target has none */
  | "unsupported-constant"
  /** a value that reaches itself */
  | "cyclic-constant"
  /** a code object of 3.9 or 3.10 where the target has another kind, or the reverse */
  | "foreign-code";

/** Why a module stays with the stock path. */
export interface ExclusionReason {
  readonly kind: "excluded";
  readonly code: ExclusionCode;
  /** One clause for people. */
  readonly reason: string;
}

/** What the graph must know of the target; an Abi has all of it. */
export interface GraphOptions {
  /** Range of ints that are singletons of the interpreter. */
  readonly smallInts: { readonly min: number; readonly max: number };
  readonly hasSliceConstants: boolean;
  /** The target is 3.9 or 3.10: code objects have co_code, co_varnames, co_freevars and co_cellvars. */
  readonly hasLegacyCode: boolean;
  /** The code comes from the compiler, not from a .pyc: bytes of one byte are the interpreter's own. */
  readonly sharesBytes?: boolean;
  /** The module has no source: co_filename stays what the .pyc says, wherever that lies. */
  readonly keepsFilename?: boolean;
  /** Whether the code constructor interns a str constant, in co_consts or in a tuple or frozenset of it. */
  internsConstant(ascii: boolean, data: Uint8Array): boolean;
}
