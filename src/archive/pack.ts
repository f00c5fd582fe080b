/**
 * One file of the unit cache (unit-cache.ts), which is written once.
 *
 * Pack: the units' data one after the other; their heads likewise, each at a multiple of 8 bytes, in which a name is its number
 * (u32) in the pack's list; then what is read at its opening: XXH3 (u64) of each 256 KiB of heads, the last perhaps
 * shorter; for each name a u32 (record.ts), then for each its hash (u32); an index of 64-byte rows (32 hex digits of the key; u64 offset of head, among the heads, and of data;
 * u32 size of head and of data; u64 XXH3 of data); the names' text, to a multiple of 8; at last its trailer: u64 offset of the heads and of
 * what is read at opening, u32 number of units, of names, u64 XXH3 of all from there to here, "PYCDSPK3".
 */
import { fstatSync, read, readSync, writeSync } from "node:fs";
import { alignUp } from "../base/bytes.ts";
import { xxh3 } from "../base/digest.ts";
import { NameNumbers, RecordHead, keptHead } from "./record.ts";
import type { NameSource, UnitRecord } from "./record.ts";
import type { StoredUnit } from "./stored.ts";

const rowSize = 64;
const trailerSize = 40;
const chunkSize = 256 << 10;
const mark = Buffer.from("PYCDSPK3", "latin1");

/** A pack that was written before. */
export class Pack {
  readonly fd: number;
  readonly size: number;
  /** Number of each key's unit. */
  readonly keys: ReadonlyMap<string, number>;
  private readonly names: NameSource;
  private readonly rows: DataView;
  private readonly headsAt: number;
  /** Filled as they are needed. */
  private readonly heads: Buffer;
  private readonly chunkDigests: BigUint64Array;
  /** Of each chunk of heads: 0 not read, 1 read, 2 sound, 3 damaged. */
  private readonly chunks: Uint8Array;
  private reading: Promise<void> | undefined;

  private constructor(fd: number, size: number, parts: Opening) {
    this.fd = fd;
    this.size = size;
    this.headsAt = parts.headsAt;
    this.heads = Buffer.allocUnsafeSlow(parts.headsSize);
    this.chunkDigests = parts.chunkDigests;
    this.chunks = new Uint8Array(parts.chunkDigests.length);
    this.names = parts.names;
    this.rows = new DataView(parts.rows.buffer, parts.rows.byteOffset, parts.rows.byteLength);
    const keys = new Map<string, number>();
    for (let at = 0; at < parts.rows.byteLength; at += rowSize) keys.set(parts.rows.toString("latin1", at, at + 32), at / rowSize);
    this.keys = keys;
  }

  /** Undefined: it is damaged, or of another form. */
  static open(fd: number): Pack | undefined {
    const { size } = fstatSync(fd);
    const parts = readOpening(fd, size);
    return parts === undefined ? undefined : new Pack(fd, size, parts);
  }

  private headPlace(number: number): { readonly start: number; readonly end: number } {
    const start = Number(this.rows.getBigUint64(number * rowSize + 32, true));
    return { start, end: start + this.rows.getUint32(number * rowSize + 48, true) };
  }

  /** Undefined: its head is damaged. */
  unit(number: number): StoredUnit | undefined {
    const { start, end } = this.headPlace(number);
    if (end > this.heads.byteLength) return undefined;
    for (let chunk = Math.floor(start / chunkSize); chunk * chunkSize < end; chunk++) if (!this.isSound(chunk)) return undefined;
    const row = number * rowSize;
    return {
      head: new RecordHead(this.heads.subarray(start, end), this.names),
      data: { fd: this.fd, offset: Number(this.rows.getBigUint64(row + 40, true)), digest: this.rows.getBigUint64(row + 56, true) },
    };
  }

  private isSound(chunk: number): boolean {
    const bytes = this.heads.subarray(chunk * chunkSize, (chunk + 1) * chunkSize);
    if (this.chunks[chunk] === 0) this.chunks[chunk] = readInto(this.fd, this.headsAt + chunk * chunkSize, bytes) === bytes.byteLength ? 1 : 3;
    if (this.chunks[chunk] === 1) this.chunks[chunk] = xxh3(bytes) === this.chunkDigests[chunk] ? 2 : 3;
    return this.chunks[chunk] === 2;
  }

  /** The unit's bytes; undefined: they are damaged. */
  data(number: number): Uint8Array | undefined {
    const row = number * rowSize;
    const bytes = readExactly(this.fd, Number(this.rows.getBigUint64(row + 40, true)), this.rows.getUint32(row + 52, true));
    return bytes !== undefined && xxh3(bytes) === this.rows.getBigUint64(row + 56, true) ? bytes : undefined;
  }

  /** Reads all heads in another thread, for who will want most of them. */
  prefetch(): void {
    this.reading ??= this.readHeads();
  }

  private async readHeads(): Promise<void> {
    for (let done = 0; done < this.heads.byteLength; ) {
      const got = await new Promise<number>((resolve) => read(this.fd, this.heads, done, this.heads.byteLength - done, this.headsAt + done, (error, count) => resolve(error === null ? count : 0)));
      if (got === 0) return;
      // a chunk that unit() has read meanwhile has got the same bytes again
      for (let chunk = Math.floor(done / chunkSize); Math.min((chunk + 1) * chunkSize, this.heads.byteLength) <= done + got; chunk++) {
        if (chunk >= this.chunks.length) break;
        if (this.chunks[chunk] === 0) this.chunks[chunk] = 1;
      }
      done += got;
    }
  }

  /** Until nothing touches the descriptor in another thread. */
  async settled(): Promise<void> {
    await this.reading;
  }

  get isReading(): boolean {
    return this.reading !== undefined;
  }
}

