/**
 * Compiled units kept from build to build, by contents.
 *
 * A folder of packs. A pack is written by one build under a temporary name and
 * appears whole, by rename, or not at all; it is never changed afterwards, so
 * builds may run side by side. A pack's name begins with what its units depend
 * on besides their .pyc: this toolchain's code and the layout data. Nothing in
 * a pack is believed without its digest.
 *
 * Pack: the units' data one after the other, between them slabs of heads, so that many heads are read at once; an index of
 * 72-byte rows (32 hex digits of the key; u64 offset of head and of data; u32 size of head and of data; u64 XXH3 of head and of data);
 * then its trailer: u64 offset of the index, u64 XXH3 of the index, "PYCDSPK2".
 */
import { closeSync, fstatSync, openSync, readSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeSync } from "node:fs";
import { join } from "node:path";
import { xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { RecordHead } from "./record.ts";
import type { UnitRecord } from "./record.ts";
import { heldUnit } from "./stored.ts";
import type { StoredUnit, UnitStore } from "./stored.ts";

const rowSize = 72;
/** Heads that wait until they are written together; likewise what is read for one head. */
const slabSize = 256 << 10;
const trailerSize = 24;
const mark = Buffer.from("PYCDSPK2", "latin1");
/** What all packs of the folder may take, and how many there may be; the least recently used go. */
const mostBytes = 2 ** 31;
const mostPacks = 16;
/** One maker's packs: of more than so many, all but the largest few become one. */
const mostOwnPacks = 8;
const keptOwnPacks = 3;
/** A temporary file this old belongs to nobody any more. */
const abandonedMs = 24 * 3600 * 1000;

interface Row {
  readonly fd: number;
  readonly pack: string | undefined;
  readonly headOffset: number;
  readonly offset: number;
  readonly headSize: number;
  readonly dataSize: number;
  readonly headDigest: bigint;
  readonly dataDigest: bigint;
}

export interface UnitCacheOptions {
  readonly folder: string;
  /** Names the toolchain and the layout data; letters and digits. */
  readonly maker: string;
  readonly random: string;
  /** Told of the temporary file as it comes and goes, for cleaning up after an interrupt. */
  readonly onTemporary: (file: string, exists: boolean) => void;
}

export class UnitCache implements UnitStore {
  private readonly options: UnitCacheOptions;
  private readonly rows = new Map<string, Row>();
  private readonly descriptors: number[] = [];
  private readonly packs: { readonly file: string; readonly size: number }[] = [];
  private readonly used = new Set<string>();
  private readonly fresh: [key: string, row: Omit<Row, "headOffset">][] = [];
  /** Offsets of the heads of `fresh`, in order, as far as their slabs are written. */
  private readonly headOffsets: number[] = [];
  private readonly slab = Buffer.allocUnsafeSlow(slabSize);
  private slabUsed = 0;
  /** The last slab that was read: the units of a build were mostly made together. */
  private near: { readonly fd: number; readonly offset: number; readonly bytes: Buffer } | undefined;
  /** Units are linked one at a time. */
  private scratch = Buffer.allocUnsafeSlow(1 << 20);
  private readonly temporary: string;
  private writing: number | undefined;
  private end = 0;
  private full = false;

  constructor(options: UnitCacheOptions) {
    this.options = options;
    this.temporary = join(options.folder, `${options.maker}-${options.random}.tmp`);
    for (const name of readdirSync(options.folder)) {
      if (name.startsWith(`${options.maker}-`) && name.endsWith(".pack")) this.open(join(options.folder, name));
    }
  }

  /** How many units it has. */
  get size(): number {
    return this.rows.size;
  }

  /** A pack that is damaged in any way is deleted. */
  private open(file: string): void {
    let fd: number;
    try {
      fd = openSync(file, "r");
    } catch {
      return; // another build has just pruned it
    }
    const index = readIndex(fd);
    if (index === undefined) {
      closeSync(fd);
      rmSync(file, { recursive: true, force: true });
      return;
    }
    this.descriptors.push(fd);
    this.packs.push({ file, size: fstatSync(fd).size });
    const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
    for (let at = 0; at < index.byteLength; at += rowSize) {
      const key = index.toString("latin1", at, at + 32);
      this.rows.set(key, {
        fd, pack: file, headOffset: Number(view.getBigUint64(at + 32, true)), offset: Number(view.getBigUint64(at + 40, true)),
        headSize: view.getUint32(at + 48, true), dataSize: view.getUint32(at + 52, true),
        headDigest: view.getBigUint64(at + 56, true), dataDigest: view.getBigUint64(at + 64, true),
      });
    }
  }

  get(key: string): StoredUnit | undefined {
    const row = this.rows.get(key);
    if (row === undefined) return undefined;
    const head = this.readHead(row);
    if (head === undefined || xxh3(head) !== row.headDigest) {
      this.rows.delete(key);
      return undefined;
    }
    if (row.pack !== undefined) this.used.add(row.pack);
    return this.stored(row, head);
  }

  private readHead({ fd, headOffset, headSize }: Row): Buffer | undefined {
    const { near } = this;
    const at = near?.fd === fd ? headOffset - near.offset : -1;
    if (near !== undefined && at >= 0 && at + headSize <= near.bytes.byteLength) return near.bytes.subarray(at, at + headSize);
    const bytes = Buffer.allocUnsafeSlow(Math.max(headSize, slabSize));
    const got = readInto(fd, headOffset, bytes);
    if (got < headSize) return undefined;
    this.near = { fd, offset: headOffset, bytes: bytes.subarray(0, got) };
    return bytes.subarray(0, headSize);
  }

  private stored({ fd, offset, dataSize, dataDigest }: Omit<Row, "headOffset">, head: Uint8Array): StoredUnit {
    return {
      head: new RecordHead(head),
      data: () => {
        if (dataSize > this.scratch.byteLength) this.scratch = Buffer.allocUnsafeSlow(dataSize * 2);
        const data = this.scratch.subarray(0, dataSize);
        if (readInto(fd, offset, data) < dataSize || xxh3(data) !== dataDigest) throw new DamagedCache();
        return data;
      },
    };
  }

  /** What can't be written (a full disk) is held in memory instead. */
  put(key: string, record: UnitRecord): StoredUnit {
    if (this.full) return heldUnit(record);
    try {
      return this.append(key, record);
    } catch {
      this.full = true;
      return heldUnit(record);
    }
  }

  private append(key: string, { head, data }: UnitRecord): StoredUnit {
    const fd = this.temporaryFile();
    const row = { fd, pack: undefined, offset: this.end, headSize: head.byteLength, dataSize: data.byteLength, headDigest: xxh3(head), dataDigest: xxh3(data) };
    this.extend(fd, data);
    if (this.slabUsed + head.byteLength > slabSize) this.writeSlab(fd);
    if (head.byteLength > slabSize) {
      this.headOffsets.push(this.end);
      this.extend(fd, head);
    } else {
      this.slab.set(head, this.slabUsed);
      this.slabUsed += head.byteLength;
    }
    this.fresh.push([key, row]);
    return this.stored(row, head);
  }

  private extend(fd: number, bytes: Uint8Array): void {
    writeAll(fd, bytes, this.end);
    this.end += bytes.byteLength;
  }

  private writeSlab(fd: number): void {
    const first = this.end;
    this.extend(fd, this.slab.subarray(0, this.slabUsed));
    this.slabUsed = 0;
    for (let at = first; at < this.end; ) {
      const size = this.fresh[this.headOffsets.length]?.[1].headSize ?? 0;
      this.headOffsets.push(at);
      at += size;
    }
  }

  private temporaryFile(): number {
    if (this.writing === undefined) {
      this.options.onTemporary(this.temporary, true);
      this.writing = openSync(this.temporary, "wx+", 0o600);
      this.descriptors.push(this.writing);
    }
    return this.writing;
  }

  /** Keeps what was compiled, for the next build; and makes room. */
  publish(): void {
    const now = new Date();
    if (this.writing !== undefined) {
      const merged = this.merge();
      this.writeSlab(this.writing);
      const index = Buffer.alloc(this.fresh.length * rowSize + trailerSize);
      const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
      this.fresh.forEach(([key, row], number) => {
        const at = number * rowSize;
        index.write(key, at, 32, "latin1");
        view.setBigUint64(at + 32, BigInt(this.headOffsets[number] ?? 0), true);
        view.setBigUint64(at + 40, BigInt(row.offset), true);
        view.setUint32(at + 48, row.headSize, true);
        view.setUint32(at + 52, row.dataSize, true);
        view.setBigUint64(at + 56, row.headDigest, true);
        view.setBigUint64(at + 64, row.dataDigest, true);
      });
      const trailer = this.fresh.length * rowSize;
      view.setBigUint64(trailer, BigInt(this.end), true);
      view.setBigUint64(trailer + 8, xxh3(index.subarray(0, trailer)), true);
      index.set(mark, trailer + 16);
      writeAll(this.writing, index, this.end);
      renameSync(this.temporary, join(this.options.folder, `${this.options.maker}-${this.options.random}.pack`));
      this.options.onTemporary(this.temporary, false);
      this.writing = undefined;
      for (const pack of merged) rmSync(pack, { force: true });
    }
    for (const pack of this.used) touch(pack, now);
    prune(this.options.folder, now.getTime());
  }

  /** Each build that compiled something leaves a pack: units of the smaller ones come into this one. Returns those that are not needed any more. */
  private merge(): ReadonlySet<string> {
    if (this.packs.length < mostOwnPacks) return new Set();
    const merged = new Set(this.packs.toSorted((a, b) => b.size - a.size).slice(keptOwnPacks).map(({ file }) => file));
    for (const [key, row] of this.rows) {
      if (row.pack === undefined || !merged.has(row.pack)) continue;
      const head = this.readHead(row);
      const data = readExactly(row.fd, row.offset, row.dataSize);
      if (head !== undefined && data !== undefined && xxh3(head) === row.headDigest && xxh3(data) === row.dataDigest) this.append(key, { head, data });
    }
    return merged;
  }

  close(): void {
    for (const fd of this.descriptors.splice(0)) closeSync(fd);
    if (this.writing !== undefined) {
      rmSync(this.temporary, { force: true });
      this.options.onTemporary(this.temporary, false);
      this.writing = undefined;
    }
  }

  /** After damage: all of this maker's packs go. */
  discard(): void {
    this.close();
    for (const name of readdirSync(this.options.folder)) {
      if (name.startsWith(`${this.options.maker}-`) && name.endsWith(".pack")) rmSync(join(this.options.folder, name), { force: true });
    }
  }
}

/** A pack's data changed after it was written: build again without it. */
export class DamagedCache extends PycdsError {
  constructor() {
    super("UNIT_CACHE", "cannot use the cache of compiled modules", "it is damaged", { next: "delete the folder pycds/units below XDG_CACHE_HOME" });
  }
}

function readIndex(fd: number): Buffer | undefined {
  const { size } = fstatSync(fd);
  const trailer = size < trailerSize ? undefined : readExactly(fd, size - trailerSize, trailerSize);
  if (trailer === undefined || !trailer.subarray(16).equals(mark)) return undefined;
  const at = Number(trailer.readBigUInt64LE(0));
  const length = size - trailerSize - at;
  if (length < 0 || length % rowSize !== 0) return undefined;
  const index = readExactly(fd, at, length);
  return index === undefined || xxh3(index) !== trailer.readBigUInt64LE(8) ? undefined : index;
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

function touch(file: string, now: Date): void {
  try {
    utimesSync(file, now, now);
  } catch {
    // pruned by another build
  }
}

function prune(folder: string, now: number): void {
  const packs: { file: string; time: number; size: number }[] = [];
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    if (name.endsWith(".pack")) packs.push({ file, time: stats.mtimeMs, size: stats.size });
    else if (name.endsWith(".tmp") && now - stats.mtimeMs > abandonedMs) rmSync(file, { force: true });
  }
  let bytes = 0;
  for (const [number, { file, size }] of packs.toSorted((a, b) => b.time - a.time).entries()) {
    bytes += size;
    if (number >= mostPacks || bytes > mostBytes) rmSync(file, { force: true });
  }
}
