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
/** The first one: every start needs it, often nothing else of the archive. */
const firstNameBlock = 0x4000;

/** Names by index; {@link NameTable.entries} is one. */
export interface NameList {
  readonly length: number;
  at(index: number): NameEntry | undefined;
}

export interface LaidOutNameBlock {
  /** str objects whose type word is 0: the runtime writes it before it interns the object. */
  readonly bytes: Uint8Array;
  readonly firstName: number;
  readonly nameCount: number;
}

export interface LaidOutNames {
  /** Ascending by first name; every name is in exactly one block's range. */
  readonly blocks: readonly LaidOutNameBlock[];
  /**
   * By name index: the offset of its str object in its block, a multiple of 8; or -1 - code point: the
   * interpreter's own one-character string.
   */
  readonly locations: Int32Array;
}

/** Nothing in a block is relocated but the type words, which the runtime knows. */
const noPointers: PointerSink = {
  type: () => undefined,
  edge: () => { throw new Error("a name with an edge"); },
  internal: () => { throw new Error("a name with an internal pointer"); },
  codeVersion: () => { throw new Error("a name with a code version"); },
};

export function layOutNames(entries: NameList, abi: Abi): LaidOutNames {
  const shape = strShape(abi, { shareWstr: false });
  const blocks: LaidOutNameBlock[] = [];
  const locations = new Int32Array(entries.length);
  let first = 0;
  let end = 0;

  const close = (next: number): void => {
    if (next === first) return;
    const bytes = new Uint8Array(alignUp(end, objectAlignment));
    const out = new ObjectBuffer(bytes, noPointers);
    for (let index = first; index < next; index++) {
      const offset = locations[index] ?? -1;
      const entry = offset < 0 ? undefined : entries.at(index);
      if (entry !== undefined) shape.fill(out, offset, entry.value);
    }
    blocks.push({ bytes, firstName: first, nameCount: next - first });
    first = next;
    end = 0;
  };

  for (let index = 0; index < entries.length; index++) {
    const entry = entries.at(index);
    if (entry === undefined) throw new Error(`no name ${index}`);
    const { value, latin1 } = entry;
    if (latin1 !== undefined) {
      locations[index] = -1 - latin1;
      continue;
    }
    const size = shape.size(value);
    if (alignUp(end, objectAlignment) + size > (blocks.length === 0 ? firstNameBlock : maxNameBlock) && end > 0) close(index);
    const offset = alignUp(end, objectAlignment);
    locations[index] = offset;
    end = offset + size;
  }
  close(entries.length);
  return { blocks, locations };
}
