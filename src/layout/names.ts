/** Lays out the str objects of interned names, in blocks that the runtime checks and interns piecemeal. */
import type { Abi } from "../abi/types.ts";
import { alignUp } from "../base/bytes.ts";
import type { NameEntry } from "../graph/names.ts";
import { objectAlignment } from "./addresses.ts";
import { strShape } from "./objects.ts";
import { ObjectBuffer } from "./sink.ts";
import type { PointerSink } from "./sink.ts";

/** A block is digested as a whole at its first use, so it stays small; a longer name has a block of its own. */
export const maxNameBlock = 0x10000;

/** Where the runtime finds a name. */
export type NameLocation =
  /** a str object at this offset of its block, a multiple of 8 */
  | { readonly kind: "block"; readonly offset: number }
  /** the interpreter's own one-character string */
  | { readonly kind: "latin1"; readonly codePoint: number };

export interface LaidOutNameBlock {
  /** str objects whose type word is 0: the runtime writes it before it interns the object. */
  readonly bytes: Uint8Array;
  readonly firstName: number;
  readonly nameCount: number;
}

export interface LaidOutNames {
  /** Ascending by first name; every name is in exactly one block's range. */
  readonly blocks: readonly LaidOutNameBlock[];
  /** By name index. */
  readonly locations: readonly NameLocation[];
}

/** Nothing in a block is relocated but the type words, which the runtime knows. */
const noPointers: PointerSink = {
  type: () => undefined,
  edge: () => { throw new Error("a name with an edge"); },
  internal: () => { throw new Error("a name with an internal pointer"); },
  codeVersion: () => { throw new Error("a name with a code version"); },
};

export function layOutNames(entries: readonly NameEntry[], abi: Abi): LaidOutNames {
  const shape = strShape(abi, { shareWstr: false });
  const blocks: LaidOutNameBlock[] = [];
  const locations: NameLocation[] = [];
  let first = 0;
  let end = 0;

  const close = (next: number): void => {
    if (next === first) return;
    const bytes = new Uint8Array(alignUp(end, objectAlignment));
    const out = new ObjectBuffer(bytes, noPointers);
    for (let index = first; index < next; index++) {
      const location = locations[index];
      const entry = entries[index];
      if (entry !== undefined && location?.kind === "block") shape.fill(out, location.offset, entry.value);
    }
    blocks.push({ bytes, firstName: first, nameCount: next - first });
    first = next;
    end = 0;
  };

  for (const [index, { value, latin1 }] of entries.entries()) {
    if (latin1 !== undefined) {
      locations.push({ kind: "latin1", codePoint: latin1 });
      continue;
    }
    const size = shape.size(value);
    if (alignUp(end, objectAlignment) + size > maxNameBlock && end > 0) close(index);
    const offset = alignUp(end, objectAlignment);
    locations.push({ kind: "block", offset });
    end = offset + size;
  }
  close(entries.length);
  return { blocks, locations };
}
