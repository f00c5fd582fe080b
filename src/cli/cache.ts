/**
 * The cache folder of `run`: archives, and what saves asking interpreters
 * again. All of it may be deleted at any time; nothing in it is trusted beyond
 * being a hint, except archives, which the runtime checks.
 */
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { z } from "zod";
import { hex } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { describeInterpreter, suffixList } from "../trace/interpreter.ts";
import type { InterpreterInfo } from "../trace/types.ts";
import { abiOf } from "./target.ts";
import type { Context } from "./context.ts";
import { trackUnfinished } from "./files.ts";

/** Sixteen hex digits that stand for some values. */
export function shortHash(...values: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(values)).digest("hex").slice(0, 16);
}

/** `$XDG_CACHE_HOME/pycds`; relative values are to be ignored (XDG base directory specification). Undefined: there is no home. */
export function cacheFolder({ env }: Context): string | undefined {
  const cache = env["XDG_CACHE_HOME"];
  if (cache !== undefined && isAbsolute(cache)) return join(cache, "pycds");
  const home = env["HOME"];
  return home === undefined || !isAbsolute(home) ? undefined : join(home, ".cache", "pycds");
}

/** It is this user's, and nobody else may write into it: what it holds is believed, and decides what is run. */
export function isOurs(folder: string): boolean {
  const stats = statSync(folder, { throwIfNoEntry: false });
  return stats?.isDirectory() === true && stats.uid === process.geteuid?.() && (stats.mode & 0o022) === 0;
}

/** Writes a file whole, by rename; a signal leaves nothing behind. */
export function replaceCached(file: string, text: string): void {
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  trackUnfinished(temporary, true);
  try {
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, file);
  } finally {
    rmSync(temporary, { force: true });
    trackUnfinished(temporary, false);
  }
}

/** Makes the cache folder, for its owner alone. */
export function makeCacheFolder(context: Context): string {
  const folder = cacheFolder(context);
  if (folder === undefined) {
    throw new PycdsError("NO_CACHE", "there is no place for the archive", "neither XDG_CACHE_HOME nor HOME is set", { next: "name one with -a FILE" });
  }
  try {
    if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined) chmodSync(folder, 0o700);
  } catch (cause) {
    throw new PycdsError("NO_CACHE", "cannot make the cache folder", cause instanceof Error ? cause.message : String(cause), { file: folder, next: "set XDG_CACHE_HOME, or name an archive with -a FILE", cause });
  }
  return folder;
}

/**
 * Where the archive for an interpreter is kept: FINGERPRINT-PREFIXHASH.pycds.
 * @throws PycdsError ABI_UNKNOWN when there can be none
 */
export function archiveName(interpreter: InterpreterInfo, optimize: number): string {
  const { hexversion, pycMagic, flavour, platform, cacheTag, suffixes, prefix } = interpreter;
  const layout = hex(abiOf(interpreter).digest);
  return `${shortHash(hexversion, pycMagic, flavour, platform, cacheTag, suffixes, layout, optimize)}-${shortHash(prefix)}.pycds`;
}

const interpreterSchema = z.object({
  executable: z.string(), implementation: z.string(), hexversion: z.number(), version: z.string(), pycMagic: z.number(), cacheTag: z.string(),
  platform: z.string(), flavour: z.enum(["release", "debug", "freethreaded"]), suffixes: suffixList, prefix: z.string(), basePrefix: z.string(),
  stdlib: z.string(), dynload: z.string().nullable(), sitePackages: z.array(z.string()), sysPath: z.array(z.string()),
});

/** describeInterpreter, remembered while path, mtime and size of the executable stay. */
export async function describeCached(context: Context, exe: string): Promise<InterpreterInfo> {
  const known = remembered(context, interpreterFile(exe), interpreterSchema);
  if (known !== undefined) return known;
  const interpreter = await describeInterpreter(exe, context.env);
  remember(context, interpreterFile(exe), interpreter);
  return interpreter;
}

/** The same without starting anything. */
export function describedBefore(context: Context, exe: string): InterpreterInfo | undefined {
  return remembered(context, interpreterFile(exe), interpreterSchema);
}

function interpreterFile(exe: string): string {
  return `interpreter-${shortHash(exe, stampOf(exe), stampOf(join(exe, "../../pyvenv.cfg")))}.json`;
}

function stampOf(file: string): readonly unknown[] {
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats === undefined ? [] : [stats.mtimeMs, stats.size, stats.ino];
}

const programSchema = z.object({ executable: z.string(), optimize: z.number().int().min(0).max(2) });
export type ProgramMemory = z.infer<typeof programSchema>;

/** Which Python a program that decides for itself (a shim, a wrapper) ran last time, in this folder. */
export function programMemory(context: Context, program: string): ProgramMemory | undefined {
  return remembered(context, programFile(context, program), programSchema);
}

export function rememberProgram(context: Context, program: string, memory: ProgramMemory): void {
  remember(context, programFile(context, program), memory);
}

function programFile({ env, cwd }: Context, program: string): string {
  return `program-${shortHash(program, stampOf(program), cwd, env["PYENV_VERSION"], env["ASDF_PYTHON_VERSION"], env["VIRTUAL_ENV"])}.json`;
}

const decisionSchema = z.object({ archive: z.array(z.unknown()), unserved: z.string() });

/** Whether it was found before that an archive needs nothing more for these modules that stock served. */
export function isSettled(context: Context, archive: string, unserved: string): boolean {
  const decision = remembered(context, `archive-${shortHash(archive)}.json`, decisionSchema);
  return decision?.unserved === unserved && JSON.stringify(decision.archive) === JSON.stringify(stampOf(archive));
}

export function settle(context: Context, archive: string, unserved: string): void {
  remember(context, `archive-${shortHash(archive)}.json`, { archive: stampOf(archive), unserved });
}

function remembered<T>(context: Context, name: string, schema: z.ZodType<T>): T | undefined {
  const folder = cacheFolder(context);
  if (folder === undefined) return undefined;
  try {
    if (!isOurs(folder)) return undefined;
    return schema.safeParse(JSON.parse(readFileSync(join(folder, name), "utf8"))).data;
  } catch {
    return undefined;
  }
}

/** A memory that can't be written is done without. */
function remember(context: Context, name: string, value: unknown): void {
  try {
    replaceCached(join(makeCacheFolder(context), name), JSON.stringify(value));
  } catch {
    // read-only or full: the next run asks again
  }
}
