/**
 * Compiled units kept from build to build, by contents.
 *
 * A folder of packs (pack.ts). A pack is written by one build under a temporary name and
 * appears whole, by rename, or not at all; it is never changed afterwards, so
 * builds may run side by side. A pack's name begins with what its units depend
 * on besides their .pyc: this toolchain's code and the layout data. Nothing in
 * a pack is believed without its digest.
 */
import { closeSync, openSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { Pack, PackWriter } from "./pack.ts";
import type { UnitRecord } from "./record.ts";
import { heldUnit } from "./stored.ts";
import type { StoredUnit, UnitStore } from "./stored.ts";

/** What all packs of the folder may take, and how many there may be; the least recently used go. */
const mostBytes = 2 ** 31;
const mostPacks = 16;
/** One maker's packs: of more than so many, all but the largest few become one. */
const mostOwnPacks = 8;
const keptOwnPacks = 3;
/** A temporary file this old belongs to nobody any more. */
const abandonedMs = 24 * 3600 * 1000;

interface KeptPack {
  readonly file: string;
  readonly pack: Pack;
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
  private readonly packs: KeptPack[] = [];
  private readonly used = new Set<KeptPack>();
  private readonly temporary: string;
  private writer: PackWriter | undefined;
  /** Descriptors of packs that were written here. */
  private readonly written: number[] = [];
  private full = false;

  constructor(options: UnitCacheOptions) {
    this.options = options;
    this.temporary = join(options.folder, `${options.maker}-${options.random}.tmp`);
    for (const name of readdirSync(options.folder)) {
      if (name.startsWith(`${options.maker}-`) && name.endsWith(".pack")) this.open(join(options.folder, name));
    }
    // most builds find most in the largest
    this.packs.sort((a, b) => b.pack.keys.size - a.pack.keys.size);
  }

  get isEmpty(): boolean {
    return this.packs.length === 0;
  }

  /** A pack that is damaged in any way is deleted. */
  private open(file: string): void {
    let fd: number;
    try {
      fd = openSync(file, "r");
    } catch {
      return; // another build has just pruned it
    }
    const pack = Pack.open(fd);
    if (pack === undefined) {
      closeSync(fd);
      rmSync(file, { recursive: true, force: true });
      return;
    }
    this.packs.push({ file, pack });
  }

  get(key: string): StoredUnit | undefined {
    for (const each of this.packs) {
      const number = each.pack.keys.get(key);
      const unit = number === undefined ? undefined : each.pack.unit(number);
      if (unit === undefined) continue;
      this.used.add(each);
      return unit;
    }
    return undefined;
  }

  /** Begins to read, in another thread, what get() reads of each unit: for who will ask for most of them. */
  prefetch(): void {
    for (const { pack } of this.packs) pack.prefetch();
  }

  /** Until that is done. */
  async prefetched(): Promise<void> {
    await Promise.all(this.packs.map(async ({ pack }) => pack.settled()));
  }

  /** What can't be written (a full disk) is held in memory instead. */
  put(key: string, record: UnitRecord): StoredUnit {
    if (this.full) return heldUnit(record);
    try {
      return this.packWriter().addRecord(key, record);
    } catch {
      this.full = true;
      return heldUnit(record);
    }
  }

  private packWriter(): PackWriter {
    if (this.writer === undefined) {
      this.options.onTemporary(this.temporary, true);
      const fd = openSync(this.temporary, "wx+", 0o600);
      this.written.push(fd);
      this.writer = new PackWriter(fd);
    }
    return this.writer;
  }

  /** Keeps what was compiled, for the next build; and makes room. */
  publish(): void {
    const now = new Date();
    if (this.writer !== undefined) {
      const merged = this.merge(this.writer);
      this.writer.finish();
      renameSync(this.temporary, join(this.options.folder, `${this.options.maker}-${this.options.random}.pack`));
      this.options.onTemporary(this.temporary, false);
      this.writer = undefined;
      for (const { file } of merged) rmSync(file, { force: true });
    }
    for (const { file } of this.used) touch(file, now);
    prune(this.options.folder, now.getTime());
  }

  /** Each build that compiled something leaves a pack: units of the smaller ones come into this one. Returns those that are not needed any more. */
  private merge(writer: PackWriter): readonly KeptPack[] {
    if (this.packs.length < mostOwnPacks) return [];
    const merged = this.packs.toSorted((a, b) => b.pack.size - a.pack.size).slice(keptOwnPacks);
    for (const { pack } of merged) {
      for (const [key, number] of pack.keys) {
        const head = pack.unit(number)?.head;
        const data = head === undefined ? undefined : pack.data(number);
        if (head !== undefined && data !== undefined) writer.add(key, { head, data });
      }
    }
    return merged;
  }

  close(): void {
    for (const { pack } of this.packs.splice(0)) {
      if (pack.isReading) void pack.settled().then(() => closeSync(pack.fd));
      else closeSync(pack.fd);
    }
    for (const fd of this.written.splice(0)) closeSync(fd);
    if (this.writer !== undefined) {
      rmSync(this.temporary, { force: true });
      this.options.onTemporary(this.temporary, false);
      this.writer = undefined;
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
