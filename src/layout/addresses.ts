/** Pass 3, addresses: regions become buffered offsets. */
import type { ModuleGraph } from "../graph/types.ts";
import { alignUp } from "../base/bytes.ts";
import { PycdsError } from "../base/errors.ts";
import type { Shapes } from "./objects.ts";
import { GraphWalk } from "./order.ts";
import type { Region } from "./regions.ts";

/**
 * Every object begins at a multiple of 8, as the interpreter's own static objects
 * do: three low pointer bits are free for tags (3.14+ uses two), and no field
 * needs more. malloc's 16 would cost 4 % of an archive.
 */
export const objectAlignment = 8;
/** A unit's size is a multiple of this: units are put one behind the other. */
const unitSizeUnit = 16;
/** Offsets are u32 in the file, and its slot streams count 4-byte words in 32 bits. */
const maxUnitSize = 0xffff_0000;

export interface Addresses {
  /** Node indices in ascending order of offset. */
  readonly sequence: readonly number[];
  /** Buffered offset of each node's object proper, by node index. */
  readonly nodes: readonly number[];
  /** Buffered offset of the first item slot of each rebuilt object. */
  readonly rebuilt: readonly number[];
  /** Bytes of the unit, a multiple of 16. */
  readonly size: number;
}

export function assignAddresses(graph: ModuleGraph, regions: readonly Region[], shapes: Shapes, pointerSize: number): Addresses {
  const walk = new GraphWalk(graph);
  const sequence = regions.flatMap((region) => region.nodes);
  const nodes = new Array<number>(graph.nodes.length).fill(-1);
  let end = 0;
  for (const index of sequence) {
    const node = walk.node(index);
    const start = alignUp(end + shapes.gcHeader(node), objectAlignment);
    nodes[index] = start;
    end = start + shapes.size(node);
  }
  end = alignUp(end, pointerSize);
  const rebuilt = graph.rebuilt.map(({ items }) => {
    const start = end;
    end += items.length * pointerSize;
    return start;
  });
  const size = alignUp(end, unitSizeUnit);
  if (size > maxUnitSize) {
    throw new PycdsError("LAYOUT_SIZE", "cannot lay out a module", `its objects need ${size} bytes; the file format has 32 bits for them`);
  }
  return { sequence, nodes, rebuilt, size };
}
