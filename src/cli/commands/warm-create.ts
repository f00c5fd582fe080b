/** `pycds warm create`: run a program to its mark, park it, write the image. */
import { chmodSync, closeSync, openSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import type { Command } from "commander";
import { pycdsVersion } from "../../archive/version.ts";
import { PycdsError } from "../../base/errors.ts";
import { makeImage } from "../../warm/image.ts";
import type { ImageResult } from "../../warm/image.ts";
import { nativeLibrary, packageFolder } from "../context.ts";
import type { CommonOptions, Context } from "../context.ts";
import { finishOutput, placeOutput, trackUnfinished } from "../files.ts";
import { parkProgram, programIndex, resolveProgram } from "../parking.ts";
import { trainImage } from "../training.ts";
import { countText, printResult, warn } from "../report.ts";
import { commonOptions, usageError } from "../usage.ts";

/** What `create` and `install` can be told of an image. */
export interface ImageOptions extends CommonOptions {
  readonly preload?: string | undefined;
  readonly exit: string;
  readonly allow?: readonly string[] | undefined;
  readonly watch?: readonly string[] | undefined;
  readonly park?: boolean | undefined;
  readonly sealed?: boolean | undefined;
  readonly rotate?: string | undefined;
  /** False: the new image is not started. */
  readonly training?: boolean | undefined;
}

export interface CreateOptions extends ImageOptions {
  readonly output: string;
  /** `install`: the command's name. */
  readonly installed?: string;
  /** The image takes the place of the command itself; this is where its original is kept. */
  readonly original?: string;
}

const what = "cannot write the image";
const exits = ["exact", "fast", "quick"] as const;
const secretName = /SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE_?KEY/i;

export function addWarmCreate(program: Command, context: Context): void {
  const command = program
    .command("create")
    .description("run a program's imports, park it, and write an executable image")
    .argument("<command...>", "an interpreter, or a program and its first arguments, after --")
    .requiredOption("-o, --output <file>", "the image to write")
    .passThroughOptions();
  addImageOptions(command);
  commonOptions(command, { json: true }).action(async (words: string[], options: CreateOptions) => {
    const result = await createImage(context, options, words);
    printResult(context, options, describe(result), () => summary(options.output, result));
  });
  command.addHelpText("after", `
Where the command is an interpreter alone, the image takes the interpreter's
arguments; else it parks behind the imports of the program's main module, and
each start runs on from there with its own arguments.

Examples:
  pycds warm create -o py-fast --preload boto3,requests -- .venv/bin/python
  pycds warm create -o app-fast -- python app.py
  pycds warm create -o aws-fast --exit exact -- aws`);
}

const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, ...value.split(",").filter((name) => name !== "")];

export function addImageOptions(command: Command): void {
  command
    .option("--preload <names>", "modules to import first, separated by commas")
    .option("--park", "park where the program calls pycds.park(), not behind its imports")
    .option("--exit <mode>", "exact: full finalization; fast: without the teardown of imported modules; quick: and without C exit handlers", "fast")
    .option("--allow <names>", "extension modules that have not been checked", collect)
    .option("--watch <files>", "further files that make the image invalid when they change", collect)
    .option("--sealed", "check no module's files at a start, only what is mapped")
    .option("--no-training", "do not start the new image once, which makes its starts faster and runs the imports' after-fork handlers")
    .option("--rotate <age>", "build the image again, in the background, when it is older, e.g. 12h or 7d");
}

/** Builds the image; the file appears whole or not at all. */
export async function createImage(context: Context, options: CreateOptions, words: readonly string[]): Promise<ImageResult> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new PycdsError("WARM_PLATFORM", "cannot build a warm image", `this is ${process.platform} on ${process.arch}, Linux on x86-64 is needed`, { next: "use the code archive: pycds run" });
  }
  if (!exits.some((mode) => mode === options.exit)) throw usageError("warm create", `there is no exit mode ${options.exit}`, `choose one of ${exits.join(", ")}`);
  const created = Math.floor(Date.now() / 1000);
  const expires = options.rotate === undefined ? 0 : created + secondsOf(options.rotate);
  const command = absoluteCommand(context, words);
  if (options.original === undefined) refuseOwnInput(resolve(context.cwd, options.output), command);
  const preload = (options.preload ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "");
  const place = placeOutput(resolve(context.cwd, options.output), what);
  trackUnfinished(place.temporary, true);
  try {
    const result = await parkProgram(context, { command, preload, explicit: options.park === true, exit: options.exit }, async (parked, work) => {
      // its memory is in the file: for the owner's eyes only, from the first byte
      const file = openSync(place.temporary, "wx", 0o600);
      try {
        return await makeImage(parked, {
          work, command: options.original === undefined ? command : [options.original, ...command.slice(1)], restorer: readFileSync(nativeLibrary("pycds_restore")), allow: options.allow ?? [],
          embedded: [nativeLibrary("pycds_launch_warm.so"), nativeLibrary("pycds_warm.so")].map((library) => realpathSync(library)), watch: [...(options.watch ?? []).map((name) => resolve(context.cwd, name)), ...(options.original === undefined ? [] : [options.original])],
          ...(options.original === undefined ? {} : { replaces: place.target }),
          sealed: options.sealed === true, owner: process.geteuid?.() ?? 0, created, expires, exit: options.exit, pycds: pycdsVersion, secrets: secretsOf(context),
          renew: options.rotate === undefined ? [] : [renewalLock(place.target), process.execPath, join(packageFolder, "bin/pycds"), "warm", "renew", "--quiet", place.target],
          origin: originOf(context, options, words),
        }, file);
      } finally {
        closeSync(file);
      }
    });
    chmodSync(place.temporary, 0o700);
    if (options.training !== false) await trainImage(context, place.temporary, result.facts.interpreter);
    await finishOutput(place, what);
    warnOf(context, options, result);
    return result;
  } finally {
    rmSync(place.temporary, { force: true });
    trackUnfinished(place.temporary, false);
  }
}

