/**
 * Changes to files that survive an interruption: under a temporary name first,
 * flushed to disk, then renamed. Whoever looks sees the old file or the new one.
 */
import { closeSync, fsyncSync, lstatSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeSync } from "node:fs";
import type { Stats } from "node:fs";
import { dirname, join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { temporaryPrefix } from "./layout.ts";

let counter = 0;

/** A name in `folder` that no other process uses. */
export function temporaryName(folder: string): string {
  return join(folder, `${temporaryPrefix}${process.pid}-${counter++}`);
}

/** Writes bytes and flushes them. Readable by all, writable by the owner only: who may write an archive decides what is imported. */
export function writeFlushed(file: string, bytes: Uint8Array): void {
  const descriptor = openSync(file, "wx", 0o644);
  try {
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(descriptor, bytes, at);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes `file` have these contents, all at once. */
export function replaceFile(file: string, bytes: Uint8Array): void {
  const temporary = temporaryName(dirname(file));
  try {
    writeFlushed(temporary, bytes);
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  flushFolder(dirname(file));
}

/** Makes a folder with these files (name → contents) appear all at once; `folder` must not exist. */
export function placeFolder(folder: string, files: ReadonlyMap<string, Uint8Array>): void {
  const temporary = temporaryName(dirname(folder));
  try {
    mkdirSync(temporary, 0o755);
    for (const [name, bytes] of files) writeFlushed(join(temporary, name), bytes);
    flushFolder(temporary);
    renameSync(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
  flushFolder(dirname(folder));
}

/** What is at a path, links not followed; undefined also when a part of the path is no folder. */
export function entryAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** The names in a folder; none if it is not there or no folder. */
export function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** Makes renames and removals in a folder durable. */
export function flushFolder(folder: string): void {
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Turns an error of the file system into ours; others pass. */
export function fileError(error: unknown, code: string, what: string, file: string, next: string): unknown {
  if (!(error instanceof Error) || !("syscall" in error)) return error;
  const path = "path" in error && typeof error.path === "string" ? error.path : file;
  return new PycdsError(code, what, error.message.replace(/^[A-Z0-9]+: /, "").replace(/, .*$/, ""), { file: path, next, cause: error });
}
