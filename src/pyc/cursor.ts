/** A checked cursor over a marshal stream: little-endian reads, and the room's errors with offsets in the file. */
import { PycdsError } from "../base/errors.ts";

/** Codes of all errors of this room. */
export type PycErrorCode =
  /** the data ends before the value does */
  | "PYC_TRUNCATED"
  /** a type code that this CPython version's marshal does not know */
  | "PYC_BAD_TYPE"
  /** a reference outside the table */
  | "PYC_BAD_REF"
  /** a reference to a container that is not complete */
  | "PYC_CYCLE"
  /** nested deeper than CPython reads */
  | "PYC_TOO_DEEP"
  /** well-formed, but not a value that CPython would make */
  | "PYC_BAD_VALUE"
  /** the .pyc header: flags that no CPython knows */
  | "PYC_BAD_FLAGS"
  /** another interpreter's .pyc, or no .pyc at all */
  | "PYC_FOREIGN"
  /** a minor version that this reader was not made for */
  | "PYC_UNSUPPORTED";

const recompile = "delete the .pyc and compile its source again (python -m compileall -f)";

export class Cursor {
  readonly bytes: Uint8Array;
  /** Named in errors. */
  readonly file: string | undefined;
  at: number;
  private readonly view: DataView;

  constructor(bytes: Uint8Array, file: string | undefined, at: number) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.file = file;
    this.at = at;
  }

  get remaining(): number {
    return this.bytes.byteLength - this.at;
  }

  /** The error to throw; `offset` is where the faulty item begins. */
  fail(code: PycErrorCode, why: string, offset: number, next: string = recompile): PycdsError {
    const what = code === "PYC_FOREIGN" || code === "PYC_BAD_FLAGS" ? "cannot use .pyc" : "cannot read .pyc";
    return new PycdsError(code, what, why, { ...(this.file === undefined ? {} : { file: this.file }), offset, next });
  }

  private advance(size: number): number {
    const at = this.at;
    if (size > this.remaining) {
      throw this.fail("PYC_TRUNCATED", `the data ends early: ${size} bytes wanted, ${this.remaining} left`, at);
    }
    this.at = at + size;
    return at;
  }

  u8(): number {
    return this.view.getUint8(this.advance(1));
  }
  u16(): number {
    return this.view.getUint16(this.advance(2), true);
  }
  u32(): number {
    return this.view.getUint32(this.advance(4), true);
  }
  i32(): number {
    return this.view.getInt32(this.advance(4), true);
  }
  i64(): bigint {
    return this.view.getBigInt64(this.advance(8), true);
  }
  u64(): bigint {
    return this.view.getBigUint64(this.advance(8), true);
  }
  /** A view of the next `size` bytes, not a copy. */
  take(size: number): Uint8Array {
    const at = this.advance(size);
    return this.bytes.subarray(at, at + size);
  }
  /** An i32 that must be a length; checked against the rest of the data (`unit` bytes at least an item) before anything is allocated. */
  length(what: string, unit: number): number {
    const at = this.at;
    const length = this.i32();
    if (length < 0) throw this.fail("PYC_BAD_VALUE", `${what} of negative length ${length}`, at);
    this.mustHold(length, unit, what, at);
    return length;
  }
  /** Throws unless the rest of the data can hold `count` items of at least `unit` bytes. */
  mustHold(count: number, unit: number, what: string, offset: number): void {
    if (count * unit > this.remaining) {
      throw this.fail("PYC_TRUNCATED", `the data ends early: ${what} of length ${count}, ${this.remaining} bytes left`, offset);
    }
  }
}
