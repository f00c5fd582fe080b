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
    const bits = field.size * 8;
    const signed = field.kind === "signed";
    const low = signed ? -(2 ** (bits - 1)) : 0;
    const high = signed ? 2 ** (bits - 1) : 2 ** bits;
    if (!Number.isInteger(value) || value < low || value >= high || Math.abs(value) > Number.MAX_SAFE_INTEGER) throw outOfRange(field, value);
    switch (field.size) {
      case 1:
        return this.view.setUint8(at, value);
      case 2:
        return this.view.setUint16(at, value, true);
      case 4:
        return this.view.setUint32(at, value, true);
      case 8:
        return this.view.setBigInt64(at, BigInt(value), true);
      default:
        throw outOfRange(field, value);
    }
  }

  /** Eight bytes as they are (IEEE-754 doubles). */
  bits(at: number, value: bigint): void {
    this.view.setBigUint64(at, value, true);
  }
}

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
