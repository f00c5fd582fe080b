/** Pass 4, fixups: writes the objects, and lists every word that must change at load. */
import { external } from "../abi/externals.ts";
import type { ExternalType } from "../abi/externals.ts";
import type { Edge, ModuleGraph } from "../graph/types.ts";
import type { Addresses } from "./addresses.ts";
import type { Shapes } from "./objects.ts";
import { GraphWalk } from "./order.ts";
import { ObjectBuffer } from "./sink.ts";
import type { PointerSink } from "./sink.ts";
import type { LaidOutObject, LaidOutUnit, RebuiltObject, UnitRelocations } from "./types.ts";

export function applyFixups(graph: ModuleGraph, addresses: Addresses, shapes: Shapes, pointerSize: number): LaidOutUnit {
  const walk = new GraphWalk(graph);
  const bytes = new Uint8Array(addresses.size);
  const collector = new Collector(graph, addresses, new DataView(bytes.buffer));
  const out = new ObjectBuffer(bytes, collector);
  const objects: LaidOutObject[] = [];
  for (const index of addresses.sequence) {
    const node = walk.node(index);
    const offset = known(addresses.nodes, index);
    shapes.fill(out, offset, node);
    objects.push({ offset, size: shapes.size(node), type: node.kind });
  }
  for (const [index, { items }] of graph.rebuilt.entries()) {
    const start = known(addresses.rebuilt, index);
    items.forEach((item, at) => collector.edge(start + at * pointerSize, item));
  }
  return { bytes, root: known(addresses.nodes, graph.root), relocations: collector.relocations(), objects };
}

/** The external reference number of an edge, where it is one. */
function externalNumber(edge: Exclude<Edge, { readonly kind: "node" | "name" | "filename" | "rebuilt" }>): number {
  switch (edge.kind) {
    case "external":
      return external[edge.of];
    case "latin1":
      return external.latin1(edge.codePoint);
    case "byte":
      return external.byte(edge.value);
    case "smallInt":
      return external.smallInt(edge.value);
  }
}

/** Sorts slots by what the runtime does with them. */
class Collector implements PointerSink {
  private readonly graph: ModuleGraph;
  private readonly addresses: Addresses;
  private readonly view: DataView;
  private readonly internals: number[] = [];
  private readonly externals = new Map<number, number[]>();
  private readonly names: { readonly slot: number; readonly name: number }[] = [];
  private readonly filenames: number[] = [];
  private readonly codeVersions: number[] = [];
  private readonly rebuiltSlots: readonly number[][];

  constructor(graph: ModuleGraph, addresses: Addresses, view: DataView) {
    this.graph = graph;
    this.addresses = addresses;
    this.view = view;
    this.rebuiltSlots = graph.rebuilt.map(() => []);
  }

  type(at: number, type: ExternalType): void {
    this.external(at, external.type(type));
  }

  internal(at: number, target: number): void {
    this.view.setUint32(at, target, true); // below 2^32: addresses.ts
    this.internals.push(at);
  }

  codeVersion(at: number): void {
    this.codeVersions.push(at);
  }

  edge(at: number, edge: Edge): void {
    switch (edge.kind) {
      case "node":
        this.internal(at, known(this.addresses.nodes, edge.node));
        break;
      case "external": case "latin1": case "byte": case "smallInt":
        this.external(at, externalNumber(edge));
        break;
      case "name":
        this.names.push({ slot: at, name: edge.name });
        break;
      case "filename":
        this.filenames.push(at);
        break;
      case "rebuilt": {
        const slots = this.rebuiltSlots[edge.rebuilt];
        if (slots === undefined) throw new Error(`graph without rebuilt object ${edge.rebuilt}`);
        slots.push(at);
        break;
      }
    }
  }

  private external(at: number, number: number): void {
    const slots = this.externals.get(number);
    if (slots === undefined) this.externals.set(number, [at]);
    else slots.push(at);
  }

  relocations(): UnitRelocations {
    return {
      internal: ascending(this.internals),
      external: new Map([...this.externals].sort(([a], [b]) => a - b).map(([number, slots]) => [number, ascending(slots)])),
      names: isAscending(this.names, bySlot) ? this.names : this.names.sort((a, b) => a.slot - b.slot),
      filename: ascending(this.filenames),
      codeVersion: ascending(this.codeVersions),
      rebuilt: this.graph.rebuilt.map(
        ({ kind, items }, index): RebuiltObject => ({
          kind,
          items: known(this.addresses.rebuilt, index),
          count: items.length,
          slots: ascending(this.rebuiltSlots[index] ?? []),
        }),
      ),
    };
  }
}

/** Nearly always they are: objects and their fields are filled in order of address. */
function ascending(slots: number[]): readonly number[] {
  return isAscending(slots, (slot) => slot) ? slots : slots.sort((a, b) => a - b);
}

const bySlot = ({ slot }: { readonly slot: number }): number => slot;

function isAscending<T>(items: readonly T[], of: (item: T) => number): boolean {
  let last = -1;
  for (const item of items) {
    const slot = of(item);
    if (slot < last) return false;
    last = slot;
  }
  return true;
}

function known(offsets: readonly number[], index: number): number {
  const offset = offsets[index];
  if (offset === undefined || offset < 0) throw new Error(`no address for object ${index}`);
  return offset;
}
