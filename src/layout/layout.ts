/**
 * Lays one module out: reads like a linker's main.
 *
 * A unit is pointer-closed: whatever its objects point at is in the unit, in
 * the interpreter, in the name table, or made at load.
 */
import type { Abi } from "../abi/types.ts";
import type { ModuleGraph } from "../graph/types.ts";
import { assignAddresses } from "./addresses.ts";
import { applyFixups } from "./fixups.ts";
import { objectShapes } from "./objects.ts";
import type { Shapes } from "./objects.ts";
import { orderCode } from "./order.ts";
import { assignRegions } from "./regions.ts";
import type { LaidOutUnit } from "./types.ts";

/**
 * The same graph and ABI give the same bytes.
 * @throws PycdsError LAYOUT_FIELD when the ABI has a field that no rule here fills
 */
export function layOutModule(graph: ModuleGraph, abi: Abi): LaidOutUnit {
  const shapes = shapesOf(abi);
  const order = orderCode(graph);
  const regions = assignRegions(graph, order);
  const addresses = assignAddresses(graph, regions, shapes, abi.pointerSize);
  return applyFixups(graph, addresses, shapes, abi.pointerSize);
}

const cache = new WeakMap<Abi, Shapes>();

function shapesOf(abi: Abi): Shapes {
  let shapes = cache.get(abi);
  if (shapes === undefined) {
    shapes = objectShapes(abi);
    cache.set(abi, shapes);
  }
  return shapes;
}
