/** Byte cursors over little-endian data; every read is checked against the end. */
import { PycdsError } from "./errors.ts";

export class ByteReader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset: number;
  /** Named in errors. */
  readonly file: string | undefined;

  constructor(bytes: Uint8Array, file?: string, offset = 0) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = offset;
    this.file = file;
  }

  get remaining(): number {
    return this.bytes.byteLength - this.offset;
  }

  private advance(size: number): number {
    const at = this.offset;
    if (!Number.isSafeInteger(size) || size < 0 || size > this.bytes.byteLength - at) {
      throw new PycdsError("TRUNCATED", "unexpected end of data", `${size} bytes wanted, ${this.bytes.byteLength - at} left`, {
        ...(this.file === undefined ? {} : { file: this.file }),
        offset: at,
      });
    }
    this.offset = at + size;
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
  u64(): bigint {
    return this.view.getBigUint64(this.advance(8), true);
  }
  i64(): bigint {
    return this.view.getBigInt64(this.advance(8), true);
  }
  /** A view of the next `size` bytes, not a copy. */
  take(size: number): Uint8Array {
    const at = this.advance(size);
    return this.bytes.subarray(at, at + size);
  }
}

/** Growing little-endian buffer. */
export class ByteWriter {
  private buffer: Uint8Array;
  private view: DataView;
  private used = 0;

  constructor(capacity = 4096) {
    this.buffer = new Uint8Array(Math.max(16, capacity));
    this.view = new DataView(this.buffer.buffer);
  }

  get length(): number {
    return this.used;
  }

  private reserve(size: number): number {
    const at = this.used;
    const end = at + size;
    if (end > this.buffer.byteLength) {
      const grown = new Uint8Array(Math.max(end, this.buffer.byteLength * 2));
      grown.set(this.buffer.subarray(0, at));
      this.buffer = grown;
      this.view = new DataView(grown.buffer);
    }
    this.used = end;
    return at;
  }

  /** Appends `size` zero bytes and returns the offset of the first. */
  zeros(size: number): number {
    return this.reserve(size);
  }
  /** Pads with zeros to a multiple of `alignment` (a power of two). */
  align(alignment: number): number {
    const rest = this.used & (alignment - 1);
    if (rest !== 0) this.reserve(alignment - rest);
    return this.used;
  }
  u8(value: number): void {
    const at = this.reserve(1);
    this.view.setUint8(at, value);
  }
  u16(value: number): void {
    const at = this.reserve(2);
    this.view.setUint16(at, value, true);
  }
  u32(value: number): void {
    const at = this.reserve(4);
    this.view.setUint32(at, value, true);
  }
  u64(value: bigint): void {
    const at = this.reserve(8);
    this.view.setBigUint64(at, value, true);
  }
  bytes(value: Uint8Array): number {
    const at = this.reserve(value.byteLength);
    this.buffer.set(value, at);
    return at;
  }
  setU8(at: number, value: number): void {
    this.view.setUint8(at, value);
  }
  setU16(at: number, value: number): void {
    this.view.setUint16(at, value, true);
  }
  setU32(at: number, value: number): void {
    this.view.setUint32(at, value, true);
  }
  setI32(at: number, value: number): void {
    this.view.setInt32(at, value, true);
  }
  setU64(at: number, value: bigint): void {
    this.view.setBigUint64(at, value, true);
  }
  setI64(at: number, value: bigint): void {
    this.view.setBigInt64(at, value, true);
  }
  set(at: number, value: Uint8Array): void {
    this.buffer.set(value, at);
  }
  /** The bytes written so far (a view; valid until the next growth). */
  done(): Uint8Array {
    return this.buffer.subarray(0, this.used);
  }
}

/** Rounds up to a multiple of `alignment` (a power of two). */
export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
