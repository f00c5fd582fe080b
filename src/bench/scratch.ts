/**
 * Scratch venvs: made once with exact pins, kept under a cache folder, every
 * .pyc warm. A venv is finished when its `pycds-scratch.json` stands in it.
 */
import { createHash } from "node:crypto";
import { cp, mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { cleanEnv, failed, mustRun, run } from "./process.ts";
import type { Env, Progress } from "./process.ts";
import type { Python } from "./python.ts";

/** Where scratch venvs live unless told otherwise. */
export function scratchFolder(env: Env): string {
  const cache = env["XDG_CACHE_HOME"];
  if (cache !== undefined && cache !== "") return join(cache, "pycds-bench");
  return join(env["HOME"] ?? "/tmp", ".cache", "pycds-bench");
}

/** The python of a venv. */
export function venvPython(venv: string): string {
  return join(venv, "bin", "python");
}

export interface ScratchOptions {
  readonly python: Python;
  /** Text of a requirements file that pins every package, also those that others need. */
  readonly requirements: string;
  /** The cache folder. */
  readonly folder: string;
  readonly env: Env;
  readonly progress?: Progress;
}

/** Folder for an interpreter and a set of pins; venvs are its subfolders. */
export function scratchHome(options: ScratchOptions): string {
  const { python, requirements, folder } = options;
  const key = createHash("sha256").update(JSON.stringify([python.base, python.version, requirements])).digest("hex").slice(0, 10);
  return join(folder, `${python.cacheTag}-${python.version}-${key}`);
}

/**
 * The venv of that name with the pinned packages, made when it is not there:
 * `-m venv`, pip with wheels only, `pip check`, compileall.
 */
export async function scratchVenv(options: ScratchOptions, name = "stock"): Promise<string> {
  const venv = join(scratchHome(options), name);
  await whenUnfinished(venv, async () => {
    const env = cleanEnv(options.env);
    const python = venvPython(venv);
    options.progress?.(`making a venv for ${options.python.version}`);
    await makeVenv(options.python, venv, env);
    const pins = join(dirname(venv), "requirements.txt");
    await writeFile(pins, options.requirements);
    options.progress?.("installing the pinned packages");
    await addPackages(venv, ["-r", pins], env);
    await mustRun("use the pinned packages together", [python, "-m", "pip", "check", "--disable-pip-version-check"], env);
    await compileAll(venv, env, options.progress);
  });
  return venv;
}

/**
 * A copy of a venv of the same home, with .pyc files compiled for its own place
 * (a copied one names the first place in co_filename, which stock would have to mend at each import).
 * `packages` are pins to add to the copy.
 */
export async function copyVenv(from: string, to: string, env: Env, progress?: Progress, packages: readonly string[] = []): Promise<string> {
  await whenUnfinished(to, async () => {
    progress?.(`copying the venv (${basename(to)})`);
    await cp(from, to, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true, filter: (source) => basename(source) !== "__pycache__" && basename(source) !== marker });
    await addPackages(to, packages, env);
    await compileAll(to, cleanEnv(env), progress);
  });
  return to;
}

/** A venv without packages of its own that sees those of the interpreter it is made from. */
export async function emptyVenv(python: Python, to: string, env: Env, progress?: Progress, packages: readonly string[] = []): Promise<string> {
  await whenUnfinished(to, async () => {
    progress?.(`making a venv (${basename(to)})`);
    await makeVenv(python, to, cleanEnv(env), "--system-site-packages", ...(packages.length === 0 ? ["--without-pip"] : []));
    await addPackages(to, packages, env);
    await compileAll(to, cleanEnv(env), progress);
  });
  return to;
}

async function addPackages(venv: string, packages: readonly string[], env: Env): Promise<void> {
  if (packages.length === 0) return;
  const argv = [venvPython(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps", "--only-binary", ":all:", ...packages];
  await mustRun(`install ${packages.join(" ")}`, argv, cleanEnv(env), "check the network and pip's index settings");
}

/** `-m venv` with that interpreter, which must bring ensurepip unless `--without-pip` is given. */
export async function makeVenv(python: Python, venv: string, env: NodeJS.ProcessEnv, ...options: readonly string[]): Promise<void> {
  const argv = [python.base, "-m", "venv", ...options, venv];
  const done = await run(argv, env);
  // Debian splits ensurepip off into python3-venv; the message names it on stdout
  if (done.status !== 0) throw failed("make a venv", argv, done, `apt-get install python${python.minor}-venv (or python3-venv), or name another interpreter with --python`);
}

/** Compiles everything in site-packages; files that do not compile are not imported by anything measured. */
export async function compileAll(venv: string, env: NodeJS.ProcessEnv, progress?: Progress): Promise<void> {
  progress?.(`compiling .pyc files (${basename(venv)})`);
  const argv = [venvPython(venv), "-m", "compileall", "-q", "-j", "2", join(venv, "lib")];
  const done = await run(argv, env);
  if (done.status !== 0 && done.status !== 1) throw failed("compile .pyc files", argv, done);
}

const marker = "pycds-scratch.json";

/** Runs `make` unless the venv is finished; processes that want the same venv wait for each other. */
export async function whenUnfinished(venv: string, make: () => Promise<void>): Promise<void> {
  const file = join(venv, marker);
  if (await exists(file)) return;
  await withLock(`${venv}.lock`, async () => {
    if (await exists(file)) return;
    await rm(venv, { recursive: true, force: true });
    await mkdir(dirname(venv), { recursive: true });
    await make();
    await writeFile(file, `${JSON.stringify({ made: "by pycds bench; may be deleted at any time" })}\n`);
  });
}

async function exists(file: string): Promise<boolean> {
  return readFile(file).then(
    () => true,
    () => false,
  );
}

/** How long another process may take over a venv before we give up. */
const patience = 15 * 60_000;

async function withLock<T>(file: string, body: () => Promise<T>): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  const deadline = Date.now() + patience;
  for (;;) {
    try {
      const handle = await open(file, "wx");
      await handle.writeFile(String(process.pid));
      await handle.close();
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const owner = Number(await readFile(file, "utf8").catch(() => "0"));
    if (owner > 0 && !alive(owner)) {
      await rm(file, { force: true });
    } else if (Date.now() > deadline) {
      throw new PycdsError("BENCH_LOCKED", "cannot use the scratch venv", "another process has been working on it for long", { file, next: `delete ${file} if that process is gone` });
    } else {
      await new Promise((wake) => setTimeout(wake, 250));
    }
  }
  try {
    return await body();
  } finally {
    await rm(file, { force: true });
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
