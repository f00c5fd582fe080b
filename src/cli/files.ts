/** Files that the user names: inputs are checked before they are opened, outputs appear whole or not at all. */
import { randomBytes } from "node:crypto";
import { closeSync, fdatasync, ftruncateSync, openSync, readFileSync, realpathSync, rmSync, statSync, write, writeFileSync } from "node:fs";
import type { Stats } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { PycdsError } from "../base/errors.ts";

/** The contents of an input file; `what` says what was wanted of it, e.g. `cannot read trace`. */
export function readInput(file: string, what: string): Buffer {
  checkInput(file, what);
  try {
    return readFileSync(file);
  } catch (cause) {
    throw fileFault("INPUT_UNREADABLE", what, file, cause);
  }
}

/** Only a regular file is an input: opening a FIFO would wait for ever. */
export function checkInput(file: string, what: string): void {
  let stats: Stats | undefined;
  try {
    stats = statSync(file, { throwIfNoEntry: false });
  } catch (cause) {
    throw fileFault("INPUT_UNREADABLE", what, file, cause);
  }
  if (stats === undefined) throw new PycdsError("INPUT_MISSING", what, "there is no such file", { file, next: "check the path" });
  if (!stats.isFile()) throw new PycdsError("INPUT_NOT_A_FILE", what, `it is ${kindName(stats)}, not a regular file`, { file, next: "check the path" });
}

function kindName(stats: Stats): string {
  if (stats.isDirectory()) return "a directory";
  if (stats.isFIFO()) return "a FIFO";
  if (stats.isSocket()) return "a socket";
  return "a device";
}

function fileFault(code: string, what: string, file: string, cause: unknown): PycdsError {
  const error = cause as NodeJS.ErrnoException;
  const reasons: Readonly<Record<string, string>> = {
    EACCES: "permission denied", EPERM: "permission denied", EROFS: "the file system is read-only", ENOSPC: "the disk is full", EDQUOT: "the quota is used up",
    ENOENT: "its folder does not exist", ENOTDIR: "a part of its path is not a folder", ELOOP: "its links go in a circle", ENAMETOOLONG: "its name is too long",
  };
  return new PycdsError(code, what, reasons[error.code ?? ""] ?? error.message, { file, next: "check the path and its permissions", cause });
}

/** Files and folders to remove when a signal ends us. */
const unfinished = new Set<string>();
const endings: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];

function removeUnfinished(signal: NodeJS.Signals): void {
  // a child that still writes into a folder can make its removal fail once
  for (const path of unfinished) rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  for (const ending of endings) process.off(ending, removeUnfinished);
  process.kill(process.pid, signal);
}

/** Has `path` removed should a signal end us; without anything to remove signals end us at once, as is usual. */
export function trackUnfinished(path: string, exists: boolean): void {
  const before = unfinished.size;
  if (exists) unfinished.add(path);
  else unfinished.delete(path);
  if (before === 0 && unfinished.size > 0) for (const ending of endings) process.on(ending, removeUnfinished);
  if (before > 0 && unfinished.size === 0) for (const ending of endings) process.off(ending, removeUnfinished);
}

/** Where an output goes and under which name it is made. */
export interface OutputPlace {
  /** Links followed: the link stays, its target is replaced. */
  readonly target: string;
  readonly temporary: string;
}

/** Checks that `file` can become an output, before any work is done. */
export function placeOutput(file: string, what: string): OutputPlace {
  let target = file;
  let stats: Stats | undefined;
  try {
    stats = statSync(file, { throwIfNoEntry: false });
    if (stats !== undefined) target = realpathSync(file);
  } catch (cause) {
    throw fileFault("OUTPUT_UNWRITABLE", what, file, cause);
  }
  if (stats !== undefined && !stats.isFile()) throw new PycdsError("OUTPUT_NOT_A_FILE", what, `it is ${kindName(stats)}`, { file, next: "name a file" });
  if (file === "" || file.endsWith("/")) throw new PycdsError("OUTPUT_NOT_A_FILE", what, "that is no file name", { file, next: "name a file" });
  const folder = dirname(target);
  const around = statSync(folder, { throwIfNoEntry: false });
  if (around?.isDirectory() !== true) {
    throw new PycdsError("OUTPUT_NO_FOLDER", what, around === undefined ? "its folder does not exist" : "its parent is not a folder", { file, next: `make it first: mkdir -p ${folder}` });
  }
  return { target, temporary: join(folder, `.${basename(target)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`) };
}