/** One start of many renews an image; the lock is removed when that is done. */
export function renewalLock(image: string): string {
  return join(dirname(image), `.${basename(image)}.renewing`);
}

/** What `warm renew` needs. */
function originOf(context: Context, options: CreateOptions, words: readonly string[]): unknown {
  const { preload, exit, allow, watch, park, sealed, rotate, training, installed } = options;
  return { cwd: context.cwd, words: [options.installed === undefined ? resolveProgram(context, words[0] ?? "") : words[0], ...words.slice(1)], installed, options: { preload, exit, allow, watch, park, sealed, rotate, training } };
}

/** The program and a script by absolute path, since starts come from anywhere. */
function absoluteCommand(context: Context, words: readonly string[]): string[] {
  const [name, ...rest] = words;
  if (name === undefined) throw usageError("warm create", "no command was given", "put it after --");
  const program = resolveProgram(context, name);
  const command = [program, ...rest];
  if (!/^python[\d.]*[dmtu]*$/.test(basename(name))) return command;
  const at = programIndex(command);
  const script = command[at];
  if (script !== undefined && !script.startsWith("-")) command[at] = resolve(context.cwd, script);
  return command;
}

/** An image in the place of what it starts when it is refused would start itself for ever, and the original would be gone. */
function refuseOwnInput(output: string, command: readonly string[]): void {
  const there = statSync(output, { throwIfNoEntry: false });
  const script = command[programIndex(command)];
  for (const input of [command[0], script]) {
    if (input === undefined || !isAbsolute(input)) continue;
    const stats = statSync(input, { throwIfNoEntry: false });
    const same = input === output || (there !== undefined && stats !== undefined && stats.dev === there.dev && stats.ino === there.ino);
    if (same) throw usageError("warm create", `the output is the program itself, ${input}`, "name another file; pycds warm install replaces a command and keeps its original");
  }
}

function secondsOf(age: string): number {
  const found = /^(\d+)([smhd])$/.exec(age);
  const unit = { s: 1, m: 60, h: 3600, d: 86400 }[found?.[2] ?? ""];
  if (found === null || unit === undefined) throw usageError("warm create", `${age} is no age`, "give a number and s, m, h or d");
  return Number(found[1]) * unit;
}

function secretsOf(context: Context): Record<string, string> {
  return Object.fromEntries(Object.entries(context.env).flatMap(([name, value]) => (secretName.test(name) && value !== undefined ? [[name, value]] : [])));
}

function warnOf(context: Context, options: CommonOptions, { facts, secrets }: ImageResult): void {
  if (secrets.length > 0) warn(context, options, `the image's memory holds the value of ${secrets.join(", ")} — unset it while building if no import needs it`);
  if (facts.draws.length > 0) warn(context, options, `random bytes were drawn while importing, and what was made of them is the same in every start: ${facts.draws.map(([name, times]) => `${name} (${times})`).join(", ")} — make keys behind the mark, or in pycds.register_after_restore`);
  if (facts.looksThrough.length > 0) warn(context, options, `the whole environment was looked through while importing: ${facts.looksThrough.join(", ")} — variables that are only added later are not noticed`);
  if (facts.seeded.length > 0) warn(context, options, `seeded while importing, so every start begins with the same state, as in stock: ${facts.seeded.join(", ")}`);
  if (facts.generators.length > 0) warn(context, options, `random generators made at import begin with the same state in every start: ${facts.generators.join(", ")} — seed them in pycds.register_after_restore`);
}

function describe(result: ImageResult): unknown {
  const { facts, ...rest } = result;
  return { ...rest, python: facts.version, modules: facts.modules.length, generators: facts.generators, draws: facts.draws, looksThrough: facts.looksThrough, seeded: facts.seeded };
}

function summary(file: string, { size, dirty, facts, stamps }: ImageResult): string {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  return `wrote ${file}: ${megabytes(size)} for ${megabytes(dirty)} of memory, CPython ${facts.version}, ${countText(facts.modules.length, "module file")}, ${countText(stamps, "stamp")}`;
}
