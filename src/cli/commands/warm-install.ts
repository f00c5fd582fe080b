/** `pycds warm install` and `uninstall`: images in the place of an environment's commands. */
import { readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { PycdsError } from "../../base/errors.ts";
import { keepOriginal, restoreOriginal, warmCommands, warmPlace } from "../../venv/warm.ts";
import { isWarmImage } from "../../warm/read.ts";
import type { CommonOptions, Context } from "../context.ts";
import { collectFaults, countText, printResult } from "../report.ts";
import { commonOptions, usageError } from "../usage.ts";
import { addImageOptions, createImage } from "./warm-create.ts";
import type { ImageOptions } from "./warm-create.ts";
import type { ImageResult } from "../../warm/image.ts";

interface WarmVenvOptions extends CommonOptions {
  readonly venv?: string;
}

export function addWarmInstall(program: Command, context: Context): void {
  const command = program
    .command("install")
    .description("put images in the place of an environment's commands")
    .argument("<commands...>", "names in its bin folder")
    .option("--venv <dir>", "a virtual environment (default: $VIRTUAL_ENV)");
  addImageOptions(command);
  commonOptions(command, { json: true }).action(async (names: string[], options: WarmVenvOptions & ImageOptions) => {
    const bin = binFolder(context, options);
    const places = collectFaults(names, (name) => ({ name, ...warmPlace(bin, name) }));
    const installed: { name: string; size: number }[] = [];
    for (const { name } of places) installed.push({ name, size: (await installImage(context, bin, name, options)).size });
    printResult(context, options, { installed }, () => installed.map(({ name, size }) => `${join(bin, name)}: ${(size / 1e6).toFixed(1)} MB`).join("\n"));
  });
  command.addHelpText("after", `
The originals are kept in bin/.pycds-warm and started where an image is refused.

Examples:
  pycds warm install --venv .venv aws black
  pycds warm install --venv .venv --exit exact django-admin`);
}

/** Puts an image in the place of one command. */
export async function installImage(context: Context, bin: string, name: string, options: ImageOptions): Promise<ImageResult> {
  const place = warmPlace(bin, name);
  // an image that is there already gives way first: it is the command itself, under its own name, that is parked
  if (warmCommands(bin).includes(name)) restoreOriginal(place, isImage);
  keepOriginal(place);
  try {
    return await createImage(context, { ...options, output: place.command, original: place.original, installed: name }, [place.command]);
  } catch (error) {
    restoreOriginal(place, isImage);
    throw error;
  }
}

export function addWarmUninstall(program: Command, context: Context): void {
  const command = program
    .command("uninstall")
    .description("put the originals back")
    .argument("[commands...]", "names in its bin folder (default: all that have images)")
    .option("--venv <dir>", "a virtual environment (default: $VIRTUAL_ENV)");
  commonOptions(command, { json: true }).action((names: string[], options: WarmVenvOptions) => {
    const bin = binFolder(context, options);
    const wanted = names.length > 0 ? names : warmCommands(bin);
    const done = collectFaults(wanted, (name) => ({ name, restored: restoreOriginal(warmPlace(bin, name), isImage) }));
    const uninstalled = done.filter(({ restored }) => restored).map(({ name }) => name);
    const replaced = done.filter(({ restored }) => !restored).map(({ name }) => name);
    printResult(context, options, { uninstalled, replaced }, () => {
      const names = uninstalled.length > 0 ? `: ${uninstalled.join(" ")}` : "";
      return `${countText(uninstalled.length, "command")} put back${names}${replaced.length > 0 ? `; no image any more, left as they are: ${replaced.join(" ")}` : ""}`;
    });
  });
  command.addHelpText("after", `
Examples:
  pycds warm uninstall --venv .venv aws
  pycds warm uninstall --venv .venv`);
}

const isImage = (file: string): boolean => statSync(file, { throwIfNoEntry: false })?.isFile() === true && isWarmImage(readFileSync(file));

function binFolder(context: Context, options: WarmVenvOptions): string {
  const venv = options.venv ?? context.env["VIRTUAL_ENV"];
  if (venv === undefined || venv === "") throw usageError("warm install", "no virtual environment was named", "give one with --venv");
  const bin = join(resolve(context.cwd, venv), "bin");
  if (statSync(bin, { throwIfNoEntry: false })?.isDirectory() !== true) throw new PycdsError("NO_VENV", "cannot find the environment", "it has no bin folder", { file: bin, next: "give a virtual environment with --venv" });
  return bin;
}
