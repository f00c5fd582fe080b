/**
 * Warm images in the place of an environment's commands: `bin/NAME` becomes the
 * image, the original moves to `bin/.pycds-warm/NAME` and is what the image starts
 * when it is refused. Uninstalling moves it back, byte for byte.
 */
import { chmodSync, copyFileSync, existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PycdsError } from "../base/errors.ts";

const keep = ".pycds-warm";

export interface WarmPlace {
  /** Where the command is started from. */
  readonly command: string;
  /** Where its original is kept. */
  readonly original: string;
}

/** @throws PycdsError WARM_COMMAND when the environment has no such command */
export function warmPlace(bin: string, name: string): WarmPlace {
  const place = { command: join(bin, name), original: join(bin, keep, name) };
  if (name.includes("/") || name.startsWith(".") || (!existsSync(place.command) && !existsSync(place.original))) {
    throw new PycdsError("WARM_COMMAND", "cannot find the command", "the environment has no such command", { file: place.command, next: "name a command of its bin folder" });
  }
  return place;
}

/** Keeps the command's original; once: a second installation leaves the first's alone. */
export function keepOriginal({ command, original }: WarmPlace): void {
  if (existsSync(original)) return;
  mkdirSync(join(original, ".."), { recursive: true });
  if (!lstatSync(command).isFile()) throw new PycdsError("WARM_COMMAND", "cannot replace the command", "it is a link, not a file", { file: command, next: "name the command that it leads to" });
  // a copy under a temporary name first: whatever happens, bin/NAME is there
  const temporary = `${original}.${process.pid}.tmp`;
  copyFileSync(command, temporary);
  chmodSync(temporary, lstatSync(command).mode & 0o7777);
  renameSync(temporary, original);
}

/**
 * Puts the original back where the image is; where somebody wrote a new command
 * over the image (pip install -U), that one stays, and the old original is dropped.
 * @param isImage tells whether a file is a warm image
 * @returns whether the original was put back
 * @throws PycdsError WARM_COMMAND when there is none
 */
export function restoreOriginal({ command, original }: WarmPlace, isImage: (file: string) => boolean): boolean {
  if (!existsSync(original)) throw new PycdsError("WARM_COMMAND", "cannot uninstall the image", "there is none in the command's place", { file: command, next: "see which there are: pycds warm uninstall --venv DIR" });
  // a command that is gone gets its original back: it may be the only copy
  const isNewer = lstatSync(command, { throwIfNoEntry: false }) !== undefined && !isImage(command);
  if (isNewer) rmSync(original);
  else renameSync(original, command);
  const folder = join(original, "..");
  if (readdirSync(folder).length === 0) rmdirSync(folder);
  return !isNewer;
}

/** Names of the commands that have images in their places. */
export function warmCommands(bin: string): string[] {
  const folder = join(bin, keep);
  return existsSync(folder) ? readdirSync(folder).filter((name) => !name.endsWith(".tmp")).sort() : [];
}
