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
  const reach = new Reach(graph);
  reach.visited[graph.root] = 1;
  const executed: number[] = [];
  const functions: number[] = [];
  const pendingFunctions: number[] = [];

  const visit = (list: number[], start: number, all: boolean): void => {
    const stack = [start];
    for (let index = stack.pop(); index !== undefined; index = stack.pop()) {
      list.push(index);
      const nested: number[] = [];
      reach.from(walk.code(index).edges.consts, nested, undefined);
      const wanted = (each: number): boolean => all || (walk.code(each).value.flags & (CO_OPTIMIZED | CO_NEWLOCALS)) === 0;
      for (let at = nested.length - 1; at >= 0; at--) {
        const each = nested[at] ?? -1;
        if (wanted(each)) stack.push(each);
      }
      for (const each of nested) if (!wanted(each)) pendingFunctions.push(each);
    }
  };
  visit(executed, graph.root, false);
  for (const index of pendingFunctions.splice(0)) visit(functions, index, true);
  return { executed, functions };
}

/** Reads nodes by index. */
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
}

/** Reads along edges, through tuples, slices and frozensets but not into code objects; meets each node once. Never deeper than one JavaScript frame. */
export class Reach {
  /** By node index: 1 where it was met. */
  readonly visited: Uint8Array;
  private readonly graph: ModuleGraph;
  private readonly rebuilt: Uint8Array;
  private readonly stack: Edge[] = [];

  constructor(graph: ModuleGraph) {
    this.graph = graph;
    this.visited = new Uint8Array(graph.nodes.length);
    this.rebuilt = new Uint8Array(graph.rebuilt.length);
  }

  /** Appends what is met for the first time, in order. Without a list for code objects they count as not met. */
  from(start: Edge, codes: number[] | undefined, others: number[] | undefined): void {
    const { stack, visited, rebuilt } = this;
    for (let edge: Edge | undefined = start; edge !== undefined; edge = stack.pop()) {
      if (edge.kind === "node") {
        const index = edge.node;
        if (visited[index] !== 0) continue;
        const node = this.graph.nodes[index];
        if (node?.kind === "code") {
          if (codes === undefined) continue;
          codes.push(index);
        } else {
          others?.push(index);
        }
        visited[index] = 1;
        if (node?.kind === "tuple") this.push(node.items);
        else if (node?.kind === "slice") stack.push(node.step, node.stop, node.start);
      } else if (edge.kind === "rebuilt" && rebuilt[edge.rebuilt] === 0) {
        rebuilt[edge.rebuilt] = 1;
        this.push(this.graph.rebuilt[edge.rebuilt]?.items ?? []);
      }
    }
  }

  /** The first is to be met first. */
  private push(edges: readonly Edge[]): void {
    for (let index = edges.length - 1; index >= 0; index--) {
      const edge = edges[index];
      if (edge !== undefined && (edge.kind === "node" || edge.kind === "rebuilt")) this.stack.push(edge);
    }
  }
}