interface Opening {
  readonly headsAt: number;
  readonly headsSize: number;
  readonly chunkDigests: BigUint64Array;
  readonly names: NameSource;
  readonly rows: Buffer;
}

function readOpening(fd: number, size: number): Opening | undefined {
  const trailer = size < trailerSize ? undefined : readExactly(fd, size - trailerSize, trailerSize);
  if (trailer === undefined || !trailer.subarray(32).equals(mark)) return undefined;
  const headsAt = Number(trailer.readBigUInt64LE(0));
  const at = Number(trailer.readBigUInt64LE(8));
  const units = trailer.readUInt32LE(16);
  const count = trailer.readUInt32LE(20);
  const headsSize = at - headsAt;
  const chunks = Math.ceil(headsSize / chunkSize);
  const wordsAt = chunks * 8;
  const rowsAt = wordsAt + count * 8;
  const textAt = rowsAt + units * rowSize;
  const length = size - trailerSize - at;
  if (headsSize < 0 || !(textAt <= length)) return undefined;
  const bytes = readExactly(fd, at, length);
  if (bytes === undefined || xxh3(bytes, trailer.subarray(0, 24)) !== trailer.readBigUInt64LE(24)) return undefined;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + wordsAt, count);
  const hashes = new Uint32Array(bytes.buffer, bytes.byteOffset + wordsAt + count * 4, count);
  const starts = new Uint32Array(count);
  for (let index = 0, end = 0; index < count; index++) {
    starts[index] = end;
    end += (words[index] ?? 0) >>> 3;
  }
  return {
    headsAt, headsSize,
    chunkDigests: new BigUint64Array(bytes.buffer, bytes.byteOffset, chunks),
    names: { words, hashes, starts, text: bytes.subarray(textAt) },
    rows: bytes.subarray(rowsAt, textAt),
  };
}

interface WrittenUnit {
  readonly key: string;
  readonly head: Uint8Array;
  readonly offset: number;
  readonly size: number;
  readonly digest: bigint;
}

/** A pack being written: data at once, the rest at its end. */
export class PackWriter {
  readonly fd: number;
  private readonly units: WrittenUnit[] = [];
  private readonly names = new NameNumbers();
  private end = 0;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws Error of the system when it cannot be written */
  add(key: string, { head, data }: { readonly head: RecordHead; readonly data: Uint8Array }): StoredUnit {
    const unit = { key, head: keptHead(head, this.names), offset: this.end, size: data.byteLength, digest: xxh3(data) };
    this.extend(data);
    this.units.push(unit);
    return { head: new RecordHead(unit.head, this.names), data: { fd: this.fd, offset: unit.offset, digest: unit.digest } };
  }

  addRecord(key: string, { head, data }: UnitRecord): StoredUnit {
    return this.add(key, { head: new RecordHead(head), data });
  }

  private extend(bytes: Uint8Array): void {
    writeAll(this.fd, bytes, this.end);
    this.end += bytes.byteLength;
  }

  /** Writes what follows the data. */
  finish(): void {
    const { words, hashes, text } = this.names;
    const count = this.names.length;
    const headsSize = this.units.reduce((sum, { head }) => sum + head.byteLength, 0);
    const heads = Buffer.allocUnsafeSlow(headsSize);
    const rows = Buffer.alloc(this.units.length * rowSize);
    const view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
    let headAt = 0;
    for (const [number, { key, head, offset, size, digest }] of this.units.entries()) {
      const at = number * rowSize;
      heads.set(head, headAt);
      rows.write(key, at, 32, "latin1");
      view.setBigUint64(at + 32, BigInt(headAt), true);
      view.setBigUint64(at + 40, BigInt(offset), true);
      view.setUint32(at + 48, head.byteLength, true);
      view.setUint32(at + 52, size, true);
      view.setBigUint64(at + 56, digest, true);
      headAt += head.byteLength;
    }
    const digests = BigUint64Array.from({ length: Math.ceil(headsSize / chunkSize) }, (_, chunk) => xxh3(heads.subarray(chunk * chunkSize, (chunk + 1) * chunkSize)));
    const opening = [bytesOf(digests), bytesOf(words.subarray(0, count)), bytesOf(hashes.subarray(0, count)), rows, padded(text)];
    const trailer = Buffer.alloc(trailerSize);
    trailer.writeBigUInt64LE(BigInt(this.end), 0);
    trailer.writeBigUInt64LE(BigInt(this.end + headsSize), 8);
    trailer.writeUInt32LE(this.units.length, 16);
    trailer.writeUInt32LE(count, 20);
    trailer.writeBigUInt64LE(xxh3(...opening, trailer.subarray(0, 24)), 24);
    trailer.set(mark, 32);
    this.extend(heads);
    for (const part of opening) this.extend(part);
    this.extend(trailer);
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: BigUint64Array | Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(alignUp(bytes.byteLength, 8));
  whole.set(bytes);
  return whole;
}

function readExactly(fd: number, at: number, size: number): Buffer | undefined {
  const buffer = Buffer.allocUnsafeSlow(size);
  return readInto(fd, at, buffer) === size ? buffer : undefined;
}

/** Fills the buffer as far as the file goes, and can be read; returns how many bytes there were. */
function readInto(fd: number, at: number, buffer: Buffer): number {
  let done = 0;
  try {
    while (done < buffer.byteLength) {
      const got = readSync(fd, buffer, done, buffer.byteLength - done, at + done);
      if (got === 0) break;
      done += got;
    }
  } catch {
    // a medium that fails: a miss, as for what is damaged
  }
  return done;
}

function writeAll(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.byteLength; ) done += writeSync(fd, bytes, done, bytes.byteLength - done, at + done);
}
