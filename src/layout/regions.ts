/**
 * Pass 2, regions: every node gets its place in a sequence.
 *
 * All objects of a unit are written once, at relocation (at least their type
 * word), so what counts is first the size, then that an import reads few cache
 * lines and pages: what runs at import first, each code object followed by the
 * tuples and constants that its bytecode names; then functions likewise; last
 * the tables that only tracebacks, tracing and introspection read. The item
 * slots of frozensets, read only while the unit is relocated, end the unit.
 */
import type { Edge, ModuleGraph } from "../graph/types.ts";
import { GraphWalk } from "./order.ts";
import type { CodeOrder } from "./order.ts";

export interface Region {
  readonly name: "executed" | "functions" | "tables";
  /** Node indices in layout order. */
  readonly nodes: readonly number[];
}

/** Regions in layout order; together they hold every node once. */
export function assignRegions(graph: ModuleGraph, order: CodeOrder): readonly Region[] {
  const walk = new GraphWalk(graph);
  const placed = new Set<number>();
  const claim = (indices: readonly number[]): readonly number[] =>
    indices.filter((index) => {
      const free = !placed.has(index);
      placed.add(index);
      return free;
    });
  const take = (edge: Edge): readonly number[] => claim(walk.constants(edge));
  const run = (index: number): readonly number[] => {
    const { edges } = walk.code(index);
    // Nested code objects have a place of their own in the order.
    const constants = walk.constants(edges.consts).filter((each) => walk.node(each).kind !== "code");
    const bytecode = edges.legacy === undefined ? [] : take(edges.legacy.code);
    return [...claim([index]), ...bytecode, ...take(edges.name), ...take(edges.qualname), ...take(edges.names), ...claim(constants)];
  };
  const tables = (index: number): readonly number[] => {
    const { edges } = walk.code(index);
    const variables = edges.legacy === undefined ? [edges.localsplusnames, edges.localspluskinds] : [edges.legacy.varnames, edges.legacy.freevars, edges.legacy.cellvars];
    return [...variables, edges.exceptiontable, edges.linetable, edges.filename].flatMap(take);
  };
  const regions: readonly Region[] = [
    { name: "executed", nodes: order.executed.flatMap(run) },
    { name: "functions", nodes: order.functions.flatMap(run) },
    { name: "tables", nodes: [...order.executed, ...order.functions].flatMap(tables) },
  ];
  const count = regions.reduce((sum, region) => sum + region.nodes.length, 0);
  if (count !== graph.nodes.length) throw new Error(`${graph.nodes.length - count} nodes without a place`);
  return regions;
}
