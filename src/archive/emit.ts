/**
 * Writes the units of an archive, in pieces: while one is relocated and digested
 * here, the next are read and those before written by Node's own threads.
 */
import { read } from "node:fs";
import { xxh3 } from "../base/digest.ts";
import type { ImageSink } from "../image/writer.ts";
import { DamagedCache } from "./stored.ts";
import type { StoredUnit } from "./stored.ts";

/** Units and where they go: offsets in the file, ascending. */
export interface EmittedUnits {
  readonly units: readonly StoredUnit[];
  readonly places: readonly number[];
  /** Makes of buffered bytes, in place, those of the archive. */
  readonly link: (unit: number, bytes: Uint8Array) => void;
}

/** Fits into a processor's cache, and costs a system call little. */
const pieceSize = 1 << 20;
/** Buffers in use: two being read, one linked, one written. */
const slotCount = 4;
const ahead = 2;

/** Units `first` … `end` - 1, whose bytes lie at `start` of the file. */
interface Piece {
  readonly first: number;
  readonly end: number;
  readonly start: number;
  readonly size: number;
}

function cut({ units, places }: EmittedUnits): Piece[] {
  const pieces: Piece[] = [];
  for (let first = 0; first < units.length; ) {
    const start = places[first] ?? 0;
    let end = first;
    let size = 0;
    do {
      size = (places[end] ?? 0) + (units[end]?.head.dataSize ?? 0) - start;
      end += 1;
    } while (end < units.length && (places[end] ?? 0) + (units[end]?.head.dataSize ?? 0) - start <= pieceSize);
    pieces.push({ first, end, start, size });
    first = end;
  }
  return pieces;
}

/** Fills `buffer` as far as the file goes; resolves to the number of bytes there were. What cannot be read is not there. */
async function readInto(fd: number, buffer: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < buffer.byteLength) {
    const got = await new Promise<number>((resolve) => read(fd, buffer, done, buffer.byteLength - done, position + done, (error, count) => resolve(error === null ? count : 0)));
    if (got === 0) break;
    done += got;
  }
  return done;
}

/** Buffered bytes of a piece's units, each in its place; runs that lie in a file as they do in the archive are read at once. */
async function readPiece({ units, places }: EmittedUnits, { first, end, start, size }: Piece, buffer: Uint8Array): Promise<Uint8Array> {
  const bytes = buffer.subarray(0, size);
  const reads: Promise<unknown>[] = [];
  let filled = start;
  for (let number = first; number < end; ) {
    const unit = units[number];
    const place = places[number] ?? 0;
    if (unit === undefined) throw new Error(`no unit ${number}`);
    bytes.fill(0, filled - start, place - start);
    if (unit.data instanceof Uint8Array) {
      bytes.set(unit.data, place - start);
      filled = place + unit.data.byteLength;
      number += 1;
      continue;
    }
    const { fd, offset } = unit.data;
    filled = place;
    for (let next: StoredUnit | undefined = unit; number < end && next !== undefined; next = units[++number]) {
      const { data, head } = next;
      if (data instanceof Uint8Array || data.fd !== fd || data.offset - offset !== filled - place || places[number] !== filled) break;
      filled += head.dataSize;
    }
    const run = bytes.subarray(place - start, filled - start);
    reads.push(readInto(fd, run, offset).then((got) => { if (got < run.byteLength) throw new DamagedCache(); }));
  }
  await Promise.all(reads);
  return bytes;
}

/** @throws DamagedCache when a unit's bytes are not those that were kept */
function linkPiece({ units, places, link }: EmittedUnits, { first, end, start }: Piece, bytes: Uint8Array): void {
  for (let number = first; number < end; number++) {
    const unit = units[number];
    const at = (places[number] ?? 0) - start;
    if (unit === undefined) throw new Error(`no unit ${number}`);
    const own = bytes.subarray(at, at + unit.head.dataSize);
    if (!(unit.data instanceof Uint8Array) && xxh3(own) !== unit.data.digest) throw new DamagedCache();
    link(number, own);
  }
}

/** @param progress told how many units are linked */
export async function emitUnits(emitted: EmittedUnits, sink: ImageSink, progress: (done: number) => void): Promise<void> {
  const pieces = cut(emitted);
  const slots = Array.from({ length: slotCount }, () => ({ buffer: Buffer.alloc(0), free: Promise.resolve() }));
  const reading: Promise<Uint8Array>[] = [];
  const begin = (number: number): void => {
    const piece = pieces[number];
    const slot = slots[number % slotCount];
    if (piece === undefined || slot === undefined) return;
    const bytes = slot.free.then(async () => {
      if (slot.buffer.byteLength < piece.size) slot.buffer = Buffer.allocUnsafeSlow(Math.max(piece.size, pieceSize));
      return readPiece(emitted, piece, slot.buffer);
    });
    bytes.catch(() => undefined); // heard where it is awaited, if that comes to pass
    reading[number] = bytes;
  };
  for (let number = 0; number < ahead; number++) begin(number);
  try {
    for (const [number, piece] of pieces.entries()) {
      progress(piece.first);
      const bytes = await reading[number];
      const slot = slots[number % slotCount];
      if (bytes === undefined || slot === undefined) throw new Error(`piece ${number} is not being read`);
      linkPiece(emitted, piece, bytes);
      slot.free = sink.write(piece.start, bytes);
      slot.free.catch(() => undefined);
      begin(number + ahead);
    }
  } finally {
    // nobody reads from, or into, what the caller may close or use again
    await Promise.allSettled([...reading, ...slots.map(({ free }) => free)]);
  }
  await Promise.all(slots.map(async ({ free }) => free));
}
