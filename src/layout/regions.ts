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
import { GraphWalk, Reach } from "./order.ts";
import type { CodeOrder } from "./order.ts";

export interface Region {
  readonly name: "executed" | "functions" | "tables";
  /** Node indices in layout order. */
  readonly nodes: readonly number[];
}

/** Regions in layout order; together they hold every node once. */
export function assignRegions(graph: ModuleGraph, order: CodeOrder): readonly Region[] {
  const walk = new GraphWalk(graph);
  const reach = new Reach(graph);
  /** Nested code objects have a place of their own in the order, so they are left out. */
  const take = (edge: Edge, nodes: number[]): void => reach.from(edge, undefined, nodes);
  const run = (codes: readonly number[]): number[] => {
    const nodes: number[] = [];
    for (const index of codes) {
      const { edges } = walk.code(index);
      nodes.push(index);
      if (edges.legacy !== undefined) take(edges.legacy.code, nodes);
      take(edges.name, nodes);
      take(edges.qualname, nodes);
      take(edges.names, nodes);
      take(edges.consts, nodes);
    }
    return nodes;
  };
  const tables = (codes: readonly number[], nodes: number[]): number[] => {
    for (const index of codes) {
      const { edges } = walk.code(index);
      const { legacy } = edges;
      const variables = legacy === undefined ? [edges.localsplusnames, edges.localspluskinds] : [legacy.varnames, legacy.freevars, legacy.cellvars];
      for (const edge of variables) take(edge, nodes);
      take(edges.exceptiontable, nodes);
      take(edges.linetable, nodes);
      take(edges.filename, nodes);
    }
    return nodes;
  };
  const regions: readonly Region[] = [
    { name: "executed", nodes: run(order.executed) },
    { name: "functions", nodes: run(order.functions) },
    { name: "tables", nodes: tables(order.functions, tables(order.executed, [])) },
  ];
  const count = regions.reduce((sum, region) => sum + region.nodes.length, 0);
  if (count !== graph.nodes.length) throw new Error(`${graph.nodes.length - count} nodes without a place`);
  return regions;
}