/** Makes an empty file under the temporary name; fails here rather than after the work. */
export async function openOutput(place: OutputPlace, what: string): Promise<void> {
  try {
    await (await open(place.temporary, "wx", 0o666)).close();
  } catch (cause) {
    throw fileFault("OUTPUT_UNWRITABLE", what, place.target, cause);
  }
}

/** Brings what stands under the temporary name to the disk, and then under its own name. */
export async function finishOutput(place: OutputPlace, what: string): Promise<void> {
  try {
    const handle = await open(place.temporary, "r+");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await replace(place);
    await syncFolder(dirname(place.target));
  } catch (cause) {
    await rm(place.temporary, { force: true });
    throw fileFault("OUTPUT_UNWRITABLE", what, place.target, cause);
  }
}

/** What stood there is held until it has gone from sight: freeing half a gigabyte of it takes as long as writing a fifth of that. */
async function replace({ temporary, target }: OutputPlace): Promise<void> {
  const replaced = await open(target, "r").catch(() => undefined);
  try {
    await rename(temporary, target);
  } finally {
    void replaced?.close().catch(() => undefined);
  }
}

/**
 * Writes a whole file: temporary name, fsync, rename. Writable by the owner only,
 * whatever the umask: who may write an archive decides what is imported.
 */
export async function writeOutput(file: string, contents: Uint8Array | string, what: string): Promise<void> {
  await writeWhole(file, what, (fd) => writeFileSync(fd, contents));
}

/** Bytes after which the disk is set to work, so that not all of it is waited for at the end. */
const syncEvery = 64 << 20;

/** Parts of a file, written by Node's own threads in any order. */
class FileParts {
  private readonly fd: number;
  private readonly pending = new Set<Promise<void>>();
  private unsynced = 0;
  private syncing = false;

  constructor(fd: number) {
    this.fd = fd;
  }

  async write(at: number, bytes: Uint8Array): Promise<void> {
    return this.track(this.writeAll(at, bytes));
  }

  private async writeAll(at: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.byteLength; ) {
      done += await new Promise<number>((resolve, reject) => write(this.fd, bytes, done, bytes.byteLength - done, at + done, (error, count) => (error === null ? resolve(count) : reject(error))));
    }
    this.unsynced += bytes.byteLength;
    if (this.unsynced < syncEvery || this.syncing) return;
    this.unsynced = 0;
    this.syncing = true;
    void this.track(new Promise<void>((resolve, reject) => fdatasync(this.fd, (error) => {
      this.syncing = false;
      // one that cannot do it is heard when the whole file is brought to the disk
      if (error === null) resolve();
      else reject(error);
    })));
  }

  private async track(work: Promise<void>): Promise<void> {
    this.pending.add(work);
    work.catch(() => undefined); // heard in finish()
    return work;
  }

  /** Until all is written, or the first that failed. */
  async finish(): Promise<void> {
    await Promise.all(this.pending);
  }

  /** Until nothing touches the descriptor any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.pending);
  }
}

/** Likewise a file of a known size whose parts are written in any order, while others are made. What is not written is 0. `meanwhile` is done while the disk gets the last of it. */
export async function writeOutputParts<T>(
  file: string, size: number, fill: (sink: { write(at: number, bytes: Uint8Array): Promise<void> }) => Promise<T>, what: string, meanwhile: () => void,
): Promise<T> {
  return writeWhole(file, what, async (fd) => {
    ftruncateSync(fd, size);
    const parts = new FileParts(fd);
    try {
      const result = await fill(parts);
      await parts.finish();
      return result;
    } finally {
      await parts.settled();
    }
  }, meanwhile);
}

async function writeWhole<T>(file: string, what: string, write: (fd: number) => T | Promise<T>, meanwhile: () => void = () => undefined): Promise<T> {
  const place = placeOutput(file, what);
  trackUnfinished(place.temporary, true);
  try {
    const fd = openSync(place.temporary, "wx", 0o644);
    let result: T;
    try {
      result = await write(fd);
    } finally {
      closeSync(fd);
    }
    const finished = finishOutput(place, what);
    try {
      meanwhile();
    } finally {
      await finished;
    }
    return result;
  } catch (cause) {
    await rm(place.temporary, { force: true });
    // what the kernel refused of this file; anything else tells for itself
    throw cause instanceof Error && "syscall" in cause ? fileFault("OUTPUT_UNWRITABLE", what, file, cause) : cause;
  } finally {
    trackUnfinished(place.temporary, false);
  }
}

async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    // some file systems cannot; the rename itself has succeeded
  }
}
