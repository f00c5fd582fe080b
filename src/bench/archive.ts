/** Archives for measuring, made as a user makes them: through the pycds command. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { cleanEnv, mustRun } from "./process.ts";
import type { Env } from "./process.ts";
import type { Served } from "./types.ts";

/** The pycds command to use, and the environment it and the programs run in. */
export interface Toolchain {
  /** Command and first arguments, e.g. `["node", "bin/pycds"]`. */
  readonly pycds: readonly string[];
  readonly env: Env;
  /** Working folder of the traced programs. */
  readonly cwd?: string;
  /** Told each pycds command, without the command's own name. */
  readonly announce?: (args: readonly string[]) => void;
}

async function pycds(tools: Toolchain, what: string, ...args: readonly string[]): Promise<void> {
  tools.announce?.(args);
  await mustRun(what, [...tools.pycds, ...args], cleanEnv(tools.env), undefined, tools.cwd);
}

export async function traceCommand(tools: Toolchain, command: readonly string[], trace: string): Promise<void> {
  await rm(trace, { force: true });
  await pycds(tools, "trace the program", "trace", "-o", trace, "--", ...command);
}

export async function buildArchive(tools: Toolchain, traces: readonly string[], venv: string, archive: string): Promise<void> {
  await pycds(tools, "build the archive", "build", ...traces.flatMap((trace) => ["--trace", trace]), "--venv", venv, "-o", archive);
}

/** Installs the runtime, with an archive as the venv's default or without one. */
export async function installInto(tools: Toolchain, venv: string, archive?: string): Promise<void> {
  await pycds(tools, "install into the venv", "install", "--venv", venv, ...(archive === undefined ? [] : ["-a", archive]));
}

/** Uninstalls, if anything of ours is there (also from a run that was broken off). */
export async function uninstallFrom(tools: Toolchain, venv: string): Promise<void> {
  const lib = join(venv, "lib");
  for (const version of await readdir(lib)) {
    const names = await readdir(join(lib, version, "site-packages")).catch(() => []);
    if (names.some((name) => name.includes("pycds"))) {
      await pycds(tools, "uninstall from the venv", "uninstall", "--venv", venv);
      return;
    }
  }
}

/** Runs once, strictly, and returns how the archive served it; one that served nothing must not be measured. */
export async function checkServed(tools: Toolchain, command: readonly string[], env: Env): Promise<Served> {
  const scratch = await mkdtemp(join(tmpdir(), "pycds-served-"));
  try {
    const log = join(scratch, "log");
    await mustRun("run the program with the archive", command, cleanEnv(tools.env, { ...env, PYCDS: "on", PYCDS_LOG: log }), undefined, tools.cwd);
    const text = await readFile(log, "utf8").catch(() => "");
    const served = parseSummary(text);
    if (served === undefined || served.hit === 0) {
      const why = text.split("\n").find((line) => line.startsWith("pycds: refused")) ?? (served === undefined ? "PYCDS_LOG has no summary: the runtime was not active" : "no module was served");
      throw new PycdsError("BENCH_NOT_SERVED", "cannot measure the archive", why, { next: "look with `pycds doctor` or `pycds why`" });
    }
    return served;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The first process's `pycds: summary hit=N miss=N stale=N archive=PATH`. */
export function parseSummary(log: string): Served | undefined {
  const found = /^pycds: summary hit=(\d+) miss=(\d+) stale=(\d+)\b/m.exec(log);
  if (found === null) return undefined;
  return { hit: Number(found[1]), miss: Number(found[2]), stale: Number(found[3]) };
}
