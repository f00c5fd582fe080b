/**
 * What the toolchain itself costs: `pycds build` as a whole process, from an
 * empty cache, again, and after one package changed; and what its archive takes.
 */
import { appendFile, cp, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { traceCommand } from "./archive.ts";
import type { Toolchain } from "./archive.ts";
import { pairsHelper, timed } from "./pairs.ts";
import { cleanEnv, mustRun } from "./process.ts";
import type { Env, Progress } from "./process.ts";
import { makeVenv, venvPython } from "./scratch.ts";
import { probePython } from "./python.ts";
import { median } from "./stats.ts";
import type { Arm, Sample } from "./types.ts";

export interface ToolchainOptions {
  /** A venv with the packages; it is copied and not touched. */
  readonly venv: string;
  /** The import whose closure is built; its package is the one that changes. */
  readonly module: string;
  readonly rounds: number;
  readonly pycds: readonly string[];
  readonly env: Env;
  readonly scratch: string;
  readonly progress?: Progress;
}

/** Medians over the rounds; a process with all that it waited for. */
export interface BuildCost {
  readonly name: string;
  readonly wall_s: number;
  /** User and system time. */
  readonly cpu_s: number;
  readonly max_rss_mib: number;
}

export interface ArchiveSize {
  readonly name: string;
  readonly modules: number;
  readonly archive_bytes: number;
  /** Of those modules' .pyc files. */
  readonly pyc_bytes: number;
  readonly ratio: number;
}

export interface ToolchainReport {
  readonly python: string;
  readonly builds: readonly BuildCost[];
  readonly sizes: readonly ArchiveSize[];
}

/** What `inspect --modules --json` says, as far as it is needed here. */
interface Inspected {
  readonly size: number;
  readonly target: { readonly cache_tag: string };
  readonly module_list: readonly { readonly file: string; readonly unit: number }[];
}

export async function benchToolchain(options: ToolchainOptions): Promise<ToolchainReport> {
  const { module, scratch } = options;
  const tools: Toolchain = { pycds: options.pycds, env: options.env };
  const helper = await pairsHelper(options.env);
  const python = await probePython(venvPython(options.venv), options.env);
  options.progress?.("copying the venv");
  const venv = join(scratch, "venv");
  await copyPackages(options, python, venv);
  const packageFolder = join(await packagesOf(venv, options.env), module.split(".")[0] ?? module);
  const trace = join(scratch, "import.trace");
  await traceCommand(tools, [venvPython(venv), "-c", `import ${module}`], trace);

  const cache = join(scratch, "cache");
  const archives = { import: join(scratch, "import.pycds"), all: join(scratch, "all.pycds") };
  const arms = {
    import: ["build", "--trace", trace, "--venv", venv, "-o", archives.import],
    all: ["build", "--all", "--venv", venv, "-o", archives.all],
  } as const;
  const samples = new Map<string, Sample[]>();
  const build = async (name: string, arm: keyof typeof arms): Promise<void> => {
    options.progress?.(`building: ${name}`);
    // `stock` is only a label here; the process is the toolchain's
    const timedArm: Arm = { name: "stock", argv: [...options.pycds, ...arms[arm], "--quiet"], env: cleanEnv(options.env, { XDG_CACHE_HOME: cache }) };
    const sample = await timed(helper, timedArm, join(scratch, "stderr"));
    samples.set(name, [...(samples.get(name) ?? []), sample]);
  };
  const empty = async (): Promise<void> => rm(cache, { recursive: true, force: true });
  for (let round = 0; round < options.rounds; round++) {
    await empty();
    await build(`import ${module}, empty cache`, "import");
    await build(`import ${module}, again`, "import");
    await empty();
    await build("whole venv, empty cache", "all");
    await build("whole venv, again", "all");
    await changePackage(venv, packageFolder, options.env, round);
    await build(`whole venv, ${module} changed`, "all");
  }
  const inspect = async (name: string, archive: string): Promise<ArchiveSize> => sizeOf(name, archive, options);
  return {
    python: python.version,
    builds: [...samples].map(([name, each]) => costOf(name, each)),
    sizes: [await inspect(`import ${module}`, archives.import), await inspect("whole venv", archives.all)],
  };
}

function costOf(name: string, samples: readonly Sample[]): BuildCost {
  const of = (field: (sample: Sample) => number, digits: number): number => Number(median(samples.map(field)).toFixed(digits));
  return { name, wall_s: of(({ wallMs }) => wallMs / 1000, 3), cpu_s: of(({ userMs, sysMs }) => (userMs + sysMs) / 1000, 3), max_rss_mib: of(({ maxRssKib }) => maxRssKib / 1024, 1) };
}

async function packagesOf(venv: string, env: Env): Promise<string> {
  const { stdout } = await mustRun("ask for site-packages", [venvPython(venv), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], cleanEnv(env));
  return stdout.trim();
}

/** A venv of the same interpreter with copies of the packages, their .pyc files still valid. */
async function copyPackages({ venv, env }: ToolchainOptions, python: Awaited<ReturnType<typeof probePython>>, to: string): Promise<void> {
  await makeVenv(python, to, cleanEnv(env), "--without-pip");
  await cp(await packagesOf(venv, env), await packagesOf(to, env), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
}

/** As an upgrade would: every source of the package gets another text, and is compiled. */
async function changePackage(venv: string, folder: string, env: Env, round: number): Promise<void> {
  const sources = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() && entry.name.endsWith(".py"));
  if (sources.length === 0) throw new PycdsError("BENCH_NO_PACKAGE", "cannot change the package", "there are no sources in it", { file: folder });
  for (const { parentPath, name } of sources) await appendFile(join(parentPath, name), `\n_pycds_bench_${round} = ${round}\n`);
  await mustRun("compile the changed package", [venvPython(venv), "-m", "compileall", "-q", folder], cleanEnv(env));
}

async function sizeOf(name: string, archive: string, { pycds, env }: ToolchainOptions): Promise<ArchiveSize> {
  const { stdout } = await mustRun("inspect the archive", [...pycds, "inspect", "--modules", "--json", archive], cleanEnv(env));
  const { module_list: modules, target, size } = JSON.parse(stdout) as Inspected;
  const files = new Map(modules.map(({ unit, file }) => [unit, file]));
  let bytes = 0;
  for (const file of files.values()) bytes += await sizeOfFile(pycOf(file, target.cache_tag));
  return { name, modules: files.size, archive_bytes: size, pyc_bytes: bytes, ratio: Number((size / bytes).toFixed(3)) };
}

function pycOf(file: string, tag: string): string {
  return file.endsWith(".pyc") ? file : file.replace(/([^/]+)\.py$/, `__pycache__/$1.${tag}.pyc`);
}

/** 0 where there is no .pyc: such a module was compiled for the archive. */
async function sizeOfFile(file: string): Promise<number> {
  return stat(file).then(({ size }) => size, () => 0);
}
