/** Where the fields of objects are written to, and what pointers become there. */
import type { FieldLayout } from "../abi/types.ts";
import type { ExternalType } from "../abi/externals.ts";
import { PycdsError, exitCode } from "../base/errors.ts";
import type { Edge } from "../graph/types.ts";

/** Receives every word that is not plain data; `at` and `target` are buffered offsets. */
export interface PointerSink {
  /** ob_type */
  type(at: number, type: ExternalType): void;
  edge(at: number, edge: Edge): void;
  /** A pointer into the same buffer. */
  internal(at: number, target: number): void;
  /** A u32 that the runtime makes unique in the process. */
  codeVersion(at: number): void;
}

/** A buffer being filled. */
export class ObjectBuffer {
  readonly bytes: Uint8Array;
  readonly pointers: PointerSink;
  private readonly view: DataView;

  constructor(bytes: Uint8Array, pointers: PointerSink) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.pointers = pointers;
  }

  /** An integer field; a value that the field can't hold is an error. */
  integer(at: number, field: FieldLayout, value: number): void {
    const high = field.kind === "signed" ? (signedLimit[field.size] ?? 0) : (unsignedLimit[field.size] ?? 0);
    const low = field.kind === "signed" ? -high : 0;
    if (!Number.isSafeInteger(value) || value < low || value >= high) throw outOfRange(field, value);
    switch (field.size) {
      case 1:
        return this.view.setUint8(at, value);
      case 2:
        return this.view.setUint16(at, value, true);
      case 4:
        return this.view.setUint32(at, value, true);
      case 8:
        // two halves: no bigint for each of millions of fields
        this.view.setUint32(at, value % 0x1_0000_0000, true);
        return this.view.setInt32(at + 4, Math.floor(value / 0x1_0000_0000), true);
      default:
        throw outOfRange(field, value);
    }
  }

  /** Eight bytes as they are (IEEE-754 doubles). */
  bits(at: number, value: bigint): void {
    this.view.setBigUint64(at, value, true);
  }
}

/** By size in bytes: what a field's values are below. */
const unsignedLimit = [0, 2 ** 8, 2 ** 16, 0, 2 ** 32, 0, 0, 0, 2 ** 64];
const signedLimit = unsignedLimit.map((limit) => limit / 2);

function outOfRange(field: FieldLayout, value: number): PycdsError {
  return new PycdsError("LAYOUT_RANGE", "cannot lay out a module", `${value} does not fit in ${field.name} (${field.size} bytes, ${field.kind})`);
}

/** The ABI data asks for something that this room can't do: stops the build, never a guess. */
export function unknownField(struct: string, field: FieldLayout): PycdsError {
  return new PycdsError("LAYOUT_FIELD", "cannot lay out objects for this CPython", `no rule for ${struct}.${field.name} (role ${field.role})`, {
    next: "add the rule to src/layout or correct the ABI's policy",
    exit: exitCode.bug,
  });
}
