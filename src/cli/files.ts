/** Files that the user names: inputs are checked before they are opened, outputs appear whole or not at all. */
import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, openSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import type { Stats } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
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
    await rename(place.temporary, place.target);
    await syncFolder(dirname(place.target));
  } catch (cause) {
    await rm(place.temporary, { force: true });
    throw fileFault("OUTPUT_UNWRITABLE", what, place.target, cause);
  }
}

/**
 * Writes a whole file: temporary name, fsync, rename. Writable by the owner only,
 * whatever the umask: who may write an archive decides what is imported.
 */
export async function writeOutput(file: string, contents: Uint8Array | string, what: string): Promise<void> {
  await writeWhole(file, what, (fd) => writeFileSync(fd, contents));
}

/** Likewise a file of a known size whose parts are written in any order, step by step: between two a signal is heard. What is not written is 0. */
export async function writeOutputParts<T>(file: string, size: number, fill: (sink: { write(at: number, bytes: Uint8Array): void }) => Generator<undefined, T, undefined>, what: string): Promise<T> {
  return writeWhole(file, what, async (fd) => {
    ftruncateSync(fd, size);
    const steps = fill({
      write: (at, bytes) => {
        for (let done = 0; done < bytes.byteLength; ) done += writeSync(fd, bytes, done, bytes.byteLength - done, at + done);
      },
    });
    let step = steps.next();
    for (; step.done !== true; step = steps.next()) await nextTurn();
    return step.value;
  });
}

async function writeWhole<T>(file: string, what: string, write: (fd: number) => T | Promise<T>): Promise<T> {
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
    await finishOutput(place, what);
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
