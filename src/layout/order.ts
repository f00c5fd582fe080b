/**
 * Pass 1, order: which code objects run at import, and in which order.
 *
 * The module's code and its class bodies run when the module is imported;
 * functions mostly run later or never. Code objects that run come first, a
 * class body directly behind the code that contains it, so that an import
 * reads the unit from front to back.
 */
import type { CodeNode, Edge, GraphNode, ModuleGraph } from "../graph/types.ts";

/** Node indices of code objects; every code object of the module is in exactly one list. */
export interface CodeOrder {
  /** The module and its class bodies. */
  readonly executed: readonly number[];
  readonly functions: readonly number[];
}

/** Code flags of functions (Include/cpython/code.h); module and class bodies have neither. */
const CO_OPTIMIZED = 0x1;
const CO_NEWLOCALS = 0x2;

export function orderCode(graph: ModuleGraph): CodeOrder {
  const walk = new GraphWalk(graph);
  const seen = new Set<number>([graph.root]);
  const executed: number[] = [];
  const functions: number[] = [];
  const pendingFunctions: number[] = [];

  const visit = (list: number[], start: number, wanted: (code: CodeNode) => boolean): void => {
    const stack = [start];
    for (let index = stack.pop(); index !== undefined; index = stack.pop()) {
      list.push(index);
      const nested = walk.nestedCode(walk.code(index)).filter((each) => !seen.has(each));
      for (const each of nested) seen.add(each);
      for (const each of nested.filter((one) => wanted(walk.code(one))).toReversed()) stack.push(each);
      pendingFunctions.push(...nested.filter((one) => !wanted(walk.code(one))));
    }
  };
  visit(executed, graph.root, (code) => (code.value.flags & (CO_OPTIMIZED | CO_NEWLOCALS)) === 0);
  for (const index of pendingFunctions.splice(0)) visit(functions, index, () => true);
  return { executed, functions };
}

/** Reads along edges; never deeper than one JavaScript frame. */
export class GraphWalk {
  private readonly graph: ModuleGraph;

  constructor(graph: ModuleGraph) {
    this.graph = graph;
  }

  node(index: number): GraphNode {
    const node = this.graph.nodes[index];
    if (node === undefined) throw new Error(`graph without node ${index}`);
    return node;
  }

  code(index: number): CodeNode {
    const node = this.node(index);
    if (node.kind !== "code") throw new Error(`node ${index} is a ${node.kind}, not a code object`);
    return node;
  }

  /** Code objects among the constants of a code object, in order, each once. */
  nestedCode(code: CodeNode): readonly number[] {
    return this.constants(code.edges.consts).filter((index) => this.node(index).kind === "code");
  }

  /**
   * Nodes reached from an edge, it first, through tuples, slices and
   * frozensets but not into code objects; each once, in order.
   */
  constants(from: Edge): readonly number[] {
    const found = new Set<number>();
    const rebuilt = new Set<number>();
    const stack: Edge[] = [from];
    for (let edge = stack.pop(); edge !== undefined; edge = stack.pop()) {
      let next: readonly Edge[] = [];
      if (edge.kind === "node" && !found.has(edge.node)) {
        found.add(edge.node);
        const node = this.node(edge.node);
        if (node.kind === "tuple") next = node.items;
        else if (node.kind === "slice") next = [node.start, node.stop, node.step];
      } else if (edge.kind === "rebuilt" && !rebuilt.has(edge.rebuilt)) {
        rebuilt.add(edge.rebuilt);
        next = this.graph.rebuilt[edge.rebuilt]?.items ?? [];
      }
      for (const each of next.toReversed()) stack.push(each);
    }
    return [...found];
  }
}
